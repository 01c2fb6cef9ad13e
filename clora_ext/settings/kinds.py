"""The kinds of knobs: what a value must be, how it is written, and what the surfaces show for it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


class UnfitValueError(ValueError):
    """A value that a knob can not take; the message says what it must be, as in “it must be …”."""


class Kind:
    """What a knob takes; a text unless a kind says otherwise."""

    options: tuple[str, ...] = ()
    """All texts that are allowed, where they can be counted."""

    def parse(self, value: Any) -> Any:
        """``value``, from JSON or from a text, as the knob's own type. Raises ``UnfitValueError``."""
        raise NotImplementedError

    def text(self, value: Any) -> str:
        """The value in words that ``parse`` reads back to the same."""
        return str(value)

    def plain(self, value: Any) -> Any:
        """The value as JSON has it."""
        return value

    def schema(self) -> dict[str, Any]:
        """What JSON schema says of the kind."""
        return {"type": "string"}


@dataclass(frozen=True)
class Number(Kind):
    """A number from ``low`` to ``high``, both included."""

    low: float
    high: float

    def parse(self, value: Any) -> float:
        """Raises ``UnfitValueError`` for what is no number or out of range."""
        number = _as_number(value)
        if number is None:
            raise UnfitValueError("a number")
        return self._in_range(number)

    def _in_range(self, number: float) -> float:
        if not self.low <= number <= self.high:
            raise UnfitValueError(f"between {self.low:g} and {self.high:g}")
        return number

    def text(self, value: Any) -> str:
        """Whole numbers without a point."""
        return str(value).removesuffix(".0")

    def schema(self) -> dict[str, Any]:
        """Type and range."""
        return {"type": "number", "minimum": self.low, "maximum": self.high}


@dataclass(frozen=True)
class WholeNumber(Number):
    """A whole number from ``low`` to ``high``."""

    def parse(self, value: Any) -> int:
        """Raises ``UnfitValueError`` for what is no whole number or out of range."""
        number = _as_number(value)
        if number is None or not number.is_integer():
            raise UnfitValueError("a whole number")
        return int(self._in_range(number))

    def schema(self) -> dict[str, Any]:
        """Type and range."""
        return super().schema() | {"type": "integer"}


@dataclass(frozen=True)
class Choice(Kind):
    """One of the words ``options``."""

    options: tuple[str, ...] = ()

    def parse(self, value: Any) -> str:
        """Raises ``UnfitValueError`` for another word."""
        if value not in self.options:
            raise UnfitValueError(f"one of {', '.join(self.options)}")
        return str(value)

    def schema(self) -> dict[str, Any]:
        """Type and words."""
        return {"type": "string", "enum": list(self.options)}


class Flag(Kind):
    """True or false."""

    options = ("True", "False")

    def parse(self, value: Any) -> bool:
        """Raises ``UnfitValueError`` for anything but a truth value or its name."""
        if isinstance(value, bool):
            return value
        name = str(value).lower()
        if name not in ("true", "false"):
            raise UnfitValueError("true or false")
        return name == "true"

    def text(self, value: Any) -> str:
        """In small letters, as JSON has it."""
        return str(value).lower()

    def schema(self) -> dict[str, Any]:
        """Type only."""
        return {"type": "boolean"}


MOST_NUMBERS = 200


class NumberList(Kind):
    """At most ``MOST_NUMBERS`` numbers from 0 on, as a tuple; as a text they are set off by commas."""

    def parse(self, value: Any) -> tuple[float, ...]:
        """Raises ``UnfitValueError`` where a part is no number."""
        parts = _parts(value)
        if len(parts) > MOST_NUMBERS:
            raise UnfitValueError(f"a list of at most {MOST_NUMBERS} numbers")
        numbers = [_as_number(part) for part in parts]
        fit = [number for number in numbers if number is not None and 0.0 <= number < 1e6]
        if len(fit) < len(numbers):
            raise UnfitValueError("a list of numbers such as 0, 10, 20")
        return tuple(fit)

    def text(self, value: Sequence[float]) -> str:
        """Empty for none."""
        return ", ".join(str(number).removesuffix(".0") for number in value)

    def plain(self, value: Sequence[float]) -> str:
        """As text."""
        return self.text(value)


@dataclass(frozen=True)
class WordList(Kind):
    """Any of ``words``, as a tuple; as a text they are set off by commas."""

    words: tuple[str, ...]

    def parse(self, value: Any) -> tuple[str, ...]:
        """Raises ``UnfitValueError`` for another word."""
        parts = tuple(_parts(value))
        if not set(parts) <= set(self.words):
            raise UnfitValueError(f"a list out of {', '.join(self.words)}")
        return parts

    def text(self, value: Sequence[str]) -> str:
        """Empty for none."""
        return ", ".join(value)

    def plain(self, value: Sequence[str]) -> str:
        """As text."""
        return self.text(value)


def _as_number(value: Any) -> float | None:
    """``value`` as a float; None for a truth value, for what is not a number, and for nan."""
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return None if math.isnan(number) else number


def _parts(value: Any) -> list[str]:
    """The parts of a list, or of a text with commas, without blanks around them and without empty ones."""
    parts = value if isinstance(value, (list, tuple)) else str(value).split(",")
    stripped = [str(part).strip() for part in parts]
    return [part for part in stripped if part]
