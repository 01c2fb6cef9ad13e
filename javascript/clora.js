// The panel's rows, chips, advanced knobs and presets: what Python answers becomes elements, what people do becomes one
// JSON action or an entry of the text field "Advanced settings". Names and prompts are only ever set as text and values,
// never as HTML.

(function() {
    "use strict";

    const PAUSE = 0; // milliseconds after a key, until the prompt is looked at: what comes while it is, waits
    const PATIENCE = {look: 3000, act: 15000}; // milliseconds until an answer that never came is given up
    const WATCH = 300; // milliseconds between looks at fields that somebody else may fill
    const CHOSEN = ["%_prompt", "%_steps", "%_width", "%_height", "%_sampling", "%_denoising_strength", "%_hr-checkbox",
        "hr_sampler", "hires_prompt", "setting_sd_model_checkpoint"]; // fields of WebUI that the line depends on
    const tabs = {};

    function element(tab, name) {
        return gradioApp().getElementById(`clora_${tab}_${name}`);
    }

    function fieldOf(tab, name) {
        return element(tab, name)?.querySelector("textarea, input");
    }

    function state(tab) {
        tabs[tab] = tabs[tab] || {
            timer: null, busy: 0, stale: false, actions: [], asking: {}, asked: 0, shown: 0, active: null, view: null,
            wrong: null, refused: null, moved: null, seen: null, submitted: null, held: null, passing: false,
            wanted: [], done: [], tagged: {}, gone: {},
            knobs: null, values: null, controls: null, editing: null, presets: null, report: null,
        };
        return tabs[tab];
    }

    function promptField(tab) {
        return gradioApp().querySelector(`#${tab}_prompt textarea`);
    }

    function promptOf(tab) {
        return promptField(tab)?.value ?? "";
    }

    function enabled(tab) {
        return Boolean(gradioApp().querySelector(`#clora_${tab}_enabled-checkbox input`)?.checked);
    }

    // -- asking: one question at a time, actions before looks; an answer has the number of its question -------------

    function touched(tab) {
        const now = state(tab);
        now.stale = true;
        clearTimeout(now.timer);
        now.timer = setTimeout(() => ask(tab), PAUSE);
    }

    function ask(tab) {
        const now = state(tab);
        if (now.busy) return;
        if (now.held && !now.actions.length) setTimeout(() => release(tab));
        const action = now.actions.shift();
        if (action?.undo) {
            undo(tab);
            ask(tab);
            return;
        }
        if (!action && !(now.stale && enabled(tab))) return;
        if (!action) notice(tab);
        now.asked += 1;
        now.asking = {action, asked: now.asked, bindings: fieldOf(tab, "bindings").value};
        now.busy = setTimeout(() => giveUp(tab), action ? PATIENCE.act : PATIENCE.look);
        element(tab, action ? "edit" : "check").click();
    }

    function free(tab) {
        const now = state(tab);
        clearTimeout(now.busy);
        now.busy = 0;
        ask(tab);
    }

    function giveUp(tab) {
        const now = state(tab);
        const {action} = now.asking;
        if (action && !action.finished) refuse(tab, "WebUI does not answer; try again.");
        now.asking = {};
        free(tab);
        if (action?.finished) window.cloraFinished.askAgain(tab);
    }

    // What is set in a row counts in its drawing at once; several changes of a row that wait are sent as one.

    function send(tab, action) {
        const now = state(tab);
        const last = now.actions.at(-1);
        const plain = (each) => each?.changes && !each.losers && !each.add;
        if (plain(last) && plain(action) && last.lora === action.lora && last.number === action.number) {
            Object.assign(last.changes, action.changes);
        } else {
            now.actions.push(action);
            if (action.changes) now.wanted.push(action);
        }
        if (action.changes && now.view) draw(tab);
        ask(tab);
    }

    function take(tab) {
        const {asking} = state(tab);
        return JSON.stringify({...asking.action, asked: asking.asked});
    }

    function show(tab, answer) {
        const now = state(tab);
        const told = JSON.parse(answer);
        const awaited = told.asked === now.asking.asked;
        if (told.rows) look(tab, told, awaited);
        else if (awaited) act(tab, told);
        if (now.view) draw(tab);
        setTimeout(() => window.cloraPanel.sync(tab)); // what gradio was told is on the page then
        if (awaited) free(tab);
    }

    function look(tab, told, awaited) {
        const now = state(tab);
        if (told.asked <= now.shown) return;
        const counts = {};
        for (const row of told.rows) {
            counts[row.lora] = (counts[row.lora] ?? -1) + 1;
            row.number = counts[row.lora];
        }
        now.shown = told.asked;
        now.view = told;
        now.wrong = null;
        now.stale = now.stale || told.prompt !== promptOf(tab);
        now.wanted = now.wanted.filter(({answered}) => !(answered < told.asked));
        if (awaited) follow(tab, told);
    }

    function act(tab, told) {
        const now = state(tab);
        const {action} = now.asking;
        if (action.preset) drawPresets(tab, told);
        else if ("preview" in action) window.cloraPanel.showPreview(opts.clora_preview_masks = told.preview);
        else if ("report" in action) giveReport(tab, told.report);
        else if ("mask_of" in action) window.cloraMasks.answer(tab, action.of, told);
        else if ("finished" in action || "inpaint" in action) window.cloraFinished.answer(tab, action, told);
        else if (told.wrong) refuse(tab, told.told);
        else edit(tab, action, told);
    }

    function refuse(tab, why) {
        const now = state(tab);
        Object.assign(now, {wrong: why, held: null, stale: false});
        now.wanted = now.wanted.filter((action) => action !== now.asking.action);
        if (now.view) draw(tab);
    }

    // -- editing: an answer is worked into what stands in the fields by now, or thrown away -------------------------

    function edit(tab, action, told) {
        const now = state(tab);
        const [prompt, bindings] = [promptField(tab), fieldOf(tab, "bindings")];
        const before = prompt.value;
        const texts = told.texts ?? [];
        const after = texts.reduce((text, {was, now}) => text?.includes(was) ? text.replace(was, () => now) : null, before);
        const fits = after !== null && (!told.bindings || bindings.value === told.bindings.was);
        if (fits) texts.forEach(({was, now}) => window.cloraFields.replace(prompt, was, now));
        if (fits && told.bindings) window.cloraFields.fill(bindings, told.bindings.now);
        if (fits && action.changes && (texts.length || told.bindings)) {
            now.done.push({before, after: prompt.value, bindings: told.bindings});
        }
        if (fits && action.moved) now.moved = {told: action.moved, of: contents(tab)};
        if (fits && told.gone) now.gone[action.gone] = {lines: told.gone, text: action.text};
        action.answered = now.asking.asked;
        now.stale = true;
    }

    // Ctrl+Z takes back what was last set in a row, unless something has been typed since.

    function undo(tab) {
        const now = state(tab);
        const last = now.done.pop();
        const [prompt, bindings] = [promptField(tab), fieldOf(tab, "bindings")];
        if (!last || (last.bindings && bindings.value !== last.bindings.now)) return;
        if (last.before !== last.after && prompt.value === last.after) window.cloraFields.takeBack(prompt, last.before);
        if (last.bindings) window.cloraFields.fill(bindings, last.bindings.was);
        now.stale = true;
    }

    function isSet(tab) {
        const now = state(tab);
        return now.done.length > 0 || now.wanted.some(({answered}) => !answered);
    }

    function keyed(tab, event) {
        if (!(event.ctrlKey || event.metaKey) || event.altKey || !enabled(tab)) return;
        const {target} = event;
        if (target === promptField(tab) && /^Arrow(Up|Down)$/.test(event.key)) putWeightLast(target);
        if (event.key.toLowerCase() !== "z" || event.shiftKey || !isSet(tab)) return;
        const typed = target.matches("input") && window.cloraFields.isChanged(target);
        if (target !== promptField(tab) && (typed || !element(tab, "board").contains(target))) return;
        event.preventDefault();
        send(tab, {undo: true});
    }

    // WebUI's Ctrl+Up turns the last number of a tag, so words after it are put before it.

    function putWeightLast(field) {
        const {value, selectionStart: caret} = field;
        const start = value.lastIndexOf("<", caret - 1);
        const tag = value.slice(start, value.indexOf(">", caret) + 1);
        if (start < 0 || !/^<(lora|lyco):[^<>]+>$/.test(tag)) return;
        const [kind, name, ...items] = tag.slice(1, -1).split(":");
        const isNumber = (item) => !item.includes("=");
        const ordered = [kind, name, ...items.filter((item) => !isNumber(item)), ...items.filter(isNumber)];
        const text = `<${ordered.join(":")}>`;
        if (items.some(isNumber) && text !== tag) window.cloraFields.replace(field, tag, text);
    }

    // A binding goes with its LoRA's tag, and comes back with it to the same words, if nobody has written in the field
    // in between.

    function follow(tab, {rows, words}) {
        const now = state(tab);
        const {bindings} = now.asking;
        const text = words.map((word) => word.text).join(" ");
        for (const {lora, names, tagged} of rows) {
            if (tagged) {
                const gone = now.gone[lora];
                delete now.gone[lora];
                now.tagged[lora] = {bindings, text};
                if (gone?.text === text) send(tab, {back: gone.lines});
            } else if (now.tagged[lora]?.bindings === bindings) {
                send(tab, {gone: lora, names, text: now.tagged[lora].text});
                delete now.tagged[lora];
            }
        }
    }

    // -- what must not be overtaken: Generate, and a card whose LoRA has words of ours in its tag, wait for the rows -----

    function hold(tab, event) {
        const now = state(tab);
        const button = event.target.closest?.(`#${tab}_generate, #${tab}_upscale, #${tab}_lora_cards .card`);
        if (!button || !enabled(tab) || now.passing || event.target.closest(".button-row")) return;
        window.cloraPanel.sync(tab);
        const waits = button.matches(".card") ? clearTag(tab, button.dataset.name) : commit(tab) || isWaiting(tab);
        if (!waits) {
            now.submitted = contents(tab);
            return;
        }
        event.preventDefault();
        event.stopImmediatePropagation();
        now.held = button;
        ask(tab);
    }

    function isWaiting(tab) {
        const now = state(tab);
        return now.actions.length > 0 || Boolean(now.busy && now.asking.action?.changes);
    }

    function release(tab) {
        const now = state(tab);
        const {held} = now;
        if (!held || isWaiting(tab)) return;
        Object.assign(now, {held: null, passing: true, submitted: contents(tab)});
        held.click();
        now.passing = false;
    }

    // What is being typed in the panel counts although nobody has left the field. Whether there was such a thing.

    function commit(tab) {
        const field = document.activeElement;
        const typed = element(tab, "enabled").contains(field) && field.matches(".clora-board input") &&
            (state(tab).editing === field || window.cloraFields.isChanged(field));
        if (!typed) return false;
        field.dispatchEvent(new Event("change"));
        return true;
    }

    // The host's own click on a card takes out a tag that has nothing but a weight.

    function clearTag(tab, name) {
        const row = state(tab).view?.rows.find((each) => each.in_tag && each.names.includes(name));
        if (row) send(tab, {...addressOf(row), changes: {}});
        return Boolean(row);
    }

    // The reason of a refusal stays in the line until something changes.

    function hear(tab, log) {
        const now = state(tab);
        const error = log.querySelector(".error");
        now.refused = error && {why: error.textContent.replace(/^\w+: /, ""), of: now.submitted};
        if (now.view && enabled(tab)) draw(tab);
    }

    function refusal(tab) {
        const now = state(tab);
        if (now.refused && now.refused.of !== contents(tab)) now.refused = null;
        const why = now.refused?.why ?? null;
        return now.view.problems.some((problem) => problem.message === why) ? null : why; // the line has it already
    }

    // So does who lost a word by a click.

    function move(tab) {
        const now = state(tab);
        if (now.moved && now.moved.of !== contents(tab)) now.moved = null;
        return now.moved?.told ?? [];
    }

    // Fields change also when a picture is pasted, a style is applied or a preset is loaded, and that is no event of the
    // page. So their contents are compared now and then, while the panel is on.

    function contents(tab) {
        const inside = `#clora_${tab}_enabled .block`;
        const chosen = chosenIn(tab);
        const fields = [...gradioApp().querySelectorAll(`:is(${chosen}, ${inside}) :is(input, textarea)`)]
            .filter((field) => !field.closest(`.clora-board, #clora_${tab}_line, #clora_${tab}_view`));
        const texts = [...gradioApp().querySelectorAll(`#${tab}_styles .token, #sd_checkpoint_hash`)];
        return [
            ...fields.map((field) => /checkbox|radio/.test(field.type) ? field.checked : field.value),
            ...texts.map((text) => text.textContent),
        ].join("\n");
    }

    function chosenIn(tab) {
        return CHOSEN.map((id) => `#${id.replace("%", tab)}`).join();
    }

    // A list's field shows what is typed in it; only when it closes that is chosen.

    function sight(tab) {
        return `${contents(tab)}\n${gradioApp().querySelectorAll(`:is(${chosenIn(tab)}) ul`).length}`;
    }

    function notice(tab) {
        state(tab).stale = false;
        state(tab).seen = sight(tab);
        fillKnobs(tab);
    }

    function watch(tab) {
        const now = state(tab);
        window.cloraPanel.sync(tab);
        if (!enabled(tab)) now.seen = null;
        else if (!document.hidden && !now.busy && sight(tab) !== now.seen) touched(tab);
    }

    // -- in the page's language: WebUI's localization has a text as it is, or with {1}, {2} for what changes in it -------

    let patterns = null;

    function patternsOf(words) {
        patterns = patterns ?? Object.keys(words).filter((key) => key.includes("{1}")).map((key) => {
            const literal = key.split(/\{\d\}/).map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
            return [new RegExp(`^${literal.join("([^]*?)")}$`), words[key]];
        });
        return patterns;
    }

    function say(text) {
        const words = window.localization ?? {};
        if (!text || Object.hasOwn(words, text)) return words[text] ?? text;
        for (const [pattern, translated] of patternsOf(words)) {
            const found = pattern.exec(text);
            if (found) return translated.replace(/\{(\d)\}/g, (_, number) => say(found[number]));
        }
        return text;
    }

    // -- drawing -----------------------------------------------------------------------------------------------

    function make(tag, properties = {}, children = []) {
        const made = document.createElement(tag);
        const {data, aria, style, role, ...rest} = properties;
        Object.assign(made, rest);
        Object.assign(made.dataset, data);
        if (role) made.setAttribute("role", role);
        for (const [name, value] of Object.entries(aria || {})) made.setAttribute(`aria-${name}`, value);
        for (const [name, value] of Object.entries(style || {})) made.style.setProperty(name, value);
        made.append(...children);
        if (tag === "input") made.defaultValue = made.value;
        return made;
    }

    function labelled(text, input) {
        return make("label", {}, [make("span", {textContent: text}), input]);
    }

    function draw(tab) {
        const view = wantedView(tab);
        const wrong = state(tab).wrong ?? refusal(tab);
        window.cloraMasks.sync(tab, view.rows);
        const active = activeRow(tab, view.rows);
        const moved = wrong ? [] : move(tab);
        const words = wrong ? say(wrong) : [...moved, ...view.parts].map(say).join("");
        const line = make("p", {className: "clora-line", textContent: words, title: say(view.cost), role: "status"});
        line.classList.add(lookOf(view, wrong, moved));
        const parts = [line];
        if (view.rows.length) {
            parts.push(make("div", {className: "clora-rows"}, view.rows.map((row) => drawRow(tab, row, row === active))));
            parts.push(make("p", {
                className: "clora-hint", textContent: "Choose a LoRA, then click the word that it draws. A click on its own word " +
                    "keeps it, another takes it back. Shift and a click take in all words up to there."
            }), drawChips(tab, view, active));
        }
        window.cloraFields.draw(element(tab, "board"), parts);
    }

    // What was seen last, with what has been set in its rows since.

    function wantedView(tab) {
        const {view, wanted} = state(tab);
        const rows = view.rows.map((row) => {
            const own = wanted.filter((action) => action.lora === row.lora && action.number === row.number);
            const changes = Object.assign({}, ...own.map((action) => action.changes));
            if ("role" in changes) changes.role = changes.on ? "style_on" : changes.role ?? "subject";
            if ("subject" in changes) changes.said = changes.subject !== null;
            return {...row, ...changes};
        });
        return {...view, rows};
    }

    // Each look has a sign and a tint of its own, for eyes that do not tell its colour.

    function lookOf(view, wrong, moved) {
        if (wrong !== null || view.problems.length) return "clora-wrong";
        if (view.notes.length || moved.length) return "clora-note";
        return view.rows.length ? "clora-fine" : "clora-empty";
    }

    function activeRow(tab, rows) {
        return rows.find((row) => keyOf(row) === state(tab).active) ||
            rows.find((row) => row.role === "subject" && !row.found) || rows[0];
    }

    // Of a LoRA that draws several subjects, each has a row.

    function keyOf(row) {
        return `${row.lora} ${row.number}`;
    }

    function addressOf(row) {
        return {lora: row.lora, names: row.names, number: row.number, shared: row.shared};
    }

    function drawRow(tab, row, active) {
        const changed = (changes) => {
            state(tab).active = keyOf(row);
            send(tab, {...addressOf(row), changes});
        };
        const pick = make("input", {
            type: "radio", name: `clora_${tab}_active`, checked: active, data: {key: `pick ${keyOf(row)}`},
            onchange: () => {
                state(tab).active = keyOf(row);
                draw(tab);
            },
        });
        const swatch = make("span", {className: "clora-swatch", aria: {hidden: "true"}});
        const weight = entry({type: "number", step: "0.05", value: row.weight, data: {key: `weight ${keyOf(row)}`}}, (text) => {
            const number = Number(text);
            changed({weight: text.trim() && Number.isFinite(number) ? number : text});
        });
        const parts = [
            make("label", {className: "clora-name"}, [pick, swatch, make("bdi", {textContent: row.lora})]),
            labelled("Weight", weight),
            labelled("Draws", drawRole(tab, row, changed)),
        ];
        if (row.role === "subject") parts.push(...drawSubject(row, changed));
        if (row.role === "subject" && row.key) parts.push(window.cloraMasks.button(tab, row));
        if (row.role === "subject" && !row.found) {
            parts.push(window.cloraQuestions.ask(state(tab).view, row, rolesOf(tab, row).slice(1), (changes) => {
                state(tab).active = null; // the next that asks, or the first
                send(tab, {...addressOf(row), changes});
            }));
        }
        if (row.unwritten && !row.choices.length) parts.push(window.cloraQuestions.unwritten(row, (words) => add(tab, row, words)));
        if (row.problem && !row.asks) parts.push(make("p", {className: "clora-wrong", textContent: say(row.problem)}));
        const box = make("fieldset", {className: "clora-row", style: {"--clora-colour": row.colour}, aria: {label: row.lora}}, parts);
        box.classList.toggle("clora-active", active);
        box.classList.toggle("clora-asks", row.role === "subject" && !row.found);
        return box;
    }

    // What a LoRA may draw: a value, a text, and the changes that say so.

    function rolesOf(tab, row) {
        const nothing = {subject: null, occurrence: null, trigger: null, on: null, role: null};
        const roles = [
            ["subject", "its words", {role: null, on: null}],
            ["style", "everything (a style)", {...nothing, role: "style"}],
        ];
        const subjects = state(tab).view.rows.filter((other) => other.role === "subject");
        for (const other of subjects.filter(({lora}) => lora !== row.lora)) {
            const {on, occurrence} = nameForStyle(subjects, other);
            const name = [on, occurrence].filter(Boolean).join(" ");
            if (on) roles.push([`on ${name}`, say(`only on ${name}`), {...nothing, on, occurrence}]);
        }
        return roles;
    }

    // What a style says to be on a subject alone: its LoRA, or where that has several its words.

    function nameForStyle(subjects, {lora, subject, occurrence}) {
        if (subjects.filter((row) => row.lora === lora).length === 1) return {on: lora, occurrence: null};
        const alike = subjects.filter((row) => row.subject?.toLowerCase() === subject?.toLowerCase());
        return {on: subject, occurrence: alike.length > 1 ? occurrence : null};
    }

    function add(tab, row, words) {
        const {subject, occurrence} = row.found ? row : {subject: null, occurrence: null};
        send(tab, {...addressOf(row), changes: {}, add: words, subject, occurrence});
    }

    function drawRole(tab, row, changed) {
        const roles = rolesOf(tab, row);
        const chosen = row.role === "style_on" ? `on ${[row.on, row.occurrence].filter(Boolean).join(" ")}` : row.role;
        const options = roles.map(([value, text]) => make("option", {value, textContent: text, selected: value === chosen}));
        return make("select", {
            data: {key: `role ${keyOf(row)}`},
            onchange: (event) => changed(roles.find(([value]) => value === event.target.value)[2]),
        }, options);
    }

    // A field whose text is told when it is left, and when Generate is asked for.

    function entry(properties, tell) {
        const left = ({target}) => {
            if (window.cloraFields.isChanged(target)) tell(target.value);
        };
        return make("input", {...properties, onchange: left, onblur: left});
    }

    function drawSubject(row, changed) {
        const field = (name, changes) => entry(
            {type: "text", value: row[name] ?? "", data: {key: `${name} ${keyOf(row)}`}}, (text) => changed(changes(text.trim()))
        );
        return [
            labelled("Words", field("subject", (text) => ({subject: text || null, occurrence: null}))),
            labelled("Trigger", field("trigger", (text) => ({trigger: text || null}))),
        ];
    }

    function drawChips(tab, view, active) {
        const asked = window.cloraQuestions.candidates(view, active);
        const chips = view.words.map((word, index) => {
            const owner = view.rows[word.row];
            const parts = [make("bdi", {textContent: word.text})];
            if (word.choosable && word.places > 1) parts.push(make("sub", {textContent: word.occurrence}));
            const chip = make(word.choosable ? "button" : "span", {className: "clora-chip"}, parts);
            if (owner) chip.style.setProperty("--clora-colour", owner.colour);
            chip.classList.toggle("clora-owned", Boolean(owner));
            chip.classList.toggle("clora-candidate", asked.has(word));
            if (!word.choosable) return chip;
            chip.type = "button";
            chip.dataset.key = `word ${index}`;
            chip.setAttribute("aria-pressed", String(owner === active));
            chip.classList.toggle("clora-said", Boolean(owner?.said));
            chip.title = owner?.said ? say(`${owner.lora} (kept)`) : owner?.lora ?? "";
            chip.onclick = (event) => point(tab, view, active, window.cloraQuestions.pointed(view, active, index, event.shiftKey));
            return chip;
        });
        return make("div", {className: "clora-chips", role: "group", aria: {label: say("Words of the prompt")}}, chips);
    }

    // Who loses a word is named, and what somebody said of it is taken back with the same click.

    function point(tab, view, active, {changes, losers}) {
        const action = {...addressOf(active), changes};
        if (losers.length) {
            const names = losers.map((row) => row.lora).join(", ");
            action.moved = [`“${changes.subject}” goes from ${names} to ${active.lora}.`, " "];
            action.losers = losers.filter((row) => row.said)
                .map((row) => ({...addressOf(row), changes: {subject: null, occurrence: null}}));
        }
        send(tab, action);
    }

    // -- the advanced knobs: one control for each, kept in step with the entries of the text field ------------------

    const BETWEEN = /\n|,(?=[^,\n]*=)/; // as clora_ext/knobs.py

    function entries(tab) {
        const parts = fieldOf(tab, "advanced").value.split(BETWEEN).map((part) => part.replace(/^[\s,]+|[\s,]+$/g, ""));
        return parts.filter((part) => part).map((text) => {
            const at = text.indexOf("=");
            return {text, name: at < 0 ? null : text.slice(0, at).trim(), value: text.slice(at + 1).trim()};
        });
    }

    function profileValue(tab, name) {
        const {values} = state(tab);
        return (values[element(tab, "profile").querySelector("input:checked")?.value] ?? values.fast)[name];
    }

    function turn(tab, name, value) {
        const left = entries(tab).filter((entry) => entry.name !== name).map((entry) => entry.text);
        if (value !== null && value !== String(profileValue(tab, name))) left.push(`${name} = ${value}`.trim());
        const field = fieldOf(tab, "advanced");
        window.cloraFields.fill(field, left.join("\n"));
    }

    function fillKnobs(tab) {
        const {controls, editing} = state(tab);
        if (!controls) return;
        const found = Object.fromEntries(entries(tab).map((entry) => [entry.name, entry.value]));
        for (const [name, control] of Object.entries(controls)) {
            const value = String(found[name] ?? profileValue(tab, name));
            control.closest(".clora-knob").classList.toggle("clora-changed", name in found);
            if (control === editing) continue; // somebody is typing in it: it is theirs until they leave it
            if (control.type === "checkbox") control.checked = value.toLowerCase() === "true";
            else if (control.value !== value) control.value = value;
        }
    }

    function drawKnobs(tab) {
        const now = state(tab);
        if (now.controls) return;
        now.controls = {};
        const boxes = Object.entries(now.knobs).map(([name, knob]) => {
            const id = `clora_${tab}_knob_${name}`;
            const common = {id, aria: {describedby: `${id}_help`}};
            const control = knob.enum ?
                make("select", common, knob.enum.map((choice) => make("option", {value: choice, textContent: choice}))) :
                make("input", {...common, ...inputOf(knob)});
            control.oninput = () => { now.editing = control; };
            control.onchange = () => {
                now.editing = null;
                turn(tab, name, control.type === "checkbox" ? String(control.checked) :
                    control.type === "number" && control.value === "" ? null : control.value.trim());
            };
            control.onblur = () => {
                if (now.editing !== control) return;
                now.editing = null;
                fillKnobs(tab);
            };
            now.controls[name] = control;
            return make("div", {className: "clora-knob"}, [
                make("label", {htmlFor: id, textContent: knob.title, title: knob.$comment}), control,
                make("p", {id: `${id}_help`, className: "clora-hint", textContent: knob.description}),
            ]);
        });
        const box = make("div", {className: "clora-board clora-knobs", role: "group", aria: {label: say("Advanced settings")}}, boxes);
        element(tab, "advanced").after(box);
        fillKnobs(tab);
    }

    function inputOf(knob) {
        if (knob.type === "boolean") return {type: "checkbox"};
        if (knob.type === "string") return {type: "text"};
        return {type: "number", min: knob.minimum, max: knob.maximum, step: knob.type === "integer" ? 1 : "any"};
    }

    // -- presets -----------------------------------------------------------------------------------------------------

    function beginPresets(tab) {
        const box = make("details", {id: `clora_${tab}_presets`, className: "clora-board clora-presets"}, [
            make("summary", {textContent: "Presets"}),
        ]);
        box.ontoggle = () => {
            if (!box.open || state(tab).presets) return;
            openPresets(tab, box);
            send(tab, {preset: "list"});
        };
        return box;
    }

    function openPresets(tab, box) {
        const id = `clora_${tab}_preset`;
        const name = make("input", {type: "text", id: `${id}_name`, maxLength: 100});
        const names = make("datalist", {id: `${id}_names`});
        name.setAttribute("list", names.id);
        const text = make("textarea", {id: `${id}_text`, rows: 2, spellcheck: false});
        const told = make("p", {id: `${id}_told`, className: "clora-line", role: "status"});
        const button = (preset, label) => make("button", {
            type: "button", id: `${id}_${preset}`, textContent: label,
            onclick: () => sure(tab, preset) && send(tab, {preset, name: name.value, text: text.value}),
        });
        state(tab).presets = {name, names, text, told};
        box.append(
            make("div", {className: "clora-presets-row"}, [
                labelled("Preset: choose one, or type a name to save under", name), names, button("load", "Load"),
                button("save", "Save"), button("delete", "Delete"),
            ]),
            labelled("Preset as JSON: what was loaded or saved, to copy; or paste one here and apply it", text),
            button("apply", "Apply the JSON"), told,
        );
    }

    // A preset that is there is not lost by one click.

    function sure(tab, preset) {
        const {name, names} = state(tab).presets;
        const mine = name.value.trim();
        const question = {save: "Save over this preset?", delete: "Delete this preset?"}[preset];
        const there = [...names.options].some((option) => option.value === mine);
        return !question || !there || confirm(`${say(question)} ${mine}`);
    }

    function drawPresets(tab, answer) {
        const {name, names, text, told} = state(tab).presets;
        told.textContent = say(answer.told);
        told.classList.toggle("clora-wrong", Boolean(answer.wrong));
        if (answer.wrong) return;
        names.replaceChildren(...answer.presets.map((each) => make("option", {value: each})));
        if (answer.told) text.value = answer.text;
        if (state(tab).asking.action.preset === "delete") name.value = "";
    }

    // -- the report of a problem -------------------------------------------------------------------------------------

    function beginReport(tab) {
        const id = `clora_${tab}_report`;
        const whole = make("input", {type: "checkbox", id: `${id}_private`});
        const text = make("textarea", {id: `${id}_text`, rows: 6, readOnly: true, hidden: true, spellcheck: false});
        text.setAttribute("aria-label", say("Report"));
        const button = make("button", {
            type: "button", id, textContent: "Copy a report of the last job for an issue",
            onclick: () => send(tab, {report: whole.checked}),
        });
        state(tab).report = text;
        return make("div", {className: "clora-board clora-report"}, [
            button, make("label", {}, [whole, make("span", {textContent: " with its prompt and paths"})]), text,
        ]);
    }

    // A page that is not https may not write to the clipboard: the text is there, and chosen.

    function giveReport(tab, report) {
        const {report: text} = state(tab);
        text.value = report;
        text.hidden = false;
        text.select();
        navigator.clipboard?.writeText(report).catch(() => {});
    }

    // -- beginning ---------------------------------------------------------------------------------------------

    function begin(tab) {
        window.cloraQuestions.begin({make, say});
        const words = JSON.parse(fieldOf(tab, "view").value);
        const store = fieldOf(tab, "fields");
        state(tab).knobs = Object.fromEntries(Object.entries(words.knobs).filter(([, knob]) => !knob.main));
        state(tab).values = words.values;
        const board = make("div", {id: `clora_${tab}_board`, className: "clora-board"});
        const tools = {make, labelled, send, draw, say, entries, fillKnobs, drawKnobs};
        const panel = window.cloraPanel.begin(tab, tools, words, store, [beginPresets(tab), beginReport(tab)]);
        element(tab, "check").after(board, window.cloraMasks.begin(tab, tools), panel);
        window.cloraFinished.begin(tab, {make, send, say});
        for (const name of ["line", "fields"]) (element(tab, name).closest(".form") ?? element(tab, name)).classList.add("clora-replaced");
        element(tab, "check").classList.add("clora-replaced");
        gradioApp().getElementById(`clora_${tab}_enabled-visible-checkbox`)?.setAttribute("aria-label", "CLoRA");
        const places = ["clora_%_enabled-checkbox", "clora_%_enabled", "%_prompt"];
        for (const place of places.map((id) => gradioApp().getElementById(id.replace("%", tab)))) {
            place?.addEventListener("input", ({target}) => target.closest(".clora-board") || touched(tab));
        }
        listen(tab);
        setInterval(() => watch(tab), WATCH);
    }

    function listen(tab) {
        const log = gradioApp().getElementById(`html_log_${tab}`);
        if (log) new MutationObserver(() => hear(tab, log)).observe(log, {childList: true, subtree: true});
        document.addEventListener("click", (event) => hold(tab, event), true);
        document.addEventListener("keydown", (event) => keyed(tab, event), true);
        for (const field of [promptField(tab), fieldOf(tab, "bindings")]) {
            field?.addEventListener("input", (event) => {
                if (!event.isTrusted || window.cloraFields.isWriting()) return;
                state(tab).done = [];
                if (field !== promptField(tab)) state(tab).gone = {};
            });
        }
    }

    onUiLoaded(() => {
        for (const checkbox of gradioApp().querySelectorAll("[id^=clora_][id$=_enabled-checkbox]")) {
            begin(checkbox.id.split("_")[1]);
        }
    });

    window.clora = {touched, show, take, make, say, labelled};
})();
