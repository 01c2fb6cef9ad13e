// What people do next with a finished picture: see who draws what at full size, use its masks again, and inpaint one
// subject by its own mask and LoRA. A picture is known by its infotext, which is its sheet of masks' too. Names are only
// ever set as text.

(function() {
    "use strict";

    const UPLOAD = 4; // "Inpaint upload" among the ways of img2img
    const TEXTS = ["img2img_prompt textarea", "img2img_neg_prompt textarea", "clora_img2img_bindings textarea",
        "clora_img2img_masks textarea", "img2img_steps input[type=number]", "img2img_width input[type=number]",
        "img2img_height input[type=number]"]; // what is filled to inpaint a subject, in the order of `filling`
    const MASK_MODES = "#img2img_mask_mode input[type=radio]";
    const tabs = {};

    function find(selector) {
        return gradioApp().querySelector(selector);
    }

    // -- which picture -------------------------------------------------------------------------------------------------

    // The picture that is chosen in the gallery, or whose sheet of masks is; without a choice the first. Grids are none.

    function pictureOf(tab) {
        const now = tabs[tab];
        const text = find(`#generation_info_${tab} textarea`)?.value;
        if (!text) return null;
        if (text !== now.text) Object.assign(now, {text, info: JSON.parse(text)});
        const {infotexts, index_of_first_image: first} = now.info;
        const small = [...gradioApp().querySelectorAll(`#${tab}_gallery .thumbnails .thumbnail-item`)];
        const shown = small.length ? small : [...gradioApp().querySelectorAll(`#${tab}_gallery .thumbnail-item`)];
        const chosen = Math.max(small.findIndex((item) => item.classList.contains("selected")), first);
        const at = infotexts.indexOf(infotexts[chosen], first);
        const source = shown[at]?.querySelector("img")?.src;
        return source ? {infotext: infotexts[chosen], source, isSheet: at !== chosen} : null;
    }

    // A picture of one subject has no masks of its own: then those count of the picture that it was made from.

    function infotextsOf(tab, {infotext}) {
        const now = tabs[tab];
        const found = infotext.includes("CLoRA ") ? [infotext] : [];
        return now.sent && get_tab_index("mode_img2img") === UPLOAD ? [...found, now.sent] : found;
    }

    function look(tab) {
        const now = tabs[tab];
        const picture = pictureOf(tab);
        const wanted = picture ? infotextsOf(tab, picture) : [];
        const key = JSON.stringify(wanted);
        if (picture?.source === now.picture?.source && key === now.key) return;
        if (picture?.source !== now.picture?.source) tell(tab, "");
        Object.assign(now, {picture, key, found: null});
        if (wanted.length) now.panel.send(tab, {finished: wanted});
        draw(tab);
    }

    function askAgain(tab) {
        tabs[tab].key = null;
        look(tab);
    }

    function answer(tab, action, told) {
        const now = tabs[tab];
        if (told.wrong) tell(tab, told.told, true);
        else if (action.inpaint) arrive(told).catch(() => missing(tab));
        else if (JSON.stringify(action.finished) === now.key) now.found = told.subjects.length ? told : null;
        draw(tab);
    }

    // -- drawing -------------------------------------------------------------------------------------------------------

    function tell(tab, words, wrong = false) {
        Object.assign(tabs[tab], {words, wrong});
    }

    function draw(tab) {
        const {box, panel, found, words, wrong, before} = tabs[tab];
        const {make, say} = panel;
        const button = (key, textContent, onclick, more = {}) => make("button", {
            type: "button", className: "clora-chip", textContent, onclick, data: {key}, ...more,
        });
        const buttons = found ? [
            make("span", {textContent: "From this picture:"}),
            button("who", "Who draws what", () => showWho(tab)),
            ...(found.subjects.some(({mask}) => mask) ? [button("again", "Use these masks again", () => useAgain(tab))] : []),
            ...found.subjects.map(({title, colour}, subject) => button(`inpaint ${subject}`, say(`Inpaint ${title}`), () => send(tab, subject), {
                className: "clora-chip clora-subject", style: {"--clora-colour": colour},
                title: say("Sends the picture, the mask of this subject and its LoRA to img2img, Inpaint upload."),
            })),
        ] : [];
        const told = make("p", {className: wrong ? "clora-wrong" : "clora-hint", role: "status", textContent: say(words)});
        if (before) buttons.push(button("undo", "Take it back", () => takeBack(tab)));
        window.cloraFields.draw(box, [make("div", {className: "clora-chips"}, buttons), told]);
        box.hidden = !buttons.length && !words;
    }

    function showWho(tab) {
        const {panel, found, picture} = tabs[tab];
        const {make, say} = panel;
        const close = () => dialog.close();
        const layers = found.subjects.map(({layer}) => make("img", {src: layer, alt: ""}));
        const names = found.legend.map(({title, colour}) => make("li", {style: {"--clora-colour": colour}}, [
            make("span", {className: "clora-swatch", aria: {hidden: "true"}}), make("bdi", {textContent: title}),
        ]));
        const below = make("img", {src: picture.source, alt: say("Who draws what")});
        const stage = make("div", {className: "clora-who-stage"}, [below, ...layers]);
        below.onload = () => stage.style.setProperty("--clora-shape", below.naturalWidth / below.naturalHeight);
        const dialog = make("dialog", {className: "clora-board clora-who", aria: {label: say("Who draws what")}, onclose: () => dialog.remove()}, [
            stage, make("ul", {}, names), make("button", {type: "button", className: "clora-chip", textContent: "Close", onclick: close}),
        ]);
        dialog.onclick = ({target}) => target === dialog && close();
        find(`#tab_${tab}`).append(dialog);
        dialog.showModal();
    }

    // A click on a sheet of masks, which WebUI would show as it is, three pictures side by side.

    function clicked(event) {
        const tab = Object.keys(tabs).find((each) => event.target.matches?.(`#${each}_gallery > div > img`));
        if (!tab || event.button !== 0 || !opts.js_modal_lightbox || !tabs[tab].found || !pictureOf(tab)?.isSheet) return;
        event.preventDefault();
        event.stopImmediatePropagation();
        showWho(tab);
    }

    // -- its masks again -----------------------------------------------------------------------------------------------

    function useAgain(tab) {
        const now = tabs[tab];
        const field = find(`#clora_${tab}_masks textarea`);
        const masks = now.found.subjects.filter(({mask}) => mask).map(({key, mask}) => [key, {mask, mask_way: "fixed"}]);
        const was = field.value;
        now.before = {back: () => window.cloraFields.fill(field, was)};
        inputAccordionChecked(`clora_${tab}_enabled`, true);
        window.cloraFields.fill(field, JSON.stringify({...JSON.parse(was || "{}"), ...Object.fromEntries(masks)}));
        tell(tab, "Each LoRA will draw where it drew here. Change the masks by the button in its row.");
        draw(tab);
    }

    function takeBack(tab) {
        const now = tabs[tab];
        const {before} = now;
        now.before = null;
        tell(tab, "Taken back.");
        before.back();
        draw(tab);
        const next = tabs[before.to ?? tab].box.querySelector("button") ?? find(`#${tab}_generate`);
        setTimeout(() => next.focus()); // its tab may just have been opened
    }

    // -- one subject to inpaint ----------------------------------------------------------------------------------------

    async function send(tab, subject) {
        const {found, picture} = tabs[tab];
        try {
            const file = await fileOf(picture.source, "picture.png");
            const {width, height} = await createImageBitmap(file);
            tabs.img2img.coming = {from: tab, file, width, height, of: found.of};
            tabs.img2img.panel.send("img2img", {inpaint: found.of, subject, size: [width, height]});
        } catch {
            missing(tab);
        }
    }

    function missing(tab) {
        tell(tab, "The picture is not there any more; draw it again.", true);
        draw(tab);
    }

    // Everything in img2img that is about to be filled is kept first, to be taken back by one button.

    async function arrive(told) {
        const now = tabs.img2img;
        const {from, file, width, height, of} = now.coming;
        const filling = [told.prompt, told.negative, told.bindings, "", told.steps, width, height];
        now.before = await beforeInpainting(from, told.was);
        fill(filling);
        inputAccordionChecked("clora_img2img_enabled", true);
        find(MASK_MODES)?.click();
        switch_to_img2img_tab(UPLOAD);
        put("img_inpaint_base", file);
        put("img_inpaint_mask", await fileOf(told.mask, "mask.png"));
        now.sent = of;
        tell("img2img", `${told.title} is ready to be inpainted: change its words if you like, then Generate.`);
        find("#img2img_prompt textarea").focus();
        draw("img2img");
    }

    async function beforeInpainting(from, settings) {
        const now = tabs.img2img;
        const texts = TEXTS.map((id) => find(`#${id}`).value);
        const enabled = find("#clora_img2img_enabled-checkbox input").checked;
        const modes = [...gradioApp().querySelectorAll(MASK_MODES)];
        const mode = modes.find((radio) => radio.checked);
        const way = get_tab_index("mode_img2img");
        const {sent} = now;
        const images = {};
        for (const id of ["img_inpaint_base", "img_inpaint_mask"]) {
            const source = find(`#${id} img`)?.src;
            images[id] = source ? await fileOf(source, "picture.png") : null;
        }
        const back = () => {
            fill(texts);
            now.panel.send("img2img", {settings});
            inputAccordionChecked("clora_img2img_enabled", enabled);
            mode?.click();
            find("#mode_img2img").querySelectorAll("button")[way].click();
            Object.entries(images).forEach(([id, file]) => put(id, file));
            now.sent = sent;
            if (from === "txt2img") switch_to_txt2img();
        };
        return {back, to: from};
    }

    function fill(values) {
        values.forEach((value, index) => {
            const field = find(`#${TEXTS[index]}`);
            if (field.value !== String(value)) window.cloraFields.fill(field, value);
        });
    }

    // By drawing it, for this page asks nobody for anything.

    async function fileOf(source, name) {
        const image = new Image();
        image.src = source;
        await image.decode();
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
        canvas.getContext("2d").drawImage(image, 0, 0);
        const type = "image/png";
        return new File([await new Promise((done) => canvas.toBlob(done, type))], name, {type});
    }

    // As if a file had been chosen there; null takes out what is there, by the last of the buttons over it.

    function put(id, file) {
        const box = gradioApp().getElementById(id);
        if (!file) {
            [...box.querySelectorAll("button[aria-label]")].at(-1)?.click();
            return;
        }
        const input = box.querySelector("input[type=file]");
        const files = new DataTransfer();
        files.items.add(file);
        input.files = files.files;
        input.dispatchEvent(new Event("change"));
    }

    // -- beginning -----------------------------------------------------------------------------------------------------

    function begin(tab, panel) {
        const box = panel.make("div", {
            id: `clora_${tab}_finished`, className: "clora-board clora-finished", hidden: true, role: "group",
            aria: {label: panel.say("From this picture:")},
        });
        tabs[tab] = {
            panel, box, text: "", info: null, picture: null, key: "[]", found: null, words: "", wrong: false,
            before: null, coming: null, sent: null,
        };
        find(`#image_buttons_${tab}`)?.after(box);
    }

    onAfterUiUpdate(() => Object.keys(tabs).forEach(look));
    document.addEventListener("click", clicked, true);

    window.cloraFinished = {begin, answer, askAgain};
})();
