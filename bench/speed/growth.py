"""How cost and memory grow with the number of LoRAs, the size of the picture and the number of steps."""

from typing import Any

from bench.speed.cases import RANK, STEPS
from bench.speed.count import count, plain
from clora_ext.settings.knobs import Settings
from clora_ext.settings.profiles import PROFILES, build_settings

CONCEPTS = (1, 2, 3, 4, 6, 8)
SIZES = (256, 384, 512, 768, 1024)
STEP_COUNTS = (10, 20, 50, 100)
Points = list[dict[str, Any]]


def growth(model: str = "sd15") -> dict[str, Points]:
    """Per axis (``k``, ``size``, ``steps``) a point for every profile and value; the rest as in the main cases."""
    ways = [build_settings(profile) for profile in PROFILES]
    return {
        "k": [_point(model, wanted, "k", k, k=k) for wanted in ways for k in CONCEPTS],
        "size": [_point(model, wanted, "size", size, size=size) for wanted in ways for size in SIZES],
        "steps": [_point(model, wanted, "steps", steps, steps=steps) for wanted in ways for steps in STEP_COUNTS],
    }


def _point(
    model: str, wanted: Settings, axis: str, value: int, k: int = 2, size: int | None = None, steps: int = STEPS
) -> dict[str, Any]:
    found, base = count(model, wanted, k, RANK, steps, size), plain(model, steps, size)
    return {
        "profile": wanted.profile,
        axis: value,
        "flops_ratio": round(found.flops / base.flops, 4),
        "tflop": round(found.flops / 1e12, 2),
        "peak_bytes": found.peak,
        "plain_peak_bytes": base.peak,
    }


def law(points: Points, axis: str, value: str) -> dict[str, tuple[float, float]]:
    """Per profile the least-squares line value = a + b * axis over the points from K = 2 on: (a, b)."""
    lines: dict[str, tuple[float, float]] = {}
    for profile in dict.fromkeys(point["profile"] for point in points):
        few = [(p[axis], p[value]) for p in points if p["profile"] == profile and (axis != "k" or p[axis] > 1)]
        middle = [sum(part) / len(few) for part in zip(*few, strict=True)]
        spread = sum((x - middle[0]) ** 2 for x, _ in few)
        slope = sum((x - middle[0]) * (y - middle[1]) for x, y in few) / spread
        lines[profile] = middle[1] - slope * middle[0], slope
    return lines


def plot(found: dict[str, Points], path: Any) -> None:
    """Six small charts into the picture ``path``."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, charts = plt.subplots(2, 3, figsize=(12, 6.5), constrained_layout=True)
    names = {"k": "LoRAs", "size": "pixels a side", "steps": "steps"}
    for column, (axis, points) in enumerate(found.items()):
        for profile in dict.fromkeys(point["profile"] for point in points):
            own = [point for point in points if point["profile"] == profile]
            over = [(point["peak_bytes"] - point["plain_peak_bytes"]) / 2**30 for point in own]
            where = [point[axis] for point in own]
            charts[0][column].plot(where, [point["flops_ratio"] for point in own], marker="o", ms=3, label=profile)
            charts[1][column].plot(where, over, marker="o", ms=3, label=profile)
        charts[0][column].set(title="FLOPs, times a plain picture", ylim=(0, None))
        charts[1][column].set(title="peak memory over plain, GiB", xlabel=names[axis], ylim=(0, None))
    charts[0][0].legend()
    figure.savefig(path, dpi=90)
    plt.close(figure)
