// Fields of the page, changed as people would want them changed while they type: focus, caret, selection, scrolling and
// what the browser can undo stay. And elements that are drawn anew without disturbing what stands there.

(function() {
    "use strict";

    const HEARD = ["focus", "blur", "focusin", "focusout", "change"];
    const HANDLERS = ["onclick", "onchange", "oninput", "onblur", "onkeydown"];
    const drawn = new WeakMap(); // of every node what it was drawn as; WebUI's localization changes it afterwards
    let writing = false;

    // -- writing -------------------------------------------------------------------------------------------------------

    // While `write` runs in `field`, nobody hears that the focus moves, and afterwards all is where it was.

    function quietly(field, write) {
        const {activeElement: focused} = document;
        const {selectionStart: start, selectionEnd: end, selectionDirection: direction, scrollTop} = field;
        const [x, y] = [window.scrollX, window.scrollY];
        const hush = (event) => event.stopImmediatePropagation();
        HEARD.forEach((name) => window.addEventListener(name, hush, true));
        writing = true;
        try {
            field.focus({preventScroll: true});
            const moved = write(document.activeElement === field);
            field.setSelectionRange(moved(start), moved(end), direction);
            if (focused !== field) focused === document.body ? field.blur() : focused.focus({preventScroll: true});
        } finally {
            writing = false;
            HEARD.forEach((name) => window.removeEventListener(name, hush, true));
        }
        field.scrollTop = scrollTop;
        window.scrollTo(x, y);
    }

    // The first `was` in `field` becomes `now`, as if it had been typed there.

    function replace(field, was, now) {
        const at = field.value.indexOf(was);
        const end = at + was.length;
        const moved = (place) => place <= at ? place : place >= end ? place + now.length - was.length :
            Math.min(place, at + now.length);
        quietly(field, (focused) => {
            field.setSelectionRange(at, end);
            if (!focused || !document.execCommand("insertText", false, now)) fill(field, field.value.replace(was, () => now));
            return moved;
        });
    }

    // Takes back what `replace` has just made of a field that was `before`.

    function takeBack(field, before) {
        quietly(field, (focused) => {
            if (focused) document.execCommand("undo");
            if (field.value !== before) fill(field, before);
            return (place) => Math.min(place, before.length);
        });
    }

    function fill(field, text) {
        field.value = text;
        updateInput(field);
    }

    // -- drawing -------------------------------------------------------------------------------------------------------

    function attributesOf(element) {
        return Object.fromEntries([...element.attributes].map(({name, value}) => [name, value]));
    }

    function remember(node) {
        drawn.set(node, node.nodeType === Node.ELEMENT_NODE ? attributesOf(node) : node.data);
        node.childNodes.forEach(remember);
    }

    // Makes of the contents of `box` what is in `made`.

    function draw(box, made) {
        const focused = box.contains(document.activeElement) ? document.activeElement : null;
        const typed = focused && isTyped(focused) ? focused.value : null;
        made.forEach(remember);
        morphAll(box, made);
        if (!focused || focused.isConnected) return;
        const {key, instead} = focused.dataset; // what has answered a question is gone
        const keyed = [...box.querySelectorAll("[data-key]")];
        const again = [key, instead].map((name) => keyed.find((each) => each.dataset.key === name)).find(Boolean);
        if (!again) return;
        if (typed !== null) again.value = typed;
        again.focus({preventScroll: true});
    }

    function morphAll(old, made) {
        const [before, after] = [[...old.childNodes], [...made]];
        after.forEach((node, index) => before[index] ? morph(before[index], node) : old.append(node));
        before.slice(after.length).forEach((node) => node.remove());
    }

    function morph(old, made) {
        const element = made.nodeType === Node.ELEMENT_NODE;
        const other = old.nodeName !== made.nodeName || old.dataset?.key !== made.dataset?.key || old.type !== made.type;
        if (other || (!element && drawn.get(old) !== made.data)) old.replaceWith(made);
        else if (element) morphElement(old, made);
    }

    function morphElement(old, made) {
        const [before, after] = [drawn.get(old), drawn.get(made)];
        const typed = isTyped(old);
        for (const name of Object.keys({...before, ...after})) {
            if (before[name] === after[name]) continue;
            if (name in after) old.setAttribute(name, after[name]);
            else old.removeAttribute(name);
        }
        drawn.set(old, after);
        for (const name of HANDLERS) old[name] = made[name];
        morphAll(old, made.childNodes);
        if ("checked" in made) old.checked = made.checked;
        if ("value" in made && old.value !== made.value && !typed) old.value = made.value;
    }

    // Whether somebody is typing in a field and has not left it.

    function isTyped(field) {
        return field === document.activeElement && field.matches("input") && isChanged(field);
    }

    function isChanged(field) {
        return field.value !== field.defaultValue || field.validity.badInput;
    }

    window.cloraFields = {replace, takeBack, fill, draw, isChanged, isWriting: () => writing};
})();
