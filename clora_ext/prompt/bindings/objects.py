"""Bindings as objects of named fields, which parsed JSON gives."""

from collections.abc import Mapping, Sequence

from clora_ext.errors import BindingError, shown
from clora_ext.prompt.bindings.binding import BINDING_FIELDS, Binding

MOST_BINDINGS = 200


def read_bindings(value: object) -> tuple[Binding, ...]:
    """Bindings from parsed JSON, a list of objects. Raises ``BindingError`` with the entry and the field."""
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        msg = f"“bindings” is {shown(value)}; it must be a list of objects with the fields {', '.join(BINDING_FIELDS)}."
        raise BindingError(msg, field="bindings")
    bindings: list[Binding] = []
    for index, entry in enumerate(value):
        try:
            bindings.append(read_binding(entry))
        except BindingError as problem:
            raise locate_error(problem, f"bindings[{index}]", index) from None
    return require_few(bindings)


def require_few(bindings: Sequence[Binding]) -> tuple[Binding, ...]:
    """``bindings``, if they are no more than a job takes. Raises ``BindingError``."""
    if len(bindings) > MOST_BINDINGS:
        msg = f"There are {len(bindings):,} bindings; CLoRA takes {MOST_BINDINGS} at most."
        raise BindingError(msg, field="bindings")
    return tuple(bindings)


def read_binding(entry: object) -> Binding:
    """One binding from an object of named fields. Raises ``BindingError`` with the field."""
    if not isinstance(entry, Mapping):
        msg = f"A binding is {shown(entry)}; it must be an object with the fields {', '.join(BINDING_FIELDS)}."
        raise BindingError(msg)
    for name in entry:
        if name not in BINDING_FIELDS:
            msg = f"There is no field “{name}” in a binding; the fields are {', '.join(BINDING_FIELDS)}."
            raise BindingError(msg, field=str(name))
    if entry.get("lora") is None:
        msg = "A binding has no “lora”; name the LoRA it is for."
        raise BindingError(msg, field="lora")
    return Binding(**entry)


def locate_error(problem: BindingError, place: str, index: int) -> BindingError:
    """``problem`` with the place of its binding: ``place`` in the sentence, ``index`` of the list in the field."""
    field = f"bindings[{index}]"
    if problem.field:
        field += f".{problem.field}"
    return BindingError(f"{place}: {problem.message}", field=field)
