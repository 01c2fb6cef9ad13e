"""Axes of the X/Y/Z plot: one per knob from its definition, and enabled, profile, method, bindings, weight."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from modules import scripts

from clora_ext.errors import BindingError
from clora_ext.prompt import Binding, parse_bindings, read_bindings
from clora_ext.request import KEY
from clora_ext.settings import KNOBS, METHODS, PROFILES, Knob

WEIGHT = "weight"
BOOLEANS = ("True", "False")


def add_axes() -> None:
    """Give the plot our axes, once. Called before the page is made, when all scripts are loaded."""
    module = next((data.module for data in scripts.scripts_data if data.module.__name__ == "xyz_grid.py"), None)
    if module is None:
        return
    there = {option.label for option in module.axis_options}
    module.axis_options.extend(option for option in _axes(module.AxisOption) if option.label not in there)


def overlaid(fields: Mapping[str, Any], cell: Mapping[str, Any]) -> dict[str, Any]:
    """The request of one cell: ``fields`` with the cell's values over them.

    A cell that sets anything of ours is enabled unless it says otherwise.
    """
    if not cell:
        return dict(fields)
    weights = cell.get(WEIGHT, {})
    made = {**fields, "enabled": True, **{name: value for name, value in cell.items() if name != WEIGHT}}
    if weights:
        made["bindings"] = _weighted(made.get("bindings") or (), weights)
    return made


def _weighted(bindings: Any, weights: Mapping[str, float]) -> list[dict[str, Any]]:
    """Bindings as objects, with the weight of each LoRA in ``weights``."""
    known = parse_bindings(bindings) if isinstance(bindings, str) else read_bindings(bindings)
    changed = [replace(each, weight=weights.get(each.lora, each.weight)) for each in known]
    changed += [Binding(lora, weight=weight) for lora, weight in weights.items() if lora not in {k.lora for k in known}]
    return [
        {name: value for name in Binding.__slots__ if (value := getattr(each, name)) is not None} for each in changed
    ]


def _axes(option: Callable[..., Any]) -> list[Any]:
    return [
        _choice(option, "enabled", "Enabled", BOOLEANS),
        _choice(option, "profile", "Profile", tuple(PROFILES)),
        _choice(option, "method", "Method", tuple(METHODS)),
        option(_label("Bindings, lines set off by ;"), str, _apply("bindings", _lines), confirm=_each(_lines)),
        option(_label("Weight, as LoRA: number"), str, _weigh, confirm=_each(_weight)),
        *(_knob(option, knob) for knob in KNOBS),
    ]


def _label(text: str) -> str:
    return f"[{KEY}] {text}"


def _choice(option: Callable[..., Any], name: str, text: str, known: tuple[str, ...]) -> Any:
    def read(value: str) -> Any:
        if value not in known:
            msg = f"[{KEY}] {text} is “{value}”; it must be one of {', '.join(known)}."
            raise RuntimeError(msg)
        return value == "True" if known == BOOLEANS else value

    return option(_label(text), str, _apply(name, read), confirm=_each(read), choices=lambda: list(known))


def _knob(option: Callable[..., Any], knob: Knob) -> Any:
    if isinstance(knob.default, bool):
        return option(
            _label(knob.label), str, _apply(knob.name, knob.parse), confirm=_each(knob.parse),
            choices=lambda: list(BOOLEANS),
        )  # fmt: skip
    kind = str if knob.choices or knob.listed is not None else type(knob.default)
    choices = {"choices": lambda: list(knob.choices)} if knob.choices else {}
    return option(_label(knob.label), kind, _apply(knob.name, knob.parse), confirm=_each(knob.parse), **choices)


def _apply(name: str, read: Callable[[Any], Any]) -> Callable[[Any, Any, Any], None]:
    """Sets one value of a cell; cells are copies of one job, so nothing that they share is changed in place."""

    def apply(p: Any, value: Any, _values: Sequence[Any]) -> None:
        p.clora_cell = {**getattr(p, "clora_cell", {}), name: read(value)}

    return apply


def _weigh(p: Any, value: str, _values: Sequence[str]) -> None:
    cell = getattr(p, "clora_cell", {})
    p.clora_cell = {**cell, WEIGHT: {**cell.get(WEIGHT, {}), **_weight(value)}}


def _each(read: Callable[[Any], Any]) -> Callable[[Any, Sequence[Any]], None]:
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
