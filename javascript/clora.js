// The panel's rows and chips: what Python answers becomes elements, what people do becomes one JSON action.
// Names and prompts are only ever set as text and values, never as HTML.

(function() {
    "use strict";

    const PAUSE = 15; // milliseconds after a key, until the prompt is looked at; one look at a time
    const PATIENCE = 3000; // milliseconds until an answer that never came is given up
    const tabs = {};

    function element(tab, name) {
        return gradioApp().getElementById(`clora_${tab}_${name}`);
    }

    function state(tab) {
        tabs[tab] = tabs[tab] || {timer: null, asked: 0, stale: false, action: "", active: null, view: null};
        return tabs[tab];
    }

    function promptOf(tab) {
        return gradioApp().querySelector(`#${tab}_prompt textarea`)?.value ?? "";
    }

    function enabled(tab) {
        return Boolean(gradioApp().querySelector(`#clora_${tab}_enabled-checkbox input`)?.checked);
    }

    // -- asking ------------------------------------------------------------------------------------------------

    function touched(tab) {
        const now = state(tab);
        clearTimeout(now.timer);
        now.timer = setTimeout(() => ask(tab), PAUSE);
    }

    function ask(tab) {
        const now = state(tab);
        if (!enabled(tab)) return;
        if (now.asked && performance.now() - now.asked < PATIENCE) {
            now.stale = true;
            return;
        }
        now.asked = performance.now();
        now.stale = false;
        element(tab, "check")?.click();
    }

    function show(tab, answer) {
        const now = state(tab);
        now.asked = 0;
        now.view = JSON.parse(answer);
        draw(tab);
        if (now.stale || now.view.prompt !== promptOf(tab)) touched(tab);
    }

    function send(tab, lora, changes) {
        state(tab).action = JSON.stringify({lora, changes});
        element(tab, "edit").click();
    }

    function take(tab) {
        return state(tab).action;
    }

    // -- drawing -----------------------------------------------------------------------------------------------

    function make(tag, properties = {}, children = []) {
        const made = document.createElement(tag);
        const {data, aria, style, ...rest} = properties;
        Object.assign(made, rest);
        Object.assign(made.dataset, data);
        for (const [name, value] of Object.entries(aria || {})) made.setAttribute(`aria-${name}`, value);
        for (const [name, value] of Object.entries(style || {})) made.style.setProperty(name, value);
        made.append(...children);
        return made;
    }

    function labelled(text, input) {
        return make("label", {}, [make("span", {textContent: text}), input]);
    }

    function draw(tab) {
        const board = element(tab, "board");
        const {view} = state(tab);
        if (!board || !view) return;
        board.classList.add("clora-board");
        element(tab, "line").classList.add("clora-replaced");
        element(tab, "check").classList.add("clora-replaced");
        const kept = keep(board);
        const active = activeRow(tab);
        const line = make("p", {className: "clora-line", textContent: view.line});
        line.setAttribute("role", "status");
        line.classList.toggle("clora-wrong", view.problems.length > 0);
        const parts = [line];
        if (view.rows.length) {
            parts.push(make("div", {className: "clora-rows"}, view.rows.map((row) => drawRow(tab, row, row === active))));
            parts.push(make("p", {
                className: "clora-hint", textContent: "Choose a LoRA, then click the word that it draws; again to take it back."
            }), drawChips(tab, view, active));
        }
        board.replaceChildren(...parts);
        restore(board, kept);
    }

    function activeRow(tab) {
        const now = state(tab);
        const rows = now.view.rows;
        return rows.find((row) => row.lora === now.active) ||
            rows.find((row) => row.role === "subject" && !row.subject) || rows[0];
    }

    function drawRow(tab, row, active) {
        const changed = (changes) => {
            state(tab).active = row.lora;
            send(tab, row.lora, changes);
        };
        const pick = make("input", {
            type: "radio", name: `clora_${tab}_active`, checked: active, data: {key: `pick ${row.lora}`},
            onchange: () => {
                state(tab).active = row.lora;
                draw(tab);
            },
        });
        const swatch = make("span", {className: "clora-swatch", aria: {hidden: "true"}});
        const weight = make("input", {
            type: "number", step: "0.05", value: row.weight, data: {key: `weight ${row.lora}`},
            onchange: (event) => changed({weight: Number(event.target.value)}),
        });
        const parts = [
            make("label", {className: "clora-name"}, [pick, swatch, make("bdi", {textContent: row.lora})]),
            labelled("Weight", weight),
            labelled("Draws", drawRole(tab, row, changed)),
        ];
        if (row.role === "subject") parts.push(...drawSubject(row, changed));
        if (row.problem) parts.push(make("p", {className: "clora-wrong", textContent: row.problem}));
        const box = make("fieldset", {className: "clora-row", style: {"--clora-colour": row.colour}, aria: {label: row.lora}}, parts);
        box.classList.toggle("clora-active", active);
        return box;
    }

    function drawRole(tab, row, changed) {
        const nothing = {subject: null, occurrence: null, trigger: null, on: null, role: null};
        const roles = [
            ["subject", "its words", {role: null, on: null}],
            ["style", "everything (a style)", {...nothing, role: "style"}],
        ];
        for (const other of state(tab).view.rows) {
            if (other.lora !== row.lora && other.role === "subject") {
                roles.push([`on ${other.lora}`, `style on ${other.lora}`, {...nothing, on: other.lora}]);
            }
        }
        const chosen = row.role === "style_on" ? `on ${row.on}` : row.role;
        const options = roles.map(([value, text]) => make("option", {value, textContent: text, selected: value === chosen}));
        return make("select", {
            data: {key: `role ${row.lora}`},
            onchange: (event) => changed(roles.find(([value]) => value === event.target.value)[2]),
        }, options);
    }

    function drawSubject(row, changed) {
        const field = (name, changes) => make("input", {
            type: "text", value: row[name] ?? "", data: {key: `${name} ${row.lora}`},
            onchange: (event) => changed(changes(event.target.value.trim())),
        });
        const trigger = field("trigger", (text) => ({trigger: text || null}));
        trigger.placeholder = row.known_triggers[0] ?? "";
        return [
            labelled("Words", field("subject", (text) => ({subject: text || null, occurrence: null}))),
            labelled("Trigger", trigger),
        ];
    }

    function drawChips(tab, view, active) {
        const chips = view.words.map((word, index) => {
            const owner = view.rows[word.row];
            const parts = [make("bdi", {textContent: word.text})];
            if (word.choosable && word.places > 1) parts.push(make("sub", {textContent: word.occurrence}));
            const chip = make(word.choosable ? "button" : "span", {className: "clora-chip"}, parts);
            if (owner) chip.style.setProperty("--clora-colour", owner.colour);
            chip.classList.toggle("clora-owned", Boolean(owner));
            if (!word.choosable) return chip;
            chip.type = "button";
            chip.dataset.key = `word ${index}`;
            chip.setAttribute("aria-pressed", String(owner === active));
            chip.title = owner ? owner.lora : "";
            chip.onclick = () => send(tab, active.lora, owner === active ?
                {subject: null, occurrence: null} :
                {subject: word.text, occurrence: word.places > 1 ? word.occurrence : null, role: null, on: null});
            return chip;
        });
        const box = make("div", {className: "clora-chips", aria: {label: "Words of the prompt"}}, chips);
        box.setAttribute("role", "group");
        return box;
    }

    // A new drawing keeps what has the focus, and what is being typed there.

    function keep(board) {
        const focused = board.contains(document.activeElement) ? document.activeElement : null;
        return focused && {key: focused.dataset.key, value: focused.value, dirty: focused.value !== focused.defaultValue};
    }

    function restore(board, kept) {
        if (!kept || !kept.key) return;
        const found = [...board.querySelectorAll("[data-key]")].find((each) => each.dataset.key === kept.key);
        if (!found) return;
        if (found.type === "text" && kept.dirty) found.value = kept.value;
        found.focus({preventScroll: true});
    }

    // -- beginning ---------------------------------------------------------------------------------------------

    onUiLoaded(() => {
        for (const checkbox of gradioApp().querySelectorAll("[id^=clora_][id$=_enabled-checkbox] input")) {
            const tab = checkbox.closest("[id^=clora_]").id.split("_")[1];
            gradioApp().querySelector(`#${tab}_prompt textarea`)?.addEventListener("input", () => touched(tab));
        }
    });

    window.clora = {touched, show, take};
})();
