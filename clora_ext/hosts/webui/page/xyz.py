"""Axes of the X/Y/Z plot: one per knob from its definition, and enabled, profile, method, bindings, weight.

A cell's values stand on its job as ``clora_cell``, by field; cells are copies of one job.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from modules import scripts

from clora_ext.errors import BindingError
from clora_ext.prompt import BINDING_FIELDS, Binding, parse_bindings, read_bindings
from clora_ext.settings.kinds import Number, WholeNumber
from clora_ext.settings.knobs import KNOBS, Knob
from clora_ext.settings.profiles import METHODS, PROFILES
from clora_ext.settings.request import KEY

WEIGHT = "weight"
BOOLEANS = ("True", "False")

_Read = Callable[[Any], Any]
"""Turns a cell's text into a value; raises for one that can not be."""
MakeAxis = Callable[..., Any]
"""The host's AxisOption (scripts/xyz_grid.py)."""


def add_axes() -> None:
    """Give the plot our axes, once. Called before the page is made, when all scripts are loaded."""
    module = next((data.module for data in scripts.scripts_data if data.module.__name__ == "xyz_grid.py"), None)
    if module is None:
        return
    there = {axis.label for axis in module.axis_options}
    module.axis_options.extend(axis for axis in _axes(module.AxisOption) if axis.label not in there)


def with_cell(fields: Mapping[str, Any], cell: Mapping[str, Any]) -> dict[str, Any]:
    """The request of one cell: ``fields`` with the cell's values over them.

    A cell that sets anything of ours is enabled unless it says otherwise.
    """
    if not cell:
        return dict(fields)
    values = {name: value for name, value in cell.items() if name != WEIGHT}
    made = {**fields, "enabled": True, **values}
    weights = cell.get(WEIGHT, {})
    if weights:
        made["bindings"] = _weighted(made.get("bindings") or (), weights)
    return made


def _weighted(bindings: Any, weights: Mapping[str, float]) -> list[dict[str, Any]]:
    """Bindings as objects, with the weight of each LoRA in ``weights``."""
    known = parse_bindings(bindings) if isinstance(bindings, str) else read_bindings(bindings)
    changed = [replace(each, weight=weights.get(each.lora, each.weight)) for each in known]
    named = {each.lora for each in known}
    changed += [Binding(lora, weight=weight) for lora, weight in weights.items() if lora not in named]
    return [_as_object(each) for each in changed]


def _as_object(binding: Binding) -> dict[str, Any]:
    values = {name: getattr(binding, name) for name in BINDING_FIELDS}
    return {name: value for name, value in values.items() if value is not None}


def _axes(make: MakeAxis) -> list[Any]:
    return [
        _choice(make, "enabled", "Enabled", BOOLEANS),
        _choice(make, "profile", "Profile", tuple(PROFILES)),
        _choice(make, "method", "Method", tuple(METHODS)),
        make(_label("Bindings, lines set off by ;"), str, _apply("bindings", _lines), confirm=_check_all(_lines)),
        make(_label("Weight, as LoRA: number"), str, _weigh, confirm=_check_all(_weight)),
        *(_knob(make, knob) for knob in KNOBS),
    ]


def _label(text: str) -> str:
    return f"[{KEY}] {text}"


def _choice(make: MakeAxis, name: str, text: str, known: tuple[str, ...]) -> Any:
    def read(value: str) -> Any:
        if value not in known:
            msg = f"[{KEY}] {text} is “{value}”; it must be one of {', '.join(known)}."
            raise RuntimeError(msg)
        return value == "True" if known == BOOLEANS else value

    return make(_label(text), str, _apply(name, read), confirm=_check_all(read), choices=lambda: list(known))


def _knob(make: MakeAxis, knob: Knob) -> Any:
    choices = {"choices": lambda: list(knob.kind.options)} if knob.kind.options else {}
    apply = _apply(knob.name, knob.parse)
    return make(_label(knob.term), _cell_type(knob), apply, confirm=_check_all(knob.parse), **choices)


def _cell_type(knob: Knob) -> type:
    """What the host turns a cell's text into before we read it."""
    if isinstance(knob.kind, WholeNumber):
        return int
    return float if isinstance(knob.kind, Number) else str


def _apply(name: str, read: _Read) -> Callable[[Any, Any, Any], None]:
    """Sets one value of a cell; nothing that cells share is changed in place."""

    def apply(p: Any, value: Any, _values: Sequence[Any]) -> None:
        p.clora_cell = {**getattr(p, "clora_cell", {}), name: read(value)}

    return apply


def _weigh(p: Any, value: str, _values: Sequence[str]) -> None:
    cell = getattr(p, "clora_cell", {})
    p.clora_cell = {**cell, WEIGHT: {**cell.get(WEIGHT, {}), **_weight(value)}}


def _check_all(read: _Read) -> Callable[[Any, Sequence[Any]], None]:
    """Checks all values of an axis before the first cell is drawn."""

    def confirm(_p: Any, values: Sequence[Any]) -> None:
        for value in values:
            read(value)

    return confirm


def _lines(text: str) -> str:
    lines = text.replace(";", "\n")
    parse_bindings(lines)
    return lines


def _weight(text: str) -> dict[str, float]:
    (binding,) = parse_bindings(text.replace(":", ": weight=", 1)) or (None,)
    if binding is None or binding.weight is None:
        msg = f"“{text}” names no LoRA and weight; write for example “tuxcat: 0.8”."
        raise BindingError(msg, field=WEIGHT)
    return {binding.lora: binding.weight}
