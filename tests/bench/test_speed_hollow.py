"""How many of torch's operations a step calls, against a plain one: what a fast GPU waits for."""

import pytest
import torch

pytest.importorskip("diffusers", reason="the benchmark runs with the tools' Python")

from bench.speed import hollow
from bench.speed.meter import Operations

MOST = {
    ("predict", 2): 1.65,
    ("masks", 2): 2.25,
    ("balanced update", 2): 4.6,
    ("fast update", 2): 4.9,
    ("late routed", 2): 1.6,
    ("late routed", 8): 1.61,
}
"""Operations that compute, times those of a plain step of SD1.5, by kind of step and number of LoRAs."""


def test_operations_are_counted_with_and_without_views():
    with Operations() as operations:
        x = torch.zeros(2, 3)
        x.view(3, 2).t().add_(1.0)
    assert (operations.all, operations.views, operations.without_views) == (4, 2, 2)


@pytest.mark.parametrize(("step", "k"), MOST)
def test_a_step_calls_few_operations(step, k):
    found = hollow.measured("sd15", step, k)
    assert found.without_views <= MOST[step, k] * found.plain_without_views


def test_every_subject_has_as_many_cells():
    areas = hollow.cells(torch.zeros(3, 6, 6), 2).sum(dim=(1, 2))
    assert areas.tolist() == [12.0, 12.0, 12.0]


def test_a_table_has_a_line_for_every_step():
    step = {"model": "sd15", "step": "masks", "k": 2, "operations": 300, "without_views": 200}
    told = hollow.table([{**step, "plain_without_views": 100, "seconds": 1.5}])
    assert told.splitlines()[-1] == "| sd15 | masks | 2 | 300 | 200 | 2.00 x | 1.50 x |"
