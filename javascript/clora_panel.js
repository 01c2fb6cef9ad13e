// The panel's fields below its rows: profile, switches, and what is folded. WebUI has them as one text, a JSON object of
// what is not as at first; what is typed or chosen here is written there at once, and what is put there is shown here.

(function() {
    "use strict";

    const PUBLISHED = ["authors", "paper"]; // profiles that are shown when "More settings" is open
    const tabs = {};
    let make, say, labelled; // of clora.js

    // -- the text --------------------------------------------------------------------------------------------------------

    function parse(text) {
        try {
            const found = JSON.parse(text || "{}");
            return found && typeof found === "object" ? found : {};
        } catch {
            return {}; // Python says what is wrong with it
        }
    }

    function mainKnobs({words}) {
        return Object.keys(words.knobs).filter((name) => words.knobs[name].main);
    }

    function first(now, profile) {
        const values = now.words.values[profile] ?? now.words.values[now.words.default];
        const main = Object.fromEntries(mainKnobs(now).map((name) => [name, values[name]]));
        return {show_masks: false, profile: now.words.default, method: now.words.methods[0], bindings: "", ...main, advanced: ""};
    }

    function values(now) {
        const given = parse(now.text);
        return {...first(now, given.profile), ...given};
    }

    function write(tab, changes) {
        const now = tabs[tab];
        const isOther = now.store.value !== now.text; // somebody else has written there, and it was not shown yet
        if (isOther) sync(tab);
        const all = {...values(now), ...changes};
        const usual = first(now, all.profile);
        const changed = Object.entries(all).filter(([name, value]) => value !== usual[name]);
        const text = changed.length ? JSON.stringify(Object.fromEntries(changed)) : "";
        if (text !== now.text) {
            now.text = text;
            window.cloraFields.fill(now.store, text);
        }
        if (isOther) show(now);
    }

    // Shows what somebody else has put into the text; what it does not say of masks stays.

    function sync(tab) {
        const now = tabs[tab];
        if (!now || now.store.value === now.text) return;
        const shown = now.fields.show_masks.checked;
        now.text = now.store.value;
        const given = parse(now.text);
        if (!("show_masks" in given) && shown) write(tab, {show_masks: true});
        else if (given.show_masks === false) write(tab, {});
        show(now);
        now.tools.fillKnobs(tab);
    }

    function show(now) {
        for (const [name, value] of Object.entries(values(now))) put(now.fields[name], value);
        showProfiles(now);
    }

    function put(field, value) {
        if (!field) return;
        if (field.type === "checkbox") field.checked = value;
        else if (field.choices) field.choices.forEach((choice) => { choice.checked = choice.value === value; });
        else for (const each of field.inputs ?? [field]) {
            if (each.value !== String(value)) each.value = value;
            if (each.matches("input")) each.defaultValue = each.value;
        }
    }

    function showProfiles(now) {
        const open = now.more.classList.contains("open");
        for (const choice of now.fields.profile.choices) {
            choice.closest("label").hidden = PUBLISHED.includes(choice.value) && !open && !choice.checked;
        }
    }

    // -- what a choice does ----------------------------------------------------------------------------------------------

    // A profile brings its values along, and says which it has turned.

    function choose(tab, profile) {
        const now = tabs[tab];
        const before = values(now);
        const after = first(now, profile);
        const turns = mainKnobs(now).filter((name) => before[name] !== after[name]).flatMap((name) => [
            ", ", make("span", {textContent: say(now.words.knobs[name].title)}), ` ${before[name]} → ${after[name]}`,
        ]).slice(1);
        const dropped = now.tools.entries(tab).map(({text}) => text).join(", ");
        const told = [];
        if (turns.length) told.push(make("span", {textContent: say("Turned by the profile:")}), " ", ...turns, ". ");
        if (dropped) told.push(make("span", {textContent: say("Dropped:")}), " ", make("span", {textContent: dropped}), ".");
        tell(now, told);
        const {method, bindings, show_masks} = before;
        write(tab, {...after, profile, method, bindings, show_masks});
        show(now);
        now.tools.fillKnobs(tab);
    }

    function reset(tab) {
        const now = tabs[tab];
        write(tab, {...first(now, now.words.default), bindings: values(now).bindings});
        show(now);
        tell(now, [say("All settings are as at first.")]);
        now.tools.fillKnobs(tab);
    }

    function tell({turned}, parts) {
        turned.replaceChildren(make("span", {}, parts));
    }

    // -- drawing ---------------------------------------------------------------------------------------------------------

    function called(tab, name) {
        return `clora_${tab}_${name}`;
    }

    function toggle(tab, name, label, title, onchange) {
        const input = make("input", {type: "checkbox", onchange});
        const box = make("label", {id: called(tab, name), className: "clora-check", title: say(title)}, [
            input, make("span", {textContent: label}),
        ]);
        return [input, box];
    }

    function drawProfiles(tab) {
        const now = tabs[tab];
        const choices = Object.keys(now.words.values).map((value) => make("input", {
            type: "radio", name: called(tab, "profiles_of"), value, onchange: () => choose(tab, value),
        }));
        now.fields.profile = {choices};
        const label = make("span", {id: called(tab, "profile_label"), textContent: "Profile"});
        return make("div", {id: called(tab, "profile"), className: "clora-choices", role: "radiogroup", aria: {labelledby: label.id}}, [
            label, ...choices.map((choice) => make("label", {className: "clora-choice"}, [choice, make("span", {textContent: choice.value})])),
        ]);
    }

    function drawFirst(tab) {
        const now = tabs[tab];
        const [masks, masksBox] = toggle(tab, "show_masks", "Show masks", "Add a picture of which LoRA draws where.",
            () => write(tab, {show_masks: masks.checked}));
        const [preview, previewBox] = toggle(tab, "preview", "Masks while drawing",
            "Beside the live preview, as they form; the same switch as in Settings, CLoRA.",
            () => now.tools.send(tab, {preview: preview.checked}));
        now.fields.show_masks = masks;
        now.preview = preview;
        return make("div", {className: "clora-first"}, [drawProfiles(tab), masksBox, previewBox, make("button", {
            type: "button", id: called(tab, "reset"), className: "clora-button", textContent: "Reset", onclick: () => reset(tab),
        })]);
    }

    // A part that folds; its head is a button.

    function fold(tab, name, title, parts, opened) {
        const inside = make("div", {className: "clora-form", hidden: true, id: called(tab, `${name}_inside`)}, parts);
        const head = make("button", {type: "button", className: "label-wrap", role: "button", aria: {expanded: "false", controls: inside.id}}, [
            make("span", {textContent: title}), make("span", {className: "clora-fold", textContent: "▼", aria: {hidden: "true"}}),
        ]);
        head.onclick = () => {
            const open = head.classList.toggle("open");
            inside.hidden = !open;
            head.setAttribute("aria-expanded", String(open));
            opened();
        };
        return [make("div", {id: called(tab, name), className: "clora-box"}, [head, inside]), head];
    }

    function field(tab, name, label, control, hint, title = "") {
        control.id = called(tab, `${name}_field`);
        const help = make("p", {id: `${control.id}_help`, className: "clora-hint", textContent: hint});
        control.setAttribute("aria-describedby", help.id);
        const box = make("div", {id: called(tab, name), className: "clora-field"}, [labelled(label, control), help]);
        box.title = say(title);
        return box;
    }

    function text(tab, name, rows, placeholder) {
        const area = make("textarea", {rows, placeholder, spellcheck: false});
        area.oninput = () => {
            write(tab, {[name]: area.value});
            if (name === "advanced") tabs[tab].tools.fillKnobs(tab);
        };
        tabs[tab].fields[name] = area;
        return area;
    }

    // A number, and a slider that goes with it.

    function drawSlider(tab, name, {title, description, minimum, maximum, step, $comment: term}) {
        const now = tabs[tab];
        const ends = {min: minimum, max: maximum, step};
        const number = make("input", {type: "number", ...ends, step: "any"});
        const range = make("input", {type: "range", ...ends, aria: {label: say(title)}});
        const typed = (other) => ({target}) => {
            if (target.value === "" || target.validity.badInput) return;
            other.value = target.value;
            number.defaultValue = number.value;
            write(tab, {[name]: Number(target.value)});
        };
        number.oninput = typed(range);
        range.oninput = typed(number);
        number.onblur = () => show(now);
        now.fields[name] = {inputs: [number, range]};
        const box = field(tab, name, title, number, description, term);
        box.classList.add("clora-slider");
        box.firstChild.after(range);
        return box;
    }

    function drawMore(tab, presets) {
        const now = tabs[tab];
        const {words, tools} = now;
        const method = make("select", {onchange: () => write(tab, {method: method.value})},
            words.methods.map((value) => make("option", {value, textContent: value})));
        now.fields.method = method;
        const advanced = text(tab, "advanced", 2, "temperature = 0.4\nuncond = shared");
        const [box] = fold(tab, "advanced_box", "Advanced", [
            field(tab, "advanced", "Advanced settings", advanced, "name = value, one on each line. Empty: as the profile has them."),
        ], () => tools.drawKnobs(tab));
        return [
            make("p", {id: called(tab, "profiles"), className: "clora-hint", textContent: words.about_profiles}),
            field(tab, "method", "Method", method, words.about_methods),
            field(tab, "bindings", "Bindings", text(tab, "bindings", 3, "tuxcat: cat\nbrowndog: dog #1, trigger=zorv\nwatercolor: style"),
                "LoRA: word, one on each line. Empty: read from the prompt."),
            make("div", {className: "clora-knobs"}, mainKnobs(now).map((name) => drawSlider(tab, name, words.knobs[name]))),
            box, ...presets,
        ];
    }

    // `store` is the host's text, `presets` are more parts of what is folded.

    function begin(tab, tools, words, store, presets) {
        ({make, say, labelled} = tools);
        const now = tabs[tab] = {tools, words, store, text: store.value, fields: {}, turned: null, more: null, preview: null};
        now.turned = make("p", {id: called(tab, "turned"), className: "clora-hint", role: "status"});
        const top = drawFirst(tab);
        const [more, head] = fold(tab, "more_box", "More settings", drawMore(tab, presets), () => showProfiles(now));
        now.more = head;
        show(now);
        return make("div", {className: "clora-board clora-panel"}, [top, now.turned, more]);
    }

    function showPreview(chosen) {
        Object.values(tabs).forEach(({preview}) => { preview.checked = Boolean(chosen); });
    }

    onOptionsChanged(() => showPreview(opts.clora_preview_masks));

    window.cloraPanel = {begin, sync, showPreview};
})();
