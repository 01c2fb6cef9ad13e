// Questions of the panel, answered by a click: what a LoRA draws, which of several words, and what to add to the prompt.
// A click on a word gives it to a LoRA, and takes it from whoever has it.

(function() {
    "use strict";

    const ANSWERS = 8; // words that are offered as answers to a question
    let make, say; // of the panel

    function begin(tools) {
        ({make, say} = tools);
    }

    // A sentence with elements in it: {1} and {2} stand where they go, in whatever order the page's language has them.

    function sentence(text, ...elements) {
        return say(text).split(/\{(\d)\}/).flatMap((part, at) =>
            at % 2 ? elements[part - 1] : part ? [make("span", {textContent: part})] : []);
    }

    function button(row, what, text, onclick) {
        const data = {key: `answer ${row.lora} ${row.number} ${what}`, instead: `pick ${row.lora} ${row.number}`};
        return make("button", {type: "button", className: "clora-chip", textContent: text, onclick, data});
    }

    // -- what does it draw? ----------------------------------------------------------------------------------------------

    // Which words a row without any may be asked for, as [first, last]: those of its question, else all that are free.

    function offered(view, row) {
        if (row?.role !== "subject" || row.found) return [];
        if (row.choices.length) return row.choices.map((span) => [span[0], span.at(-1)]);
        return [...view.words.keys()].filter((at) => view.words[at].choosable && view.words[at].row === null).map((at) => [at, at]);
    }

    function candidates(view, row) {
        return new Set(offered(view, row).flatMap(([first, last]) => view.words.slice(first, last + 1)));
    }

    function ask(view, row, roles, changed) {
        const words = offered(view, row).slice(0, ANSWERS).map(([first, last]) => {
            const said = saying(view, first, last);
            return button(row, `${first} ${last}`, [said.subject, said.occurrence].filter(Boolean).join(" "), () => changed(said));
        });
        const others = roles.map(([value, text, changes]) => button(row, value, text, () => changed(changes)));
        const name = make("bdi", {textContent: row.lora});
        const either = words.flatMap((each) => [make("span", {textContent: ` ${say("or the")} `}), each]).slice(1);
        const asked = row.choices.length ? sentence("Is {1} the {2}? If neither: {3}", name, either, others) :
            words.length ? sentence("What does {1} draw? Click its word: {2} or {3}", name, words, others) :
                sentence("What does {1} draw? {2}", name, others);
        return group(say(`What does ${row.lora} draw?`), asked.flat());
    }

    function group(label, parts) {
        return make("div", {className: "clora-question", role: "group", aria: {label}}, parts);
    }

    // -- words that a LoRA was trained on ------------------------------------------------------------------------------

    function unwritten(row, add) {
        const {text, add: words} = row.unwritten;
        const own = make("em", {textContent: text, title: text});
        const adding = button(row, "add", say(`add ${words}`), () => add(words));
        return group(say(`Words of ${row.lora}`),
            sentence("{1}'s words {2} are not in the prompt: {3}", make("bdi", {textContent: row.lora}), own, adding));
    }

    // -- pointing at a word --------------------------------------------------------------------------------------------

    // What pointing at a word asks for: this word, or with `phrase` all up to it. A word that the LoRA has found by itself
    // is kept; one that somebody gave it is taken back. The rows that have such words lose them.

    function pointed(view, active, index, phrase) {
        const at = [...view.words.keys()];
        const own = at.filter((each) => view.rows[view.words[each].row] === active);
        const isOwn = own.includes(index);
        if (isOwn && active.said) return {changes: {subject: null, occurrence: null}, losers: []};
        const ends = isOwn ? own : phrase ? [...own, index] : [index];
        const [first, last] = [Math.min(...ends), Math.max(...ends)];
        const owners = new Set(view.words.slice(first, last + 1).map((word) => view.rows[word.row]));
        const losers = [...owners].filter((row) => row && row !== active);
        return {changes: saying(view, first, last), losers};
    }

    // How the words from `first` to `last` are said: with their number, where they stand in several places.

    function saying(view, first, last) {
        const key = (at) => view.words[at]?.text.toLowerCase();
        const length = last - first + 1;
        const places = [...view.words.keys()].filter((start) => [...Array(length).keys()].every((step) =>
            key(start + step) === key(first + step) && (step === length - 1 || view.words[start + step].joined)));
        const subject = view.words.slice(first, last + 1).map((word) => word.text).join(" ");
        return {subject, occurrence: places.length > 1 ? places.indexOf(first) + 1 : null, role: null, on: null};
    }

    window.cloraQuestions = {begin, ask, unwritten, candidates, pointed};
})();
