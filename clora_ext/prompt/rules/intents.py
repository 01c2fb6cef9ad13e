"""What is wanted of each LoRA: its tag and its binding in one, and the LoRA looked up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from clora_ext.errors import BindingError
from clora_ext.prompt.bindings.binding import Binding, Role
from clora_ext.prompt.bindings.in_tag import read_tag_binding
from clora_ext.prompt.grammar.tags import Tag
from clora_ext.prompt.rules.facts import LoraFacts, find_facts

_Value = TypeVar("_Value")

_UNUSED: Mapping[Role, tuple[str, ...]] = {
    "subject": ("on",),
    "style": ("subject", "occurrence", "trigger", "on"),
    "style_on": ("subject",),
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
    field: str
    """The input that it comes from, for errors: “prompt” or “bindings[0]”."""

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

    def make_error(self, sentence: str, field: str | None = None) -> BindingError:
        """A ``BindingError`` about this LoRA, in the binding's field if it came from a binding."""
        if field is None or self.field == "prompt":
            return BindingError(sentence, field=self.field)
        return BindingError(sentence, field=f"{self.field}.{field}")


def merge_tags_and_bindings(
    tags: Sequence[Tag], bindings: Sequence[Binding], facts: Mapping[str, LoraFacts]
) -> tuple[LoraIntent, ...]:
    """One ``LoraIntent`` per LoRA: the prompt's tags in order, then the bindings without a tag.

    A binding's fields win over its tag's. Raises ``BindingError`` for an unknown LoRA and for one that comes twice.
    """
    explicit = _index_bindings(bindings, facts)
    intents: dict[str, LoraIntent] = {}
    for tag in tags:
        known = find_facts(tag.name, facts, "prompt")
        if known.name in intents:
            msg = f"The LoRA “{known.name}” has two tags in the prompt; keep one, a LoRA draws one subject."
            raise BindingError(msg, field="prompt")
        field, binding = explicit.pop(known.name, ("prompt", Binding(known.name)))
        intents[known.name] = _merge(known, tag, binding, field)
    for name, (field, binding) in explicit.items():
        known = find_facts(name, facts, "bindings")
        intents[name] = _merge(known, None, binding, field)
    return tuple(intents.values())


def _index_bindings(bindings: Sequence[Binding], facts: Mapping[str, LoraFacts]) -> dict[str, tuple[str, Binding]]:
    """For the name of every LoRA that is bound explicitly, the field of its binding and the binding."""
    found: dict[str, tuple[str, Binding]] = {}
    for index, binding in enumerate(bindings):
        field = f"bindings[{index}]"
        known = find_facts(binding.lora, facts, f"{field}.lora")
        if known.name in found:
            msg = f"The LoRA “{known.name}” is bound twice; keep one binding for it."
            raise BindingError(msg, field=f"{field}.lora")
        found[known.name] = (field, binding)
    return found


def _merge(facts: LoraFacts, tag: Tag | None, binding: Binding, field: str) -> LoraIntent:
    in_tag = Binding(facts.name) if tag is None else read_tag_binding(tag)
    te, unet = _choose_weights(tag, binding)
    on = _prefer(binding.on, in_tag.on)
    default_role: Role = "subject" if on is None else "style_on"
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
        field=field,
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
