"""Whether a function can be called in every way that its stub allows."""

from collections.abc import Sequence
from inspect import Parameter, Signature

RECEIVERS = ("self", "cls")
"""First parameters whose names nobody uses."""


def differences(told: Sequence[Parameter], real: Signature) -> list[str]:
    """What is not so in the parameters that a stub tells, as sentences about the function."""
    takes = list(real.parameters.values())
    kinds = {parameter.kind for parameter in takes}
    found: list[str] = []
    for place, parameter in enumerate(told):
        match = _counterpart(place, parameter, takes)
        if match is None and not _absorbed(parameter, kinds):
            found.append(f"takes no {parameter.name} there")
        elif match is not None and parameter.default is None and match.default is Parameter.empty:
            found.append(f"needs {parameter.name}")
    return found + _missing(told, takes)


def _counterpart(place: int, parameter: Parameter, takes: Sequence[Parameter]) -> Parameter | None:
    """The real parameter that a told one is, by its place or its name."""
    named = {
        each.name: each for each in takes if each.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    }
    if parameter.kind is Parameter.KEYWORD_ONLY:
        return named.get(parameter.name)
    positional = [each for each in takes if each.kind <= Parameter.POSITIONAL_OR_KEYWORD]
    if parameter.kind > Parameter.POSITIONAL_OR_KEYWORD or place >= len(positional):
        return None
    there = positional[place]
    by_place = parameter.kind is Parameter.POSITIONAL_ONLY or (place == 0 and parameter.name in RECEIVERS)
    return there if by_place or there.name == parameter.name else None


def _absorbed(parameter: Parameter, kinds: set[object]) -> bool:
    """Whether ``*args`` or ``**kwargs`` take a parameter."""
    needed = {
        Parameter.POSITIONAL_ONLY: {Parameter.VAR_POSITIONAL},
        Parameter.POSITIONAL_OR_KEYWORD: {Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD},
        Parameter.VAR_POSITIONAL: {Parameter.VAR_POSITIONAL},
        Parameter.KEYWORD_ONLY: {Parameter.VAR_KEYWORD},
        Parameter.VAR_KEYWORD: {Parameter.VAR_KEYWORD},
    }
    return needed[parameter.kind] <= kinds


def _missing(told: Sequence[Parameter], takes: Sequence[Parameter]) -> list[str]:
    """Parameters that must be given and that the stub does not tell of."""
    names = {parameter.name for parameter in told}
    places = sum(parameter.kind is Parameter.POSITIONAL_ONLY for parameter in told)
    receiver = bool(told) and told[0].name in RECEIVERS
    several = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    return [
        f"needs {each.name}, of which the stub says nothing"
        for place, each in enumerate(takes)
        if each.default is Parameter.empty and each.kind not in several
        if each.name not in names and place >= max(places, receiver)
    ]
