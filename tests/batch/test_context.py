"""Rows, runs of rows, and the forward that is under way."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clora_ext.batch.context import Forward, ForwardContext
from clora_ext.batch.rows import BranchLoras, Half, Row, true_runs

LORAS = BranchLoras({0: (), 1: ("A",), 2: ("B", "style")}, uncond=0.25)
ROWS = tuple(Row(0, branch) for branch in range(5))


@given(st.lists(st.booleans(), max_size=12))
def test_runs_cover_exactly_the_chosen(chosen: list[bool]):
    found = true_runs(chosen)
    covered = [any(run.start <= i < run.stop for run in found) for i in range(len(chosen))]
    assert covered == chosen
    assert all(a.stop < b.start for a, b in itertools.pairwise(found))


def test_unconditional_rows_have_their_share_of_a_branchs_loras():
    assert LORAS.branches == (0, 1, 2)
    assert LORAS.of(Row(3, 2)) == {"B": 1.0, "style": 1.0}
    assert LORAS.of(Row(0, 1, Half.UNCOND)) == {"A": 0.25}
    assert LORAS.of(Row(0, 0)) == {}


def test_a_forward_walks_its_rows_and_refuses_more():
    context = ForwardContext(LORAS)
    with context.running(Forward(ROWS)):
        context.advance(2)
        assert context.rows_now == ROWS[:2]
        assert not context.complete
        context.advance(3)
        assert context.rows_now == ROWS[2:]
        assert context.complete
        with pytest.raises(RuntimeError, match="5 were planned"):
            context.advance(1)
    assert not context.active
    assert context.rows_now == ()


def test_a_layer_may_stand_for_other_rows_and_run_again():
    context = ForwardContext(LORAS)
    context.begin(Forward(ROWS))
    context.advance(5)
    with context.as_rows([Row(0, 2)]):
        assert (context.rows_now, context.in_region) == ((Row(0, 2),), True)
    assert (context.rows_now, context.in_region) == (ROWS, False)
    forward = context.forward
    context.end()
    with context.replaying(forward, ROWS[:1]):
        assert (context.forward, context.rows_now) == (forward, ROWS[:1])
    assert (context.active, context.rows_now) == (False, ())
