"""The tables for docs/merging.md."""

from collections.abc import Mapping
from typing import Any

from bench.merging.cases import ROWS

HEADS = ("", "identity", "text", "classes", "two in a picture", "two by CLoRA", "CPU seconds", "peak MB", "pictures")


def table(found: Mapping[str, Any], concepts: int) -> str:
    """What was found for so many concepts, row by row; what was not drawn stays empty."""
    rows = found["concepts"][str(concepts)]
    lines = [f"| {' | '.join(HEADS)} |", "|---" * len(HEADS) + "|"]
    lines += [f"| `{name}` | {' | '.join(_cells(rows[name]))} |" for name in ROWS if name in rows]
    return "\n".join(lines) + "\n"


def _cells(row: Mapping[str, Any]) -> list[str]:
    seconds = f"{row['seconds']:.0f}" if "seconds" in row else ""
    peak = f"{row['peak_bytes'] / 1e6:.0f}" if "peak_bytes" in row else ""
    return [
        _share(row, "identity", "ci"),
        f"{row['text']:.2f}" if "text" in row else "",
        f"{row['classes']:.0%}" if "classes" in row else "",
        _share(row, "two_concepts", "two_concepts_ci"),
        _share(row, "two_concepts_clora", "two_concepts_clora_ci"),
        seconds,
        peak,
        " + ".join(str(number) for number in row["pictures"].values()),
    ]


def _share(row: Mapping[str, Any], name: str, interval: str) -> str:
    if name not in row:
        return ""
    low, high = row[interval]
    return f"{row[name]:.0%} ({100 * low:.0f} to {100 * high:.0f})"


def ablation(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Errors on inputs held out: text encoder / keys and values of texts / other layers, by the number of LoRAs."""
    numbers = list(found)
    names = list(found[numbers[0]])
    lines = [f"| | {' | '.join(f'{number} LoRAs' for number in numbers)} |", "|---" * (len(numbers) + 1) + "|"]
    for name in names:
        cells = (" / ".join(f"{error:.3f}" for error in found[number][name].values()) for number in numbers)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def counts(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """What merging 12 LoRAs takes on a model of true size, by rank."""
    heads = ("12 LoRAs", "TFLOP: drawing", "moments", "solving", "GB: weights", "inputs", "solving", "inputs on disk")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for model, ranks in found.items():
        for rank, of in ranks.items():
            work = [f"{of[name] / 1e12:,.0f}" for name in ("drawing", "moments", "solving")]
            room = ("weights_bytes", "inputs_bytes", "solving_bytes", "inputs_disk_bytes")
            cells = [*work, *(f"{of[name] / 1e9:.1f}" for name in room)]
            lines.append(f"| {model}, rank {rank} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
