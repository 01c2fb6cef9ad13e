"""Strengths of bound LoRAs that another extension changes while it samples: LoRA Block Weight's ``start`` and ``stop``.

Such an extension looks for networks in the host's list when the host calls its denoiser, and sets their strengths.
Those that we draw are not in the list, or the host would merge them. So they are put there before the call, and taken
out again before any layer runs; what an extension has done to their strengths in between counts.
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from clora_ext.engine.branches import ActiveLora
from clora_ext.hosts.webui.drive.catalogue import builtin


class LiveStrengths:
    """Those of ``loras``, whose networks are ``nets`` by name, against the ``written`` ones of the prompt."""

    def __init__(self, loras: Sequence[ActiveLora], nets: Mapping[str, Any], written: Mapping[str, float]) -> None:
        self._loras, self._nets, self._written = loras, nets, written

    @contextmanager
    def shown(self) -> Generator[None, None, None]:
        """While inside, other extensions find the networks in the host's list."""
        loaded = builtin().loaded_networks
        before = list(loaded)
        bound = {id(net): net for net in (self._nets[lora.name] for lora in self._loras)}
        loaded.extend(net for net in bound.values() if not any(net is each for each in before))
        try:
            yield
        finally:
            loaded[:] = before

    def now(self) -> dict[str, float]:
        """How much of every LoRA counts now, by its key, of those whose strength somebody has changed."""
        found: dict[str, float] = {}
        for lora in self._loras:
            written, strength = self._written.get(lora.name, 0.0), self._nets[lora.name].unet_multiplier
            if written and strength != written:
                found[lora.key] = strength / written
        return found
