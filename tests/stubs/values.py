"""Whether a value is what an annotation says, and which attributes the source of a class gives its objects."""

import ast
import inspect
import textwrap
from collections.abc import Callable
from functools import cache
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

NUMBERS = {int: (int,), float: (int, float)}
"""Truth values are numbers to Python, not to us."""


def fits(value: object, kind: Any) -> bool:
    """Whether ``value`` is of the type ``kind``, with all that lists, dictionaries and tuples hold."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any or kind is object:
        return True
    if kind is None:
        return value is None
    if kind in NUMBERS:
        return isinstance(value, NUMBERS[kind]) and not isinstance(value, bool)
    if origin in (Union, UnionType):
        return any(fits(value, each) for each in inner)
    if origin is Literal:
        return value in inner
    if origin is Callable:
        return callable(value)
    if origin is None:
        return isinstance(value, kind)
    return isinstance(value, origin) and _held_fits(value, inner)


def _held_fits(value: Any, inner: tuple[Any, ...]) -> bool:
    if isinstance(value, dict):
        keys, values = inner
        return all(fits(key, keys) and fits(each, values) for key, each in value.items())
    if isinstance(value, tuple) and inner[-1] is not Ellipsis:
        return len(value) == len(inner) and all(map(fits, value, inner))
    if isinstance(value, list | set | tuple):
        return all(fits(each, inner[0]) for each in value)
    return True


def attributes(kind: type) -> set[str]:
    """Attributes of a class and of its objects: what it has, what is annotated, what its source sets on ``self``."""
    found = set(dir(kind))
    for each in inspect.getmro(kind):
        found |= set(vars(each).get("__annotations__", {}))
        found |= _set_on_self(each)
    return found


@cache
def _set_on_self(kind: type) -> frozenset[str]:
    try:
        source = inspect.getsource(kind)
    except (OSError, TypeError):  # built in, or made at run time
        return frozenset()
    tree = ast.parse(textwrap.dedent(source))
    return frozenset(node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and _is_set(node))


def _is_set(node: ast.Attribute) -> bool:
    return isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name) and node.value.id == "self"
