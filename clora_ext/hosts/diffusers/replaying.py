"""What a replay of late steps would skip in the embedded host."""

from collections.abc import Callable, Hashable
from typing import Any

KNOWN = ("torch", "diffusers", "clora_ext")
"""Whose code may run in a call of the UNet: it does the same at every step."""


class EmbeddedGuard:
    """Meets ``engine.replay.ReplayGuard``: the model is nobody else's here."""

    def obstacle(self) -> str | None:
        """Nothing goes on inside of the UNet that is not in its layers."""
        return None

    def stranger(self, function: Callable[..., Any]) -> str | None:
        """By the package that the function comes from."""
        package = str(getattr(function, "__module__", "")).partition(".")[0]
        return None if package in KNOWN else package or "somebody"

    def state(self) -> Hashable:
        """Layers read nothing but tensors."""
        return None
