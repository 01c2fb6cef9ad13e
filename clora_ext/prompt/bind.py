"""From a prompt as typed to the plan's text side: which words each LoRA draws, and every branch's text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from clora_ext.errors import BindingError
from clora_ext.prompt.bindings.binding import Binding
from clora_ext.prompt.branches import SubjectPlace, write_branches
from clora_ext.prompt.grammar.prompt_text import PromptText, read_prompt_text
from clora_ext.prompt.grammar.spans import Span
from clora_ext.prompt.grammar.tags import find_tags, remove_tags
from clora_ext.prompt.rules.assign import assign
from clora_ext.prompt.rules.candidates import find_candidates
from clora_ext.prompt.rules.clothes import dress
from clora_ext.prompt.rules.effects import is_clothes, settle_roles
from clora_ext.prompt.rules.evidence import LoraEvidence, add_places, gather_evidence
from clora_ext.prompt.rules.facts import LoraFacts
from clora_ext.prompt.rules.intents import LoraIntent, merge_tags_and_bindings
from clora_ext.prompt.rules.parts import find_parts
from clora_ext.prompt.rules.styles import Style, add_style_triggers, make_style
from clora_ext.prompt.rules.subjects import BoundWords, Subject, bind_words, make_subject, require_separate_triggers


@dataclass(frozen=True, slots=True)
class BoundPrompt:
    """The text side of one image's plan, with K subjects."""

    subjects: tuple[Subject, ...]
    styles: tuple[Style, ...]
    base: str
    """The prompt without tags and without any subject's trigger."""
    branches: tuple[str, ...]
    """K texts; that of subject k has the trigger of k and no other."""
    places: tuple[tuple[SubjectPlace, ...], ...]
    """``places[b][k]``: where subject k stands in the text of branch b, 0 (base) to K."""

    @property
    def texts(self) -> tuple[str, ...]:
        """K + 1 texts, the base's first."""
        return (self.base, *self.branches)

    @property
    def loras(self) -> tuple[str, ...]:
        """That of every subject."""
        return tuple(subject.lora for subject in self.subjects)

    def place_of(self, subject: Subject) -> int | None:
        """Which of the subjects one of another prompt is: with its LoRA and trigger, of several with its words."""
        like = [
            at for at, own in enumerate(self.subjects) if (own.lora, own.trigger) == (subject.lora, subject.trigger)
        ]
        exact = [at for at in like if _said(self.subjects[at]) == _said(subject)]
        return next(iter(exact or like[: len(like) == 1]), None)

    def name_for_style(self, index: int) -> tuple[str, int | None]:
        """What a style says to be on subject ``index`` alone: its LoRA, or where that has several its words.

        Of equal words their place in the prompt goes along.
        """
        subject = self.subjects[index]
        if self.loras.count(subject.lora) == 1:
            return subject.lora, None
        alike = [each for each in self.subjects if each.words.casefold() == subject.words.casefold()]
        return subject.words, subject.occurrence if len(alike) > 1 else None


def _said(subject: Subject) -> tuple[str, int]:
    return subject.words.casefold(), subject.occurrence


def bind(prompt: str, facts: Mapping[str, LoraFacts], bindings: Sequence[Binding] = ()) -> BoundPrompt:
    """Bind the LoRAs of ``prompt`` (positive, after styles) and of ``bindings`` to words of the prompt.

    ``facts`` maps the name of every LoRA there is, or at least of those in use, to what is known about it.
    Raises ``PromptError`` for syntax and ``BindingError`` for a binding that is missing, in doubt or contradictory.

    >>> facts = {"tuxcat": LoraFacts("tuxcat", triggers=("vako cat",)), "browndog": LoraFacts("browndog")}
    >>> bound = bind("a vako cat and a dog <lora:tuxcat:1><lora:browndog:0.8>", facts)
    >>> [(subject.lora, subject.trigger, subject.words) for subject in bound.subjects]
    [('tuxcat', 'vako', 'cat'), ('browndog', None, 'dog')]
    >>> bound.base
    'a cat and a dog '
    >>> bound.branches
    ('a vako cat and a dog ', 'a cat and a dog ')
    >>> bound.places[1][0]
    SubjectPlace(subject=((7, 10),), trigger=((2, 6),))
    """
    return _bind(*_read(prompt, facts, bindings))


def bind_or_merge(prompt: str, facts: Mapping[str, LoraFacts], bindings: Sequence[Binding] = ()) -> BoundPrompt:
    """As ``bind``, but a LoRA alone of which nobody said anything needs no subject: it is on everything.

    That is the picture that a host draws by itself.
    """
    text, evidence = _read(prompt, facts, bindings)
    try:
        return _bind(text, evidence)
    except BindingError:
        left = _merge_alone(evidence)
        if left is None:
            raise
        return _bind(text, left)


def _merge_alone(evidence: Sequence[LoraEvidence]) -> list[LoraEvidence] | None:
    """All LoRAs on everything, if but one may have a subject and nobody said which."""
    seeking = [lora for lora in evidence if lora.intent.role == "subject"]
    restricted = any(lora.intent.role == "style_on" for lora in evidence)
    if len(seeking) != 1 or restricted or not seeking[0].intent.open:
        return None
    return [lora.as_style("alone") if lora is seeking[0] else lora for lora in evidence]


def bind_alone(prompt: str, intent: LoraIntent) -> BoundPrompt:
    """As ``bind`` if the LoRA of ``intent``, as ``read_intents`` gives it, had nothing else beside it in ``prompt``."""
    start, end = (0, 0) if intent.tag is None else intent.tag.span
    before, after = remove_tags(prompt[:start]), remove_tags(prompt[end:])
    alone = before + prompt[start:end] + after
    tag = next(iter(find_tags(alone)), None)
    return _bind(*_gather(alone, read_prompt_text(before + after), [replace(intent, tag=tag)]))


def read_intents(
    prompt: str, facts: Mapping[str, LoraFacts], bindings: Sequence[Binding]
) -> tuple[PromptText, tuple[LoraIntent, ...]]:
    """The text without tags, and what is wanted of each LoRA, one for every subject. Raises ``CLoRAError``."""
    intents = merge_tags_and_bindings(find_tags(prompt), bindings, facts)
    text = read_prompt_text(remove_tags(prompt))
    return text, find_parts(text, intents)


def _read(
    prompt: str, facts: Mapping[str, LoraFacts], bindings: Sequence[Binding]
) -> tuple[PromptText, tuple[LoraEvidence, ...]]:
    return _gather(prompt, *read_intents(prompt, facts, bindings))


def _gather(
    prompt: str, text: PromptText, intents: Sequence[LoraIntent]
) -> tuple[PromptText, tuple[LoraEvidence, ...]]:
    """The text, and what is known of each LoRA in it."""
    evidence = settle_roles(text, gather_evidence(text, intents))
    return text, add_places(prompt, text, evidence, find_tags(prompt))


def _bind(text: PromptText, evidence: Sequence[LoraEvidence]) -> BoundPrompt:
    of_subjects = [lora for lora in evidence if lora.intent.role == "subject"]
    of_styles = [lora for lora in evidence if lora.intent.role != "subject"]
    clothes = _find_clothes(text, of_subjects)
    of_subjects = [lora for lora in of_subjects if lora not in clothes]
    words = _bind_subjects(text, of_subjects)
    of_styles += [dress(text, worn, of_subjects, words) for worn in clothes]
    subjects = _make_subjects(text, of_subjects, words)
    styles = tuple(make_style(text, lora, subjects) for lora in of_styles)
    words = _add_styles(words, of_styles, styles)
    base, *branches = write_branches(text, words)
    return BoundPrompt(
        subjects=subjects,
        styles=styles,
        base=base.text,
        branches=tuple(branch.text for branch in branches),
        places=tuple(branch.places for branch in (base, *branches)),
    )


def _find_clothes(text: PromptText, evidence: Sequence[LoraEvidence]) -> list[LoraEvidence]:
    """The LoRAs that draw what another LoRA's subject wears."""
    clothes = [lora for lora in evidence if lora.intent.open and is_clothes(text, lora)]
    return clothes if len(clothes) < len(evidence) else []


def _bind_subjects(text: PromptText, evidence: Sequence[LoraEvidence]) -> tuple[BoundWords, ...]:
    """The words of every LoRA with a subject."""
    intents = [lora.intent for lora in evidence]
    wanted = [find_candidates(text, lora) for lora in evidence]
    chosen = assign(text, intents, wanted)
    pairs = zip(evidence, chosen, strict=True)
    bound = tuple(bind_words(text, lora, candidate) for lora, candidate in pairs)
    require_separate_triggers(text, intents, bound)
    return bound


def _make_subjects(
    text: PromptText, evidence: Sequence[LoraEvidence], bound: Sequence[BoundWords]
) -> tuple[Subject, ...]:
    pairs = zip(evidence, bound, strict=True)
    found = [make_subject(text, lora.intent, words) for lora, words in pairs]
    leading = _find_leading([lora.intent for lora in evidence])
    return tuple(subject if at in leading else replace(subject, leads=False) for at, subject in enumerate(found))


def _find_leading(intents: Sequence[LoraIntent]) -> set[int]:
    """Of the intents that share a tag, or have none, that of the largest weight."""
    leading: dict[tuple[str, Span | None], int] = {}
    for at, intent in sorted(enumerate(intents), key=lambda each: -abs(each[1].unet)):
        leading.setdefault((intent.name, None if intent.tag is None else intent.tag.span), at)
    return set(leading.values())


def _add_styles(
    bound: Sequence[BoundWords], evidence: Sequence[LoraEvidence], styles: Sequence[Style]
) -> tuple[BoundWords, ...]:
    """Every subject's words with the triggers of the styles on it."""
    changed: list[BoundWords] = []
    for own, words in enumerate(bound):
        on_it = [index for index, style in enumerate(styles) if style.on == own]
        loras = [evidence[index] for index in on_it]
        own_styles = [styles[index] for index in on_it]
        changed.append(add_style_triggers(words, loras, own_styles))
    return tuple(changed)
