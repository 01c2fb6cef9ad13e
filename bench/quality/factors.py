"""What a sweep may try: factors as data, those that a row has no use for left out."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.quality.methods import Method
from clora_ext.errors import SettingsError
from clora_ext.settings.knobs import KNOB, KNOBS
from clora_ext.settings.profiles import build_settings

FACTORS = Path(__file__).resolve().parent / "factors.json"
UPDATES = ("update_until", "rounds", "step_", "temperature", "presence", "word_maps")
"""Prefixes of the knobs that only a latent update reads."""
EVERYWHERE = ("text_encoder",)
"""Knobs that methods without masks read as well."""
Trial = Mapping[str, Any]
"""Values of knobs, and ``weight`` for the LoRAs' weight."""


@dataclass(frozen=True, slots=True)
class Factor:
    """One thing to vary, all else equal."""

    name: str
    trials: tuple[Trial, ...]


def known() -> list[Factor]:
    """The factors of the file whose knobs exist, and every choice of each knob that the file does not name."""
    entries = json.loads(FACTORS.read_text(encoding="utf-8"))
    listed = [Factor(entry["name"], tuple(filter(_possible, entry["trials"]))) for entry in entries]
    named = {name for factor in listed for trial in factor.trials for name in trial}
    for knob in KNOBS:
        choices = [knob.parse(option) for option in knob.kind.options]
        if knob.name not in named and knob.name != "count_by" and choices:
            listed.append(Factor(knob.name.replace("_", " "), tuple({knob.name: choice} for choice in choices)))
    return [factor for factor in listed if factor.trials]


def of_row(row: Method) -> list[Factor]:
    """The factors that change anything in ``row``."""
    made = []
    for factor in known():
        trials = tuple(trial for trial in factor.trials if all(_read(name, row) for name in trial))
        if trials:
            made.append(Factor(factor.name, trials))
    return made


def padded(factors: Sequence[Factor], count: int) -> list[Factor]:
    """The same with LoRA weights from 0.3 to 1.6 in place of the file's, as many as make ``count`` trials in all.

    A baseline with few knobs so gets as many trials as a method with many.
    """
    others = [factor for factor in factors if "weight" not in factor.trials[0]]
    room = max(count - sum(len(factor.trials) for factor in others), 7)
    weights = np.unique(np.round(np.linspace(0.3, 1.6, room), 3))
    return [Factor("LoRA weight", tuple({"weight": float(w)} for w in weights)), *others]


def changed(row: Method, trial: Trial) -> Method:
    """``row`` with the values of ``trial``."""
    knobs = {name: KNOB[name].parse(value) for name, value in trial.items() if name != "weight"}
    return replace(row, weight=float(trial.get("weight", row.weight)), knobs={**row.knobs, **knobs})


def _possible(trial: Trial) -> bool:
    try:
        build_settings(**{name: value for name, value in trial.items() if name != "weight"})
    except SettingsError:
        return False
    return True


def _read(name: str, row: Method) -> bool:
    """Whether a row's pictures depend on a knob."""
    method = row.method
    if name == "weight" or name in EVERYWHERE:
        return name == "weight" or method != "merge"
    if name == "switch_every":
        return method == "switch"
    if method == "clora":
        return True
    return method == "masks" and not name.startswith(UPDATES)
