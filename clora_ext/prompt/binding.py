"""From a prompt as typed to the plan's text side: which words each LoRA draws, and every branch's text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from clora_ext.prompt.allot import allot
from clora_ext.prompt.asks import Ask, LoraFacts, gather
from clora_ext.prompt.following import Following, after_tags
from clora_ext.prompt.requests import Request
from clora_ext.prompt.rules import candidates
from clora_ext.prompt.tags import Tag, anchor, find_tags, remove_tags
from clora_ext.prompt.texts import Cast, Place, branch
from clora_ext.prompt.triggers import Candidate, attached, matches
from clora_ext.prompt.words import Lexed, Run, find, lex, split


@dataclass(frozen=True, slots=True)
class Subject:
    """A LoRA and the words it draws, as they are written in the prompt."""

    lora: str
    te: float
    unet: float
    dyn: int | None
    """Rank to keep, as the tag's fourth part says; ``None`` for all."""
    words: str
    trigger: str | None
    """What its own branch has and the others lack: words of the prompt, or the ones put in."""
    occurrence: int
    """Which of the places where ``words`` stand in the prompt, from 1."""


@dataclass(frozen=True, slots=True)
class Style:
    """A LoRA that draws no subject of its own; ``on`` is an index of ``Bound.subjects``, ``None`` for everything.

    ``trigger`` of a style on one subject is what that subject's branch has and the others lack.
    """

    lora: str
    te: float
    unet: float
    dyn: int | None
    on: int | None
    trigger: str | None = None


@dataclass(frozen=True, slots=True)
class Bound:
    """The text side of one image's plan, with K subjects."""

    subjects: tuple[Subject, ...]
    styles: tuple[Style, ...]
    base: str
    """The prompt without tags and without any subject's trigger."""
    branches: tuple[str, ...]
    """K texts; that of subject k has the trigger of k and no other."""
    places: tuple[tuple[Place, ...], ...]
    """``places[b][k]``: where subject k stands in the text of branch b, 0 (base) to K."""

    @property
    def texts(self) -> tuple[str, ...]:
        """K + 1 texts, the base's first."""
        return (self.base, *self.branches)


def bind(prompt: str, facts: Mapping[str, LoraFacts], requests: Sequence[Request] = ()) -> Bound:
    """Bind the LoRAs of ``prompt`` (positive, after styles) and of ``requests`` to words of the prompt.

    ``facts`` maps the name of every LoRA there is, or at least of those in use, to what is known about it.
    Raises ``PromptError`` for syntax and ``BindingError`` for a binding that is missing, in doubt or contradictory.
    """
    tags = find_tags(prompt)
    asks = gather(tags, requests, facts)
    lexed = lex(remove_tags(prompt))
    subjects = tuple(ask for ask in asks if ask.role == "subject")
    after = _after(prompt, lexed, subjects, tags)
    wanted = [
        candidates(lexed, ask, after.get(index), _anchors(prompt, subjects, ask)) for index, ask in enumerate(subjects)
    ]
    chosen = allot(lexed, subjects, wanted)
    casts = tuple(_cast(lexed, ask, candidate) for ask, candidate in zip(subjects, chosen, strict=True))
    _require_separate(lexed, subjects, casts)
    bound = tuple(_subject(lexed, ask, cast) for ask, cast in zip(subjects, casts, strict=True))
    styled = [ask for ask in asks if ask.role != "subject"]
    styles = tuple(_style(lexed, ask, bound) for ask in styled)
    casts = tuple(_dressed(lexed, cast, index, styled, styles) for index, cast in enumerate(casts))
    texts = [branch(lexed, casts, own) for own in (None, *range(len(casts)))]
    return Bound(
        subjects=bound,
        styles=styles,
        base=texts[0][0],
        branches=tuple(text for text, _ in texts[1:]),
        places=tuple(places for _, places in texts),
    )


def _after(prompt: str, lexed: Lexed, asks: Sequence[Ask], tags: Sequence[Tag]) -> dict[int, Following]:
    """The noun after each subject's tag; tags that say their subject compete with each other only."""
    found: dict[int, Following] = {}
    for seeks in (True, False):
        seeking = {index: ask.tag for index, ask in enumerate(asks) if ask.tag is not None and ask.seeks == seeks}
        found.update(after_tags(prompt, lexed, seeking, tags))
    return found


def _anchors(prompt: str, asks: Sequence[Ask], own: Ask) -> tuple[int, ...]:
    """Where the tags of the other LoRAs with a subject stand in the text without tags."""
    return tuple(anchor(prompt, ask.tag.span[0]) for ask in asks if ask is not own and ask.tag is not None)


def _cast(lexed: Lexed, ask: Ask, candidate: Candidate) -> Cast:
    """The candidate with its trigger: where it stands, else the explicit one to put in."""
    trigger = candidate.trigger or attached(lexed, ask, candidate.subject)
    if trigger or not ask.trigger:
        return Cast(candidate.subject, trigger)
    spoken = tuple(word.casefold() for word in split(ask.trigger))
    subject = tuple(lexed.words[index].key for index in candidate.subject)
    named = any(subject[start : start + len(spoken)] == spoken for start in range(len(subject)))
    return Cast(candidate.subject, insert=None if named else ask.trigger.strip())


def _require_separate(lexed: Lexed, asks: Sequence[Ask], casts: Sequence[Cast]) -> None:
    """No trigger may hold another LoRA's subject: taking it out would take the subject along."""
    for ask, cast in zip(asks, casts, strict=True):
        for other, others in zip(asks, casts, strict=True):
            shared = set(cast.trigger) & set(others.subject)
            if shared:
                msg = (
                    f"“{lexed.joined(tuple(sorted(shared)))}” is in the trigger of LoRA “{ask.name}” and in the "
                    f"subject of LoRA “{other.name}”; bind one of them to other words."
                )
                raise ask.error(msg, "trigger")


def _subject(lexed: Lexed, ask: Ask, cast: Cast) -> Subject:
    words = tuple(lexed.words[index].text for index in cast.subject)
    return Subject(
        lora=ask.name,
        te=ask.te,
        unet=ask.unet,
        dyn=None if ask.tag is None else ask.tag.dyn,
        words=lexed.joined(cast.subject),
        trigger=cast.insert or lexed.joined(cast.trigger) or None,
        occurrence=find(lexed, words).index(cast.subject) + 1,
    )


def _dressed(lexed: Lexed, cast: Cast, own: int, asks: Sequence[Ask], styles: Sequence[Style]) -> Cast:
    """The cast with the triggers of the styles on it: those that stand in the prompt, and those to append."""
    style: set[int] = set()
    append: list[str] = []
    for ask, made in zip(asks, styles, strict=True):
        if made.on == own:
            words = _style_words(lexed, ask)
            style.update(words)
            append += [made.trigger] if made.trigger and not words else []
    return replace(cast, style=tuple(sorted(style)), append=tuple(append))


def _style_words(lexed: Lexed, ask: Ask) -> Run:
    """Where the triggers of a style on one subject stand in the prompt."""
    return tuple(sorted({index for match in matches(lexed, ask) for index in match.run}))


def _style(lexed: Lexed, ask: Ask, subjects: Sequence[Subject]) -> Style:
    """A style, and for one of a single subject the index of that subject."""
    dyn = None if ask.tag is None else ask.tag.dyn
    if ask.role == "style":
        return Style(ask.name, ask.te, ask.unet, dyn, None)
    known = ", ".join(f"“{subject.words}” ({subject.lora})" for subject in subjects) or "none, as no LoRA has a subject"
    if ask.on is None:
        msg = f"The LoRA “{ask.name}” is a style on one subject; say which with “on”; there is {known}."
        raise ask.error(msg, "on")
    named = [index for index, subject in enumerate(subjects) if subject.lora == ask.on] or [
        index
        for index, subject in enumerate(subjects)
        if split(subject.words.casefold()) == split(ask.on.casefold()) and ask.occurrence in (None, subject.occurrence)
    ]
    if len(named) == 1:
        trigger = lexed.joined(_style_words(lexed, ask)) or next(iter(ask.triggers), None)
        return Style(ask.name, ask.te, ask.unet, dyn, named[0], trigger)
    msg = (
        f"The LoRA “{ask.name}” is a style on “{ask.on}”, which names {'no' if not named else 'more than one'} "
        f"subject; name one by its LoRA: there is {known}."
    )
    raise ask.error(msg, "on")
