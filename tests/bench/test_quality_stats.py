"""The bootstrap against figures that are known, and the paired difference."""

import numpy as np

from bench.quality import stats


def _coins(prompts: int, seeds: int, spread: float, rng: np.random.Generator) -> dict[str, dict[int, float]]:
    rates = np.clip(0.5 + spread * rng.standard_normal(prompts), 0, 1)
    return {str(p): {s: float(rng.random() < rate) for s in range(seeds)} for p, rate in enumerate(rates)}


def test_the_interval_is_the_normal_one_where_that_is_right():
    values = _coins(400, 1, 0.0, np.random.default_rng(1))
    low, high = stats.interval(values)
    half = 1.96 * 0.5 / 20
    assert abs((high - low) / 2 - half) < 0.1 * half
    assert low < stats.mean(values) < high


def test_prompts_that_differ_widen_it_and_more_seeds_do_not_help():
    rng = np.random.default_rng(2)
    few, many = (_coins(40, seeds, 0.4, rng) for seeds in (10, 100))
    widths = [np.diff(stats.interval(values))[0] for values in (few, many)]
    assert min(widths) > 0.15  # 400 coins alone would have 0.1
    assert widths[1] > 0.8 * widths[0]


def test_seeds_may_be_missing():
    values = {"a": {1: 1.0, 2: 1.0, 3: 1.0}, "b": {1: 0.0}}
    assert stats.mean(values) == 0.5
    assert stats.interval(values) == (0.0, 1.0)


def test_paired_differences_use_what_both_have():
    a = {"p": {1: 1.0, 2: 1.0}, "q": {1: 1.0}}
    b = {"p": {2: 0.0, 3: 0.0}, "r": {1: 1.0}}
    assert stats.paired(a, b) == {"p": {2: 1.0}}
    same = _coins(30, 4, 0.3, np.random.default_rng(3))
    assert stats.interval(stats.paired(same, same)) == (0.0, 0.0)
