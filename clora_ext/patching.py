"""Replacing a method of somebody else's object, and putting back exactly what was there."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

Function = Callable[..., Any]


class Replacement:
    """``owner.name`` is ``wrap(what it was)`` until ``undo``.

    Undone exactly: what stood on the instance before (another extension's wrapper) comes back, and where nothing stood,
    nothing does. Where somebody has put a wrapper on ours and it is still there, it stays, and ours lets every call
    through to what was there before.
    """

    def __init__(self, owner: object, name: str, wrap: Callable[[Function], Function]) -> None:
        self._owner, self._name = owner, name
        self._stood, self._before = name in vars(owner), vars(owner).get(name)
        self._original: Function = getattr(owner, name)
        self._current = wrap(self._original)
        self._ours: Function = self._call  # the bound method is made once: it is told by identity
        setattr(owner, name, self._ours)

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        return self._current(*args, **kwargs)

    def undo(self) -> None:
        """Put back what was there. Harmless a second time."""
        self._current = self._original
        self.undo_in(self._owner)

    def undo_in(self, owner: object) -> None:
        """The same in a copy of the owner that carries our wrapper along; the owner itself is left alone."""
        if vars(owner).get(self._name) is not self._ours:
            return
        if self._stood:
            setattr(owner, self._name, self._before)
        else:
            delattr(owner, self._name)


@contextmanager
def replaced(owner: object, name: str, wrap: Callable[[Function], Function]) -> Generator[None, None, None]:
    """While inside, ``owner.name`` is ``wrap(what it was)``; see ``Replacement``."""
    replacement = Replacement(owner, name, wrap)
    try:
        yield
    finally:
        replacement.undo()
