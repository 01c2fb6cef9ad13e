// The tab "Merge LoRAs". It is drawn when it is first opened; until then it is a few hidden fields. What people do becomes
// one JSON action, and what Python answers is drawn. Names are only ever set as text and values.

(function() {
    "use strict";

    const PATIENCE = 120000; // milliseconds until an answer that never came is given up
    const TELL = {shown: 500, hidden: 2000}; // milliseconds between two looks at a merge that runs
    const ROW = ["LoRA", "Ratio", "Trigger"];
    const now = {actions: [], asked: 0, asking: null, busy: 0, telling: 0, rows: [], controls: {}, parts: null};
    let make, say, labelled; // of the panel

    function find(name) {
        return gradioApp().getElementById(`clora_merge_${name}`);
    }

    function isShown() {
        return Boolean(find("board")?.offsetParent);
    }

    // -- asking: one action at a time; an answer has the number of its question --------------------------------------

    function ask(action) {
        now.actions.push(action);
        next();
    }

    function next() {
        if (now.busy || !now.actions.length) return;
        now.asked += 1;
        now.asking = {...now.actions.shift(), asked: now.asked};
        now.busy = setTimeout(() => show(JSON.stringify({line: "WebUI does not answer; try again.", asked: now.asked})), PATIENCE);
        find("ask").click();
    }

    function take() {
        return JSON.stringify(now.asking);
    }

    function show(answer) {
        const told = JSON.parse(answer);
        if (told.asked !== now.asking?.asked) return;
        const action = now.asking;
        clearTimeout(now.busy);
        Object.assign(now, {busy: 0, asking: null});
        if (told.form && !now.parts) draw(told);
        if (now.parts) work(told, action);
        next();
    }

    function work(told, action) {
        const {line, details, base, loras, merged} = now.parts;
        if ("line" in told) {
            line.textContent = say(told.line);
            line.classList.toggle("clora-wrong", told.line.startsWith("✗"));
        }
        if ("details" in told) details.value = told.details;
        if ("base" in told) base.value = told.base;
        if (told.names) now.parts.names.replaceChildren(...told.names.map((value) => make("option", {value})));
        if (told.chosen) addRow(told.chosen);
        if (told.rows) setRows(told.rows);
        if (told.values) Object.entries(told.values).forEach(([name, value]) => setValue(name, value));
        if (told.values || told.rows) loras.value = "";
        if (told.values) merged.value = "";
        if (told.running) tellLater();
        if (told.done && action.do === "progress") refreshCards();
    }

    function tellLater() {
        clearTimeout(now.telling);
        now.telling = setTimeout(() => ask({do: "progress"}), isShown() ? TELL.shown : TELL.hidden);
    }

    // The host's own hidden buttons make the cards of LoRAs anew.

    function refreshCards() {
        for (const tab of ["txt2img", "img2img"]) gradioApp().getElementById(`${tab}_lora_extra_refresh_internal`)?.click();
    }

    // -- what stands in the form -------------------------------------------------------------------------------------

    function valueOf(name) {
        const {control} = now.controls[name];
        if (control.type === "checkbox") return control.checked;
        return control.type !== "number" ? control.value : control.value === "" ? null : Number(control.value);
    }

    function setValue(name, value) {
        const {control} = now.controls[name];
        if (control.type === "checkbox") control.checked = value;
        else control.value = value;
        control.dispatchEvent(new Event("change"));
    }

    function fields() {
        const values = Object.fromEntries(Object.keys(now.controls).map((name) => [name, valueOf(name)]));
        return {...values, rows: now.rows.map(({cells}) => cells())};
    }

    // WebUI keeps the user's own defaults of what a hidden field holds: the values that are not as at first.

    function keepDefaults() {
        const kept = Object.entries(now.controls).filter(([name, {field}]) => field.kept && valueOf(name) !== field.value);
        const text = kept.length ? JSON.stringify(Object.fromEntries(kept.map(([name]) => [name, valueOf(name)]))) : "";
        const own = find("defaults").querySelector("textarea");
        if (own.value !== text) window.cloraFields.fill(own, text);
    }

    function ownDefaults() {
        try {
            return JSON.parse(find("defaults").querySelector("textarea").value || "{}");
        } catch {
            return {};
        }
    }

    // -- rows --------------------------------------------------------------------------------------------------------

    function choose() {
        const {loras} = now.parts;
        const name = loras.value.trim();
        loras.value = "";
        if (name && !now.rows.some((row) => row.name === name)) ask({do: "choose", name});
    }

    function setRows(rows) {
        now.rows = [];
        now.parts.table.replaceChildren();
        rows.forEach(addRow);
        showTable();
    }

    function addRow([name, ratio, trigger]) {
        const cell = (label, control) => {
            control.setAttribute("aria-label", `${say(label)}: ${name}`);
            return make("td", {}, [control]);
        };
        const number = make("input", {type: "number", step: "0.05", value: ratio});
        const words = make("input", {type: "text", value: trigger ?? ""});
        const row = {name, cells: () => [name, number.value, words.value]};
        const out = make("button", {type: "button", className: "clora-chip", textContent: "✗", onclick: () => {
            now.rows = now.rows.filter((each) => each !== row);
            line.remove();
            showTable();
            now.parts.loras.focus();
        }});
        out.title = say("Leave out");
        const line = make("tr", {}, [
            make("td", {}, [make("bdi", {textContent: name})]), cell("Ratio", number), cell("Trigger", words), cell("Leave out", out),
        ]);
        now.rows.push(row);
        now.parts.table.append(line);
        showTable();
    }

    function showTable() {
        find("rows").hidden = !now.rows.length;
    }

    // -- drawing -----------------------------------------------------------------------------------------------------

    function place(name, ...parts) {
        return make("div", {id: `clora_merge_${name}`, className: "clora-field"}, parts);
    }

    function button(name, textContent, onclick, look = "") {
        return make("button", {type: "button", id: `clora_merge_${name}`, className: `clora-button ${look}`, textContent, onclick});
    }

    function hint(control, text) {
        const told = make("p", {className: "clora-hint", id: `${control.id}_help`, textContent: text});
        control.setAttribute("aria-describedby", told.id);
        return told;
    }

    function controlOf({name, kind, value, choices, placeholder}) {
        const common = {id: `clora_merge_${name}_field`};
        const made = kind === "choice" ? make("select", common, choices.map((each) => make("option", {value: each, textContent: each}))) :
            kind === "lines" ? make("textarea", {...common, rows: 2}) :
                make("input", {...common, type: {switch: "checkbox", number: "number"}[kind] ?? "text", placeholder});
        if (kind === "number") made.step = "any";
        if (kind === "switch") made.checked = value;
        else made.value = value;
        return made;
    }

    function drawField(field, ways) {
        const control = controlOf(field);
        now.controls[field.name] = {control, field};
        const parts = [labelled(field.label, control)];
        const info = field.info || ways && ways[field.value];
        if (info) parts.push(hint(control, info));
        control.onchange = () => {
            if (ways) parts[1].textContent = say(ways[control.value] ?? "");
            keepDefaults();
        };
        const box = place(field.name === "held_prompt" ? "held" : field.name, ...parts);
        box.classList.toggle("clora-switch", field.kind === "switch");
        return box;
    }

    function drawForm(form, ways) {
        return form.flatMap(({title, fields}) => {
            const boxes = fields.map((field) => drawField(field, field.name === "method" && ways));
            if (!title) return boxes;
            const id = {"Size of the file": "size", "What is learnt from": "learning"}[title];
            return [make("details", {id: `clora_merge_${id}`, className: "clora-presets"}, [make("summary", {textContent: title}), ...boxes])];
        });
    }

    function draw({form, ways}) {
        const names = make("datalist", {id: "clora_merge_names"});
        const listed = (onchange) => {
            const input = make("input", {type: "text", onchange});
            input.setAttribute("list", names.id);
            return input;
        };
        now.parts = {
            names, table: make("tbody"), loras: listed(choose), merged: listed(null),
            base: make("input", {type: "text", readOnly: true, id: "clora_merge_base_field"}),
            line: make("p", {id: "clora_merge_line", className: "clora-line", role: "status"}),
            details: make("textarea", {rows: 10, readOnly: true}),
        };
        now.parts.loras.placeholder = say("Choose one, or type a name");
        const left = make("div", {className: "clora-form"}, [drawWhat(), ...drawForm(form, ways)]);
        find("board").replaceChildren(left, drawHow());
        showTable();
        for (const [name, value] of Object.entries(ownDefaults())) if (now.controls[name]) setValue(name, value);
    }

    function drawWhat() {
        const {names, table, loras} = now.parts;
        const head = make("thead", {}, [make("tr", {}, ROW.map((textContent) => make("th", {textContent, scope: "col"})))]);
        const prompt = () => gradioApp().querySelector("#txt2img_prompt textarea")?.value ?? "";
        return make("div", {className: "clora-form"}, [
            names, place("loras", labelled("LoRAs to merge", loras)),
            make("div", {className: "clora-presets-row"}, [
                button("take", "Take from prompt", () => ask({do: "take", prompt: prompt()})),
                button("refresh", "Look for files again", () => ask({do: "refresh"})),
            ]),
            make("table", {id: "clora_merge_rows", aria: {label: say("Ratios and triggers")}}, [head, table]),
        ]);
    }

    function drawHow() {
        const {base, line, details, merged} = now.parts;
        return make("div", {className: "clora-form"}, [
            place("base", labelled("Base", base), hint(base, "The checkpoint that is loaded.")),
            make("div", {className: "clora-presets-row"}, [
                button("look", "Look first", () => ask({do: "look", fields: fields()})),
                button("start", "Merge", () => ask({do: "merge", fields: fields()}), "primary"),
                button("cancel", "Cancel", () => ask({do: "cancel"}), "stop"),
            ]),
            make("div", {className: "clora-field"}, [make("span", {textContent: "How it stands"}), line]), place("told", labelled("Details", details)),
            place("merged", labelled("Merged file", merged)),
            make("div", {className: "clora-presets-row"}, [
                button("fill", "Fill in as it was merged", () => ask({do: "fill", merged: merged.value.trim()})),
            ]),
        ]);
    }

    function open() {
        const tab = gradioApp().getElementById("tab_clora_merge");
        if (!window.clora || !find("ask") || find("board") || !tab || tab.style.display === "none") return;
        ({make, say, labelled} = window.clora);
        find("ask").parentElement.append(make("div", {id: "clora_merge_board", className: "clora-board clora-merge"}));
        ask({do: "open"});
    }

    onUiTabChange(open);

    window.cloraMerge = {take, show};
})();
