"""Rows of the table: the base model, single LoRAs, every method and every profile that the settings know."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from clora_ext.settings.knobs import Settings
from clora_ext.settings.profiles import METHODS, PROFILES, build_settings
from tiny_world.worlds import World

TUNED = Path(__file__).resolve().parent / "tuned.json"
WEIGHT = 1.0
"""LoRA weight of a method that was not tuned."""
COSTLY = ("authors", "paper")
"""Profiles that a default run shows on few splits."""
VARIANTS: Mapping[str, Mapping[str, Any]] = {"fused": {"route": False, "uncond": "branches"}}
"""Rows that are drawn when they are asked for: `balanced` with other knobs. ``fused`` has a row per LoRA to the end, as
if nothing could be routed."""


@dataclass(frozen=True, slots=True)
class Method:
    """One row. ``draws``: ``composed`` the prompt as it stands; ``base`` without LoRAs and triggers; ``single`` once
    per subject with that LoRA alone. ``weight`` multiplies every tag's. ``knobs`` differ from the profile's."""

    name: str
    draws: str = "composed"
    profile: str = "balanced"
    method: str = "merge"
    weight: float = WEIGHT
    knobs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        """What the engine is asked for."""
        return build_settings(self.profile, self.method, **self.knobs)


def tuned_of(world: World) -> tuple[Path, ...]:
    """The files of a world's tuned values: the first world's, and its own, which count where they say something."""
    return tuple(dict.fromkeys((TUNED, world.beside(TUNED))))


def table(*tuned: Path) -> dict[str, Method]:
    """All rows by name, with the weights and knobs of the files ``tuned``, a later one before an earlier."""
    composed = {name: Method(name, method=name) for name in METHODS if name != "clora"}
    profiles = {name: Method(name, profile=name, method="clora") for name in PROFILES}
    found = {name: row for path in tuned or (TUNED,) for name, row in _read(path).items()}
    weight = found.get("balanced", {}).get("weight", WEIGHT)
    rows = {"base": Method("base", "base"), "single": Method("single", "single", weight=weight)}
    for name, method in {**composed, **profiles}.items():
        own = {} if name in PROFILES else found.get(name, {}).get("knobs", {})  # a profile's are in the settings
        rows[name] = Method(
            name, method.draws, method.profile, method.method, found.get(name, {}).get("weight", weight), own
        )
    return rows


def save(name: str, weight: float, knobs: Mapping[str, Any], tuned: Path = TUNED) -> None:
    """Keep what tuning found for the row ``name``."""
    found = _read(tuned)
    found[name] = {"weight": weight, "knobs": dict(knobs)}
    tuned.write_text(json.dumps(dict(sorted(found.items())), indent=1) + "\n", encoding="utf-8")


def variants(*tuned: Path) -> dict[str, Method]:
    """The rows of ``VARIANTS`` by name."""
    balanced = table(*tuned)["balanced"]
    return {name: replace(balanced, name=name, knobs={**balanced.knobs, **own}) for name, own in VARIANTS.items()}


def _read(tuned: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(tuned.read_text(encoding="utf-8")) if tuned.is_file() else {}
    return found
