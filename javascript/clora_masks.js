// Masks of one's own in the panel: for one subject at a time a small picture to paint, white where it is to be. What is
// painted counts at once: the panel's hidden field "masks" has those of all subjects that there are, as JSON by the keys
// of their rows: the LoRA, or "LoRA: words" where that may have several. Names are only ever set as text.

(function() {
    "use strict";

    const SIDE = 256; // pixels of the longer side
    const BACK = 30; // strokes that can be undone
    const WAYS = {
        fixed: "fixed: the white, and nothing else",
        limited: "limited: attention's, but only in the white",
        added: "added: attention's, and the white",
    };
    const HINT = "White is where it is to be. Paint with the mouse, or with the keys: arrows move the brush, Space paints, " +
        "Shift and an arrow draws a line, Ctrl+Z undoes.";
    const NOTHING = "Nothing is white, so there is no mask.";
    const UNREADABLE = "That is no picture that the browser can read; choose a PNG, JPEG or WebP.";
    const ARROWS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
    const tabs = {};

    function maskField(tab) {
        return gradioApp().querySelector(`#clora_${tab}_masks textarea`);
    }

    // -- what counts ---------------------------------------------------------------------------------------------------

    // `kept` outlives a subject's absence from the prompt, the field does not. What somebody else has put there is taken.

    function sync(tab, rows) {
        const now = tabs[tab];
        const field = maskField(tab);
        if (field.value !== now.written) {
            now.kept = JSON.parse(field.value || "{}");
            now.written = field.value;
            if (now.key) refill(tab);
        }
        follow(now, rows);
        now.rows = rows;
        write(tab);
        now.box.hidden = !rows.some((row) => now.key && row.key === now.key && row.role === "subject");
        if (!now.box.hidden) fit(tab);
    }

    // A mask stays with its subject where that has another key than before, or was called by its LoRA alone.

    function follow(now, rows) {
        const keys = new Set(rows.map(({key}) => key));
        const isSame = (row, other) => ["lora", "subject", "occurrence"].every((name) => row[name] === other[name]);
        for (const row of [...rows].sort((one, other) => other.said - one.said)) {
            const before = [now.rows.find((other) => isSame(row, other))?.key, row.lora];
            const old = before.find((key) => now.kept[key] && !keys.has(key));
            if (!row.key || now.kept[row.key] || !old) continue;
            now.kept[row.key] = now.kept[old];
            delete now.kept[old];
            if (now.key === old) now.key = row.key;
        }
    }

    function write(tab) {
        const now = tabs[tab];
        const subjects = new Set(now.rows.filter((row) => row.role === "subject").map((row) => row.key));
        const used = Object.entries(now.kept).filter(([key]) => subjects.has(key));
        const text = used.length ? JSON.stringify(Object.fromEntries(used)) : "";
        if (text === now.written) return;
        now.written = text;
        const field = maskField(tab);
        field.value = text;
        updateInput(field);
    }

    // What has been painted, as a mask; black all over is none.

    function keep(tab) {
        const now = tabs[tab];
        const {data} = pixels(now);
        const black = data.every((value, index) => value === 0 || index % 4 === 3);
        if (black) delete now.kept[now.key];
        else now.kept[now.key] = {mask: now.canvas.toDataURL("image/png"), mask_way: now.way.value};
        tell(tab, black ? NOTHING : HINT);
        write(tab);
        now.panel.draw(tab);
        return !black;
    }

    function tell(tab, words, wrong = false) {
        const {told} = tabs[tab];
        told.textContent = tabs[tab].panel.say(words);
        told.classList.toggle("clora-wrong", wrong);
    }

    // -- the picture ---------------------------------------------------------------------------------------------------

    function pixels({canvas, pen}) {
        return pen.getImageData(0, 0, canvas.width, canvas.height);
    }

    function remember(now) {
        now.before.push(pixels(now));
        now.before.splice(0, now.before.length - BACK);
    }

    function blacken({canvas, pen}) {
        pen.fillStyle = "black";
        pen.fillRect(0, 0, canvas.width, canvas.height);
    }

    // Resolves when `source`, an address, is there; is rejected where it is no picture.

    async function fill(now, source) {
        const {key} = now;
        const picture = new Image();
        if (source) {
            picture.src = /^(blob|data):/.test(source) ? source : `data:image/png;base64,${source}`;
            await picture.decode();
        }
        if (now.key !== key) return; // another one's has been opened since
        blacken(now);
        if (!source) return;
        now.pen.imageSmoothingEnabled = picture.width > now.canvas.width; // masks are enlarged by the nearest pixel
        now.pen.drawImage(picture, 0, 0, now.canvas.width, now.canvas.height);
    }

    function refill(tab) {
        const now = tabs[tab];
        fill(now, now.kept[now.key]?.mask).catch(() => tell(tab, UNREADABLE, true));
    }

    function load(tab, source, told) {
        const now = tabs[tab];
        const {key} = now;
        const last = pixels(now);
        fill(now, source).then(() => {
            if (now.key !== key) return;
            now.before.push(last);
            tell(tab, keep(tab) ? told : `${told} ${now.panel.say(NOTHING)}`);
        }).catch(() => {
            tell(tab, UNREADABLE, true);
        }).finally(() => URL.revokeObjectURL(source));
    }

    // A canvas has the shape of the picture that will be drawn, also when that is changed.

    function fit(tab) {
        const {canvas, pen, before} = tabs[tab];
        const [width, height] = ["width", "height"].map((side) =>
            Number(gradioApp().querySelector(`#${tab}_${side} input`)?.value) || SIDE);
        const scale = SIDE / Math.max(width, height);
        const size = [width, height].map((side) => Math.max(1, Math.round(side * scale)));
        if (canvas.width === size[0] && canvas.height === size[1]) return;
        const copy = canvas.cloneNode();
        copy.getContext("2d").drawImage(canvas, 0, 0);
        [canvas.width, canvas.height] = size;
        before.length = 0;
        pen.drawImage(copy, 0, 0, canvas.width, canvas.height);
        shine(tab);
    }

    // Below the mask shines what the gallery shows, or what img2img begins with, if it has the same shape.

    function shine(tab) {
        const {canvas, behind} = tabs[tab];
        const shown = [...gradioApp().querySelectorAll(`#${tab}_img2img_tab img, #${tab}_gallery img`)];
        const found = shown.find((image) => image.offsetParent && !/grid-[^/]*$/.test(image.src) &&
            Math.abs(image.naturalWidth / image.naturalHeight - canvas.width / canvas.height) < 0.02);
        behind.hidden = !found;
        canvas.classList.toggle("clora-clear", Boolean(found));
        if (found && behind.src !== found.src) behind.src = found.src;
    }

    // -- the brush -----------------------------------------------------------------------------------------------------

    function place(now, at) {
        const {canvas, ring, size} = now;
        now.at = [Math.min(Math.max(at[0], 0), canvas.width), Math.min(Math.max(at[1], 0), canvas.height)];
        const share = (pixel, side) => `${100 * pixel / side}%`;
        Object.assign(ring.style, {
            left: share(now.at[0], canvas.width), top: share(now.at[1], canvas.height), width: share(Number(size.value), canvas.width),
        });
    }

    function paint(now, from) {
        const {pen, erase, size, at} = now;
        pen.strokeStyle = erase.checked ? "black" : "white";
        pen.lineWidth = Number(size.value);
        pen.lineCap = "round";
        pen.beginPath();
        pen.moveTo(...from);
        pen.lineTo(...at);
        pen.stroke();
    }

    function undo(tab) {
        const now = tabs[tab];
        const last = now.before.pop();
        if (!last) return;
        now.pen.putImageData(last, 0, 0);
        keep(tab);
    }

    function clear(tab) {
        const now = tabs[tab];
        remember(now);
        blacken(now);
        now.erase.checked = false; // there is nothing to erase
        keep(tab);
    }

    function handle(tab) {
        const now = tabs[tab];
        const {canvas, stage} = now;
        const under = ({clientX, clientY}) => {
            const box = canvas.getBoundingClientRect();
            return [(clientX - box.left) * canvas.width / box.width, (clientY - box.top) * canvas.height / box.height];
        };
        let painting = false;
        const end = () => {
            if (painting) keep(tab);
            painting = false;
        };
        stage.onpointerenter = () => shine(tab);
        canvas.onpointerdown = (event) => {
            if (event.button !== 0) return;
            canvas.setPointerCapture(event.pointerId);
            painting = true;
            remember(now);
            place(now, under(event));
            paint(now, now.at);
        };
        canvas.onpointermove = (event) => {
            const from = now.at;
            place(now, under(event));
            if (painting) paint(now, from);
        };
        canvas.onpointerup = end;
        canvas.onpointercancel = end;
        canvas.onkeydown = (event) => keyed(tab, event);
    }

    function keyed(tab, event) {
        const now = tabs[tab];
        const from = now.at;
        const step = Math.max(1, Number(now.size.value) / 2);
        const arrow = ARROWS[event.key];
        if (arrow) place(now, [from[0] + step * arrow[0], from[1] + step * arrow[1]]);
        const paints = event.key === " " || (arrow && event.shiftKey);
        const undoes = event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey);
        if (!arrow && !paints && !undoes) return;
        event.preventDefault();
        if (undoes) undo(tab);
        if (!paints) return;
        remember(now);
        paint(now, from);
        keep(tab);
    }

    // -- the box -------------------------------------------------------------------------------------------------------

    // It stands beside the rows and not in them, for they are drawn anew while somebody paints.

    function begin(tab, panel) {
        const {make, labelled} = panel;
        const canvas = make("canvas", {
            width: SIDE, height: SIDE, tabIndex: 0, className: "clora-canvas", role: "application",
        });
        const ring = make("span", {className: "clora-ring", aria: {hidden: "true"}});
        const behind = make("img", {alt: "", hidden: true});
        const now = tabs[tab] = {
            panel, canvas, ring, behind, pen: canvas.getContext("2d", {willReadFrequently: true}),
            stage: make("div", {className: "clora-stage"}, [behind, canvas, ring]),
            way: make("select", {onchange: () => keep(tab)}, Object.entries(WAYS).map(([value, textContent]) => make("option", {value, textContent}))),
            size: make("input", {type: "range", min: 2, max: 96, value: 24, oninput: () => place(now, now.at)}),
            erase: make("input", {type: "checkbox"}),
            told: make("p", {className: "clora-hint", role: "status"}),
            title: make("bdi"),
            kept: {}, written: "", rows: [], key: null, before: [], at: [SIDE / 2, SIDE / 2],
        };
        now.box = make("section", {className: "clora-board clora-mask", hidden: true}, [
            now.stage, make("div", {className: "clora-mask-tools"}, tools(tab, make, labelled)),
        ]);
        handle(tab);
        return now.box;
    }

    function tools(tab, make, labelled) {
        const now = tabs[tab];
        const button = (textContent, onclick) => make("button", {type: "button", className: "clora-chip", textContent, onclick});
        const file = make("input", {type: "file", accept: "image/png, image/jpeg, image/webp", hidden: true, onchange: () => {
            if (file.files[0]) load(tab, URL.createObjectURL(file.files[0]), now.panel.say(`That is ${file.files[0].name}.`));
            file.value = "";
        }});
        return [
            make("p", {}, [make("b", {textContent: "Mask of"}), " ", now.title]),
            labelled("What it draws", now.way), labelled("Brush", now.size),
            make("label", {className: "clora-erase"}, [now.erase, make("span", {textContent: "Erase"})]),
            make("div", {className: "clora-mask-buttons"}, [
                button("Undo", () => undo(tab)), button("Clear", () => clear(tab)),
                button("Take the last picture's", () => {
                    const {lora, subject, occurrence} = now.rows.find((row) => row.key === now.key);
                    now.panel.send(tab, {mask_of: lora, subject, occurrence, of: now.key, image: now.taken});
                    now.taken += 1;
                }),
                button("Choose a file", () => file.click()), file, button("Close", () => open(tab, null)),
            ]),
            now.told,
        ];
    }

    function open(tab, key) {
        const now = tabs[tab];
        const colour = now.rows.find((row) => row.key === key)?.colour ?? "transparent";
        Object.assign(now, {key, before: [], taken: 0});
        now.title.textContent = key ?? "";
        now.canvas.setAttribute("aria-label", now.panel.say(`Mask of ${key}`));
        now.way.value = now.kept[key]?.mask_way ?? "fixed";
        tell(tab, HINT);
        now.erase.checked = false;
        now.box.style.setProperty("--clora-colour", colour);
        now.box.hidden = key === null;
        if (key === null) {
            now.panel.draw(tab);
            return;
        }
        fit(tab);
        shine(tab);
        place(now, [now.canvas.width / 2, now.canvas.height / 2]);
        refill(tab);
        now.panel.draw(tab);
        now.box.scrollIntoView({block: "nearest"});
    }

    function answer(tab, key, told) {
        if (tabs[tab].key !== key) return; // another one's has been opened since
        if (told.mask) load(tab, told.mask, told.told);
        else tell(tab, told.told, true);
    }

    // A subject's button in its row.

    function button(tab, {key}) {
        const now = tabs[tab];
        const own = now.kept[key];
        const state = own && (own.mask ? own.mask_way : "not here");
        return now.panel.make("button", {
            type: "button", className: "clora-chip", textContent: own ? `Own mask: ${state}` : "Own mask",
            data: {key: `mask ${key}`}, aria: {expanded: String(now.key === key)},
            onclick: () => open(tab, now.key === key ? null : key),
        });
    }

    window.cloraMasks = {begin, sync, button, answer};
})();
