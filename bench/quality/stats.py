"""Means and their intervals: bootstrap over prompts, and over seeds within each prompt."""

from collections.abc import Mapping, Sequence

import numpy as np

DRAWS = 2000
Values = Mapping[str, Mapping[int, float]]
"""One number per prompt and seed; prompts may have different numbers of seeds."""


def mean(values: Values) -> float:
    """Mean over prompts of the means over their seeds."""
    return float(np.mean([np.mean(list(seeds.values())) for seeds in values.values()]))


def interval(values: Values, draws: int = DRAWS, seed: int = 0, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of ``mean``: prompts are drawn with replacement, then seeds within each."""
    rng = np.random.default_rng(seed)
    rows = [np.fromiter(seeds.values(), float) for seeds in values.values()]
    counts = np.array([len(row) for row in rows])
    table = np.zeros((len(rows), counts.max()))
    for row, numbers in zip(table, rows, strict=True):
        row[: len(numbers)] = numbers
    prompts = rng.integers(len(rows), size=(draws, len(rows)))
    picks = (rng.random((draws, len(rows), table.shape[1])) * counts[prompts][..., None]).astype(int)
    drawn = table[prompts[..., None], picks]
    used = np.arange(table.shape[1]) < counts[prompts][..., None]
    means = ((drawn * used).sum(axis=2) / counts[prompts]).mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def paired(a: Values, b: Values) -> dict[str, dict[int, float]]:
    """a - b for every prompt and seed that both have."""
    both = {
        prompt: {seed: seeds[seed] - b[prompt][seed] for seed in seeds if seed in b[prompt]}
        for prompt, seeds in a.items()
        if prompt in b
    }
    return {prompt: seeds for prompt, seeds in both.items() if seeds}


def rounded(numbers: Sequence[float]) -> list[float]:
    """To four places: more would be noise."""
    return [round(number, 4) for number in numbers]
