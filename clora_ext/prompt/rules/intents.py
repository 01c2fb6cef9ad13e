"""What is wanted of each LoRA: its tag and its binding in one, and the LoRA looked up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from clora_ext.errors import BindingError
from clora_ext.prompt.bindings.binding import Binding, Role
from clora_ext.prompt.bindings.in_tag import read_tag_binding
from clora_ext.prompt.bindings.own_mask import MaskWay
from clora_ext.prompt.grammar.spans import WordSpan
from clora_ext.prompt.grammar.tags import OUR_TAG_ARGUMENTS, Tag
from clora_ext.prompt.rules.facts import LoraFacts, find_facts
from clora_ext.prompt.rules.question import Question

_Value = TypeVar("_Value")
_Numbered = tuple[int | None, Binding]
"""A binding and its place among all; ``None`` for one that nobody wrote."""

_SAYS = ("subject", "occurrence", "trigger", "role", "on", "mask")
"""The fields by which somebody says what a LoRA draws."""

_UNUSED: Mapping[Role, tuple[str, ...]] = {
    "subject": ("on",),
    "style": ("subject", "occurrence", "trigger", "on", "mask"),
    "style_on": ("subject", "mask"),
}
"""The fields that a role has no use for."""


@dataclass(frozen=True, slots=True)
class LoraIntent:
    """One LoRA of the picture; ``None`` is what nobody said."""

    facts: LoraFacts
    tag: Tag | None
    te: float
    unet: float
    subject: str | None
    occurrence: int | None
    trigger: str | None
    role: Role
    on: str | None
    open: bool
    """Whether nobody said what it draws."""
    number: int | None
    """Which of the bindings it comes from; ``None`` for the prompt."""
    why: str | None = None
    """What told that it is a style, where nobody said so."""
    mask: str | None = None
    """Somebody's own, a picture in base64."""
    mask_way: MaskWay = "fixed"
    part: str | None = None
    """Of a merged file, the trigger of the LoRA in it that is meant."""
    several: bool = False
    """Whether the LoRA may have other subjects beside this one."""

    @property
    def name(self) -> str:
        """The LoRA's file name."""
        return self.facts.name

    @property
    def dyn(self) -> int | None:
        """Rank to keep, from the tag; ``None`` for all."""
        return None if self.tag is None else self.tag.dyn

    @property
    def triggers(self) -> tuple[str, ...]:
        """The trigger texts to look for: the explicit one if there is one, else those of the file."""
        if self.trigger is None:
            return self.facts.triggers
        return (self.trigger,) if self.trigger else ()

    @property
    def seeks_subject(self) -> bool:
        """Whether the default binding has to find this LoRA's subject."""
        return self.role == "subject" and self.subject is None

    def make_error(self, sentence: str, field: str) -> BindingError:
        """A ``BindingError`` about this LoRA, in the binding's field if it came from a binding."""
        return BindingError(sentence, field=self._place(field))

    def ask(self, asked: Sequence[str], how: str, field: str, choices: Sequence[WordSpan] = ()) -> Question:
        """A ``Question`` about this LoRA, in the same field."""
        return Question(self.name, asked, how, self._place(field), choices, part=self.part)

    def _place(self, field: str) -> str:
        return "prompt" if self.number is None else f"bindings[{self.number}].{field}"


def merge_tags_and_bindings(
    tags: Sequence[Tag], bindings: Sequence[Binding], facts: Mapping[str, LoraFacts]
) -> tuple[LoraIntent, ...]:
    """One ``LoraIntent`` per LoRA and subject: the prompt's tags in order, then the bindings without a tag.

    A binding's fields win over its tag's. Tags that name one file again add up as in WebUI, unless they say another
    subject; then a binding goes with the tag that says its words, else with the first.

    Raises ``BindingError`` for an unknown LoRA and for two bindings that say the same.
    """
    explicit = _index_bindings(bindings, facts)
    intents: list[LoraIntent] = []
    groups = add_up(tags, facts)
    for known, tag in groups:
        others = [other for each, other in groups if each.name == known.name and other is not tag]
        waiting = explicit.pop(known.name, [])
        left = [each for each in waiting if any(_says_same(other, each[1]) for other in others)]
        found = [each for each in waiting if each not in left] or [(None, Binding(known.name))]
        intents += [_merge(known, tag, binding, number) for number, binding in found]
        explicit |= {known.name: left} if left else {}
    for name, found in explicit.items():
        _require_more_than_mask(name, found)
        known = find_facts(name, facts, "bindings")
        intents += [_merge(known, None, binding, number) for number, binding in found]
    return tuple(intents)


def _says_same(tag: Tag, binding: Binding) -> bool:
    """Whether a tag says by itself the subject that ``binding`` says."""
    said = read_tag_binding(tag)
    return binding.subject is not None and (said.subject, said.occurrence) == (binding.subject, binding.occurrence)


def _require_more_than_mask(name: str, found: Sequence[_Numbered]) -> None:
    """Refuse a mask for a LoRA that nothing else names: it is meant for one of the prompt."""
    for number, binding in found:
        only_mask = Binding(binding.lora, mask=binding.mask, mask_way=binding.mask_way)
        if binding.mask is not None and binding == only_mask:
            msg = f"The LoRA “{name}” has a mask, but is not in the prompt; put its tag there, or take the mask back."
            raise BindingError(msg, field=f"bindings[{number}].mask")


def add_up(tags: Sequence[Tag], facts: Mapping[str, LoraFacts]) -> list[tuple[LoraFacts, Tag]]:
    """Each LoRA and its tag; of several tags for one subject the first, with the weights of all.

    WebUI has one network for each name that is written, gives it the weights of the last tag, and adds it once for
    every tag (extensions-builtin/Lora/networks.py, load_networks).
    """
    groups: dict[tuple[str, str], list[Tag]] = {}
    known: dict[tuple[str, str], LoraFacts] = {}
    for tag in tags:
        found = find_facts(tag.name, facts, "prompt")
        said = {name: value for name, value in tag.arguments.items() if name in OUR_TAG_ARGUMENTS}
        key = found.name, repr(sorted(said.items()))
        known[key] = found
        groups.setdefault(key, []).append(tag)
    return [(known[key], _sum(group)) for key, group in groups.items()]


def _sum(tags: Sequence[Tag]) -> Tag:
    last = {tag.name: tag for tag in tags}
    te = sum(last[tag.name].te for tag in tags)
    unet = sum(last[tag.name].unet for tag in tags)
    return tags[0] if len(tags) == 1 else replace(tags[0], te=te, unet=unet)


def _index_bindings(bindings: Sequence[Binding], facts: Mapping[str, LoraFacts]) -> dict[str, list[_Numbered]]:
    """For the name of every LoRA that is bound explicitly, its bindings with their numbers."""
    found: dict[str, list[_Numbered]] = {}
    for number, binding in enumerate(bindings):
        field = f"bindings[{number}].lora"
        known = find_facts(binding.lora, facts, field)
        others = found.setdefault(known.name, [])
        if any(_place(other) == _place(binding) for _, other in others):
            msg = f"The LoRA “{known.name}” is bound twice; keep one binding for it."
            raise BindingError(msg, field=field)
        others.append((number, binding))
    return found


def _place(binding: Binding) -> tuple[str | None, int | None, str | None]:
    """What tells two subjects of one LoRA apart."""
    return binding.subject, binding.occurrence, binding.trigger


def _merge(facts: LoraFacts, tag: Tag | None, binding: Binding, number: int | None) -> LoraIntent:
    in_tag = Binding(facts.name) if tag is None else read_tag_binding(tag)
    te, unet = _choose_weights(tag, binding)
    on = _prefer(binding.on, in_tag.on)
    default_role: Role = "subject" if on is None else "style_on"
    said = [_prefer(getattr(binding, name), getattr(in_tag, name)) for name in _SAYS]
    intent = LoraIntent(
        facts=facts,
        tag=tag,
        te=te,
        unet=unet,
        subject=_prefer(binding.subject, in_tag.subject),
        occurrence=_prefer(binding.occurrence, in_tag.occurrence),
        trigger=_prefer(binding.trigger, in_tag.trigger),
        role=binding.role or in_tag.role or default_role,
        on=on,
        open=not any(value is not None for value in said),
        number=number,
        mask=binding.mask,
        mask_way=binding.mask_way or "fixed",
    )
    _check(intent)
    return intent


def _prefer(said: _Value | None, otherwise: _Value | None) -> _Value | None:
    return otherwise if said is None else said


def _choose_weights(tag: Tag | None, binding: Binding) -> tuple[float, float]:
    """The weights of text encoder and UNet."""
    if binding.weight is not None:
        weight = float(binding.weight)
        return weight, weight
    return (1.0, 1.0) if tag is None else (tag.te, tag.unet)


def _check(intent: LoraIntent) -> None:
    """Refuse fields that the role has no use for."""
    for name in _UNUSED[intent.role]:
        if getattr(intent, name) is not None:
            role = f"has role “{intent.role}”, which takes no “{name}”"
            msg = f"The LoRA “{intent.name}” {role}; drop it or change the role."
            raise intent.make_error(msg, name)
