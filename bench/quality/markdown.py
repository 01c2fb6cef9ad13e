"""The table for docs/quality.md."""

from collections.abc import Iterable, Mapping
from typing import Any

TITLES = {
    "two": "two", "three": "three", "four": "four", "same_class": "two of a class", "style_global": "style everywhere",
    "style_on_one": "style on one", "single": "one LoRA",
}  # fmt: skip
ORDER = ("single", "merge", "composite", "switch", "masks")
"""Rows before the profiles; ``single`` is the ceiling."""


def rows_in_order(names: Mapping[str, Any]) -> list[str]:
    """Known baselines first, then whatever else there is, the costly profiles as they come."""
    return [name for name in ORDER if name in names] + [name for name in names if name not in (*ORDER, "base")]


def in_order(splits: Iterable[str]) -> list[str]:
    """Splits from easy to hard, those of other prompts after them."""
    there = set(splits)
    return [split for split in TITLES if split in there] + sorted(split for split in there if split not in TITLES)


def table(found: Mapping[str, Any]) -> str:
    """Share of pictures with all subjects right, and its 95 % interval, per method and split."""
    splits = in_order(found["base_rate"] or {s for splits in found["methods"].values() for s in splits})
    heads = [TITLES.get(split, split) for split in splits]
    lines = [f"| method | {' | '.join(heads)} | UNet rows |", "|---" * (len(splits) + 2) + "|"]
    if found["base_rate"]:
        cells = [f"{found['base_rate'][split]:.0%}" for split in splits]
        lines.append(f"| *base: right classes and count* | {' | '.join(cells)} | {_rows(found['methods']['base'])} |")
    for name in rows_in_order(found["methods"]):
        own = found["methods"][name]
        cells = [_cell(own.get(split)) for split in splits]
        label = f"*{name}: each LoRA alone*" if name == "single" else f"`{name}`"
        lines.append(f"| {label} | {' | '.join(cells)} | {_rows(own)} |")
    return "\n".join(lines) + "\n"


def _cell(own: Mapping[str, Any] | None) -> str:
    if own is None or "all_present" not in own:
        return "-"
    low, high = own["ci"]
    return f"{own['all_present']:.0%} ({100 * low:.0f} to {100 * high:.0f})"


def strengths(found: Mapping[str, Any]) -> str:
    """How near every method's subjects are to pictures of their LoRAs alone, per split; empty where nobody can tell."""
    methods = found["methods"]
    splits = in_order({s for own in methods.values() for s, cell in own.items() if "strength" in cell})
    if not splits:
        return ""
    lines = [f"| strength | {' | '.join(TITLES.get(s, s) for s in splits)} |", "|---" * (len(splits) + 1) + "|"]
    for name in ["base"] * ("base" in methods) + rows_in_order(methods):
        cells = [_strength(methods[name].get(split, {})) for split in splits]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _strength(own: Mapping[str, Any]) -> str:
    if "strength" not in own:
        return "-"
    low, high = own["strength_ci"]
    return f"{own['strength']:.2f} ({low:.2f} to {high:.2f})"


def _rows(splits: Mapping[str, Mapping[str, Any]]) -> str:
    own = splits.get("two") or next(iter(splits.values()))
    return f"{own['unet_rows']:.0f}"


def differences(found: Mapping[str, Any], ours: str = "balanced") -> str:
    """Paired differences of ``ours`` to the other methods, in points; of strength, in hundredths."""
    heads = [f"| split | {ours} against | points | 95 % interval | pictures | strength |", "|---|---|---|---|---|---|"]
    lines: list[str] = []
    for split in in_order(found["differences"]):
        for name, entry in found["differences"][split].items():
            left, _, right = name.partition(" - ")
            if left == ours:
                low, high = (f"{100 * bound:+.0f}" for bound in entry["ci"])
                lines.append(
                    f"| {TITLES.get(split, split)} | `{right}` | {100 * entry['difference']:+.0f} | "
                    f"{low} to {high} | {entry['n']} | {_hundredths(entry.get('strength'))} |"
                )
    return "\n".join([*heads, *lines]) + "\n" if lines else ""


def _hundredths(entry: Mapping[str, Any] | None) -> str:
    if entry is None:
        return "-"
    low, high = (f"{100 * bound:+.1f}" for bound in entry["ci"])
    return f"{100 * entry['difference']:+.1f} ({low} to {high})"
