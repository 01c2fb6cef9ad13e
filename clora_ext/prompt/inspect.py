"""What a prompt will do before anything is drawn: words to choose from, a row per LoRA, the first problem."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from clora_ext.errors import CLoRAError
from clora_ext.prompt.bind import BoundPrompt, bind_alone, bind_or_merge, read_intents
from clora_ext.prompt.bindings.binding import Binding, Role
from clora_ext.prompt.bindings.edit import Shared
from clora_ext.prompt.grammar import vocabulary
from clora_ext.prompt.grammar.lexer import split_words
from clora_ext.prompt.grammar.prompt_text import PromptText
from clora_ext.prompt.grammar.spans import WordSpan
from clora_ext.prompt.grammar.tags import OUR_TAG_ARGUMENTS
from clora_ext.prompt.rules.facts import LoraFacts
from clora_ext.prompt.rules.intents import LoraIntent
from clora_ext.prompt.rules.question import Question
from clora_ext.prompt.rules.subjects import Subject
from clora_ext.prompt.rules.unwritten import UnwrittenTrigger, find_unwritten


@dataclass(frozen=True, slots=True)
class PromptWord:
    """A word of the prompt as somebody may point at it."""

    text: str
    occurrence: int
    """Which of the places where it stands, from 1."""
    places: int
    """In how many places it stands."""
    choosable: bool
    """Whether it can be a subject: no function word, and there at every step."""
    joined: bool
    """Whether a phrase may go on with the next word: there is nothing between them but space."""


@dataclass(frozen=True, slots=True)
class LoraRow:
    """One LoRA: what is wanted of it and what it will draw."""

    lora: str
    te: float
    unet: float
    role: Role
    subject: str | None = None
    occurrence: int | None = None
    trigger: str | None = None
    on: str | None = None
    why: str | None = None
    """What told that it is a style, where nobody said so: “by its name”."""
    tagged: bool = True
    """Whether it has a tag in the prompt."""
    in_tag: bool = False
    """Whether that tag says more than weights."""
    words: WordSpan = ()
    """Its subject's words, as indices of ``Inspection.words``."""
    places: int = 0
    """In how many places these words stand."""
    said: bool = False
    """Whether somebody said which words these are."""
    unwritten: UnwrittenTrigger | None = None
    """Its activation text, where the prompt has none of it."""
    problem: str | None = None
    """Why it draws nothing yet."""
    asks: bool = False
    """Whether that is a question."""
    choices: tuple[WordSpan, ...] = ()
    """What the question leaves to choose from; nothing where it may be any word."""
    key: str | None = None
    """What the own mask of its subject is kept by; ``None`` where nothing tells it from the LoRA's others yet."""
    part: str | None = None
    """Of a merged file, the trigger of the LoRA in it that the prompt calls."""
    shared: Shared | None = None
    """How it is changed by itself, where other subjects have the same tag."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a prompt will do."""

    words: tuple[PromptWord, ...]
    rows: tuple[LoraRow, ...]
    bound: BoundPrompt | None
    """What the job would use; ``None`` where there is a ``problem``."""
    problem: CLoRAError | None
    """What the job would be refused with."""


def inspect(prompt: str, facts: Mapping[str, LoraFacts], bindings: Sequence[Binding] = ()) -> Inspection:
    """As ``bind_or_merge``, but a problem is part of the answer, and LoRAs without one are told all the same."""
    try:
        text, intents = read_intents(prompt, facts, bindings)
    except CLoRAError as error:
        return Inspection((), (), None, error)
    words = _list_words(text)
    try:
        bound = bind_or_merge(prompt, facts, bindings)
    except CLoRAError as error:
        alone = [_make_row_by_itself(prompt, text, intent) for intent in intents]
        asked = [_ask(row, error) for row in _reopen_shared(alone, intents)]
        return Inspection(words, _complete(text, intents, asked), None, error)
    rows = _make_rows(text, intents, bound)
    return Inspection(words, _complete(text, intents, rows), bound, None)


def _list_words(text: PromptText) -> tuple[PromptWord, ...]:
    places = Counter(text.keys)
    so_far: Counter[str] = Counter()
    words: list[PromptWord] = []
    for word, key in zip(text.words, text.keys, strict=True):
        so_far[key] += 1
        choosable = vocabulary.can_be_subject(word.text) and not word.scheduled
        joined = word.after == "soft"
        words.append(PromptWord(word.text, so_far[key], places[key], choosable, joined))
    return tuple(words)


def _make_rows(text: PromptText, intents: Iterable[LoraIntent], bound: BoundPrompt) -> tuple[LoraRow, ...]:
    """The rows of LoRAs in a prompt that can be bound. A LoRA of several subjects has one for each, in their order."""
    subjects = list(bound.subjects)
    rows: list[LoraRow] = []
    for intent in intents:
        own = next((subject for subject in subjects if subject.lora == intent.name), None)
        if own is None:
            rows.append(_make_style_row(intent, bound))
        else:
            subjects.remove(own)
            rows.append(_add_subject(text, _make_empty_row(intent), own))
    return tuple(rows)


def _make_style_row(intent: LoraIntent, bound: BoundPrompt) -> LoraRow:
    row = _make_empty_row(intent)
    for style in bound.styles:
        if style.lora == intent.name:
            role: Role = "style" if style.on is None else "style_on"
            on, occurrence = (None, None) if style.on is None else bound.name_for_style(style.on)
            return replace(row, role=role, on=on, occurrence=occurrence, why=style.why)
    return row


def _make_row_by_itself(prompt: str, text: PromptText, intent: LoraIntent) -> LoraRow:
    """The row of a LoRA with what it would draw if it were the only one: all together can not be bound.

    Where it could not be bound even then, the row has what was said of it.
    """
    row = replace(_make_empty_row(intent), subject=intent.subject, trigger=intent.trigger)
    if intent.role != "subject":
        return row
    try:
        bound = bind_alone(prompt, intent)
    except Question as error:
        return replace(row, problem=error.message, asks=True, choices=error.choices)
    except CLoRAError as error:
        return replace(row, problem=error.message)
    return _make_rows(text, [intent], bound)[0]


def _reopen_shared(rows: Sequence[LoraRow], intents: Sequence[LoraIntent]) -> tuple[LoraRow, ...]:
    """``rows`` without words that several would draw if each were the only one, but for those that somebody said."""
    drawn = Counter(word for row in rows for word in row.words)
    taken = {word for word, times in drawn.items() if times > 1}
    pairs = zip(rows, intents, strict=True)
    return tuple(_reopen(row) if intent.seeks_subject and taken & set(row.words) else row for row, intent in pairs)


def _reopen(row: LoraRow) -> LoraRow:
    return replace(row, subject=None, occurrence=None, words=(), places=0, asks=True)


def _ask(row: LoraRow, problem: CLoRAError) -> LoraRow:
    """``row`` with the question that is asked about its LoRA, but for words that somebody said."""
    if not isinstance(problem, Question) or (problem.lora, problem.part) != (row.lora, row.part) or row.said:
        return row
    return replace(_reopen(row), problem=problem.message, choices=problem.choices)


def _complete(text: PromptText, intents: Sequence[LoraIntent], rows: Sequence[LoraRow]) -> tuple[LoraRow, ...]:
    """``rows`` with activation texts that nobody has written, and with how those are changed that share a tag.

    What became a style needs its own activation text too.
    """
    tags = Counter((intent.name, intent.tag) for intent in intents)
    made: list[LoraRow] = []
    for intent, row in zip(intents, rows, strict=True):
        unwritten = find_unwritten(text, replace(intent, role=row.role), row.words)
        shared = _share(intent, row) if tags[intent.name, intent.tag] > 1 else None
        made.append(replace(row, unwritten=unwritten, shared=shared))
    return tuple(made)


def _share(intent: LoraIntent, row: LoraRow) -> Shared:
    """By the words that somebody said, else by those that were found, else by the trigger."""
    subject = intent.subject or row.subject
    found = row.occurrence if row.places > 1 else None
    occurrence = intent.occurrence if intent.subject else found
    own_weight = intent.number is None and intent.tag is not None and intent.unet != intent.tag.unet
    weight = intent.unet if own_weight else None
    trigger = None if subject else intent.part
    says = Binding(intent.name, weight, subject, occurrence if subject else None, trigger)
    merged = intent.part is not None or bool(intent.facts.parts)
    return Shared(intent.number, says, intent.part, row.tagged, merged)


def _make_empty_row(intent: LoraIntent) -> LoraRow:
    tagged = intent.tag is not None
    in_tag = intent.tag is not None and not intent.tag.arguments.keys().isdisjoint(OUR_TAG_ARGUMENTS)
    said = intent.subject is not None or intent.occurrence is not None
    row = LoraRow(intent.name, intent.te, intent.unet, intent.role, on=intent.on, said=said, part=intent.part)
    return replace(row, tagged=tagged, in_tag=in_tag, key=None if intent.several else intent.name)


def _add_subject(text: PromptText, row: LoraRow, subject: Subject) -> LoraRow:
    spans = text.find(split_words(subject.words))
    known = subject.occurrence <= len(spans)
    return replace(
        row,
        subject=subject.words,
        occurrence=subject.occurrence,
        trigger=subject.trigger,
        words=spans[subject.occurrence - 1] if known else (),
        places=len(spans),
        key=subject.key,
    )
