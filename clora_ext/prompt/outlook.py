"""What a prompt will do before anything is drawn: words to choose from, a row per LoRA, the first problem."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clora_ext.errors import CLoRAError
from clora_ext.prompt import vocabulary
from clora_ext.prompt.asks import Ask, LoraFacts, gather
from clora_ext.prompt.binding import Bound, bind
from clora_ext.prompt.requests import Request, Role
from clora_ext.prompt.tags import find_tags, remove_tags
from clora_ext.prompt.words import Lexed, Run, find, lex, split


@dataclass(frozen=True, slots=True)
class Chip:
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
class Row:
    """One LoRA: what was asked for it and what it will draw; ``problem`` says why it draws nothing yet."""

    lora: str
    te: float
    unet: float
    role: Role
    subject: str | None = None
    occurrence: int | None = None
    trigger: str | None = None
    on: str | None = None
    tagged: bool = True
    words: Run = ()
    """Its subject's words, as indices of ``Outlook.chips``."""
    places: int = 0
    """In how many places these words stand."""
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Outlook:
    """``bound`` is what the job would use; None where ``problem`` is what the job would be refused with."""

    chips: tuple[Chip, ...]
    rows: tuple[Row, ...]
    bound: Bound | None
    problem: CLoRAError | None


def outlook(prompt: str, facts: Mapping[str, LoraFacts], requests: Sequence[Request] = ()) -> Outlook:
    """As ``bind``, but a problem is part of the answer, and LoRAs without one are told all the same."""
    try:
        asks = gather(find_tags(prompt), requests, facts)
        lexed = lex(remove_tags(prompt))
    except CLoRAError as problem:
        return Outlook((), (), None, problem)
    try:
        bound, problem = bind(prompt, facts, requests), None
    except CLoRAError as error:
        bound, problem = None, error
    rows = tuple(_row(lexed, ask, bound, *_alone(prompt, ask, facts, requests, bound)) for ask in asks)
    return Outlook(_chips(lexed), rows, bound, problem)


def _chips(lexed: Lexed) -> tuple[Chip, ...]:
    keys = [word.key for word in lexed.words]
    places, so_far = Counter(keys), Counter()
    chips: list[Chip] = []
    for word, key in zip(lexed.words, keys, strict=True):
        so_far[key] += 1
        choosable = vocabulary.can_be_subject(word.text) and not word.scheduled
        chips.append(Chip(word.text, so_far[key], places[key], choosable, word.after == "soft"))
    return tuple(chips)


def _alone(
    prompt: str, ask: Ask, facts: Mapping[str, LoraFacts], requests: Sequence[Request], bound: Bound | None
) -> tuple[Bound | None, str | None]:
    """What the LoRA would draw if it were the only one, for when all together can not be bound."""
    if bound is not None or ask.role != "subject":
        return bound, None
    start, end = ask.tag.span if ask.tag else (0, 0)
    own = [request for request in requests if request.lora in (ask.name, *ask.facts.aliases)]
    try:
        return bind(remove_tags(prompt[:start]) + prompt[start:end] + remove_tags(prompt[end:]), facts, own), None
    except CLoRAError as error:
        return None, error.message


def _row(lexed: Lexed, ask: Ask, all_bound: Bound | None, bound: Bound | None, problem: str | None) -> Row:
    found = next((subject for subject in bound.subjects if subject.lora == ask.name), None) if bound else None
    if found is None or ask.role != "subject":
        on = ask.on
        style = next((style for style in all_bound.styles if style.lora == ask.name), None) if all_bound else None
        if style is not None and style.on is not None:
            on = all_bound.subjects[style.on].lora
        return Row(ask.name, ask.te, ask.unet, ask.role, on=on, tagged=ask.tag is not None, problem=problem)
    runs = find(lexed, split(found.words))
    return Row(
        lora=ask.name,
        te=ask.te,
        unet=ask.unet,
        role="subject",
        subject=found.words,
        occurrence=found.occurrence,
        trigger=found.trigger,
        tagged=ask.tag is not None,
        words=runs[found.occurrence - 1] if found.occurrence <= len(runs) else (),
        places=len(runs),
        problem=problem,
    )
