"""What is asked for each LoRA: its tag and its request in one, names looked up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from clora_ext.errors import BindingError
from clora_ext.prompt.requests import Request, Role
from clora_ext.prompt.tags import Tag


@dataclass(frozen=True, slots=True)
class LoraFacts:
    """What is known about a LoRA file before anything is bound."""

    name: str
    aliases: tuple[str, ...] = ()
    """Other names that tags and requests may use for it."""
    triggers: tuple[str, ...] = ()
    """Activation texts from its metadata or the user's notes; each may hold commas."""
    words: tuple[str, ...] = ()
    """Class words that its training tags name, for example “cat”."""


@dataclass(frozen=True, slots=True)
class Ask:
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
    """The input that asked, for errors: “prompt” or “bindings[0]”."""

    @property
    def name(self) -> str:
        """The LoRA's file name."""
        return self.facts.name

    @property
    def triggers(self) -> tuple[str, ...]:
        """The trigger texts to look for: the explicit one if there is one, else those of the file."""
        if self.trigger is None:
            return self.facts.triggers
        return (self.trigger,) if self.trigger else ()

    @property
    def seeks(self) -> bool:
        """Whether the default binding has to find this LoRA's subject."""
        return self.role == "subject" and self.subject is None

    def error(self, sentence: str, field: str | None = None) -> BindingError:
        """A ``BindingError`` about this LoRA, in the request's field if it came from a request."""
        where = f"{self.field}.{field}" if field and self.field != "prompt" else self.field
        return BindingError(sentence, field=where)


def gather(tags: Sequence[Tag], requests: Sequence[Request], facts: Mapping[str, LoraFacts]) -> tuple[Ask, ...]:
    """One ``Ask`` per LoRA: the prompt's tags in order, then the requests without a tag.

    A request's fields win over its tag's. Raises ``BindingError`` for an unknown LoRA and for one that comes twice.
    """
    requested: dict[str, tuple[int, Request]] = {}
    for index, request in enumerate(requests):
        known = _look_up(request.lora, facts, f"bindings[{index}].lora")
        if known.name in requested:
            msg = f"The LoRA “{known.name}” is bound twice; keep one binding for it."
            raise BindingError(msg, field=f"bindings[{index}].lora")
        requested[known.name] = (index, request)
    asks: dict[str, Ask] = {}
    for tag in tags:
        known = _look_up(tag.name, facts, "prompt")
        if known.name in asks:
            msg = f"The LoRA “{known.name}” has two tags in the prompt; keep one, a LoRA draws one subject."
            raise BindingError(msg, field="prompt")
        index, request = requested.pop(known.name, (None, Request(known.name)))
        asks[known.name] = _merge(known, tag, request, index)
    for name, (index, request) in requested.items():
        asks[name] = _merge(_look_up(name, facts, "bindings"), None, request, index)
    return tuple(asks.values())


def _merge(facts: LoraFacts, tag: Tag | None, request: Request, index: int | None) -> Ask:
    said = Request(facts.name) if tag is None else _said_in(tag)
    weights = (1.0, 1.0) if tag is None else (tag.te, tag.unet)
    te, unet = weights if request.weight is None else (float(request.weight), float(request.weight))
    on = said.on if request.on is None else request.on
    ask = Ask(
        facts=facts,
        tag=tag,
        te=te,
        unet=unet,
        subject=said.subject if request.subject is None else request.subject,
        occurrence=said.occurrence if request.occurrence is None else request.occurrence,
        trigger=said.trigger if request.trigger is None else request.trigger,
        role=request.role or said.role or ("subject" if on is None else "style_on"),
        on=on,
        field="prompt" if index is None else f"bindings[{index}]",
    )
    _check(ask)
    return ask


def _said_in(tag: Tag) -> Request:
    """The binding that a tag's own arguments make."""
    occurrence = tag.named.get("occurrence")
    number = int(occurrence) if occurrence and occurrence.strip().isdecimal() else occurrence
    role = tag.named.get("role")
    try:
        return Request(
            lora=tag.name,
            subject=tag.named.get("bind"),
            occurrence=number,  # type: ignore[arg-type]  # text that is no number is refused by Request
            trigger=tag.named.get("trigger"),
            role=role,  # type: ignore[arg-type]  # so is an unknown role
            on=tag.named.get("on"),
        )
    except BindingError as problem:
        field = "bind" if problem.field == "subject" else problem.field
        value = tag.named.get(field or "", "")
        msg = f"The tag of LoRA “{tag.name}” has “{field}={value}”, but {problem.message}"
        raise BindingError(msg, field="prompt") from None


def _check(ask: Ask) -> None:
    """Refuse fields that the role has no use for."""
    unused = {
        "subject": ("on",),
        "style": ("subject", "occurrence", "trigger", "on"),
        "style_on": ("subject",),
    }
    for name in unused[ask.role]:
        if getattr(ask, name) is not None:
            msg = f"The LoRA “{ask.name}” has role “{ask.role}”, which takes no “{name}”; drop it or change the role."
            raise ask.error(msg, name)


def _look_up(name: str, facts: Mapping[str, LoraFacts], field: str) -> LoraFacts:
    if name in facts:
        return facts[name]
    for known in facts.values():
        if name == known.name or name in known.aliases:
            return known
    names = list(dict.fromkeys(word for known in facts.values() for word in (known.name, *known.aliases)))
    near = get_close_matches(name, names, n=5, cutoff=0.6) or names[:8]
    msg = f"There is no LoRA “{name}”; {'there are none at all' if not near else 'there is ' + ', '.join(near)}."
    raise BindingError(msg, field=field)
