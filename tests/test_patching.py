"""What we replace is put back exactly, whoever else has wrapped it: before us, after us, or both."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from torch import nn

from clora_ext.patching import Replacement, replaced


class Sampler:
    """Something of a host."""

    def draw(self, x: int) -> str:
        return f"host {x}"


def by(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A wrapper that tells its name."""
    return lambda original: lambda x: f"{name}({original(x)})"


def wrap(owner: object, name: str) -> Callable[[], None]:
    """Another extension's wrapper on ``owner.draw``, and how that extension takes it off again."""
    before = owner.draw
    owner.draw = by(name)(before)
    return lambda: setattr(owner, "draw", before)


def test_nothing_stood_there_and_nothing_is_left():
    sampler = Sampler()
    with replaced(sampler, "draw", by("ours")):
        assert sampler.draw(1) == "ours(host 1)"
    assert vars(sampler) == {}


def test_an_older_wrapper_comes_back_as_it_was():
    sampler = Sampler()
    wrap(sampler, "older")
    older = vars(sampler)["draw"]
    with replaced(sampler, "draw", by("ours")):
        assert sampler.draw(1) == "ours(older(host 1))"
    assert vars(sampler) == {"draw": older}


def test_a_younger_wrapper_stays_and_ours_lets_through():
    sampler = Sampler()
    wrap(sampler, "older")
    with replaced(sampler, "draw", by("ours")):
        take_off = wrap(sampler, "younger")
        younger = vars(sampler)["draw"]
        assert sampler.draw(1) == "younger(ours(older(host 1)))"
    assert vars(sampler)["draw"] is younger
    assert sampler.draw(2) == "younger(older(host 2))"
    take_off()
    assert sampler.draw(3) == "older(host 3)"


def test_wrappers_taken_off_in_order_leave_what_was_there():
    sampler = Sampler()
    take_older_off = wrap(sampler, "older")
    with replaced(sampler, "draw", by("ours")):
        wrap(sampler, "younger")()
        assert sampler.draw(1) == "ours(older(host 1))"
    take_older_off()
    assert sampler.draw(2) == "host 2"


def test_an_error_inside_undoes_it_too():
    sampler = Sampler()
    with pytest.raises(ZeroDivisionError), replaced(sampler, "draw", by("ours")):
        _ = 1 / 0
    assert vars(sampler) == {}


def test_a_module_is_left_as_it_was():
    layer = nn.Linear(2, 2)
    before = dict(vars(layer))
    with replaced(layer, "forward", lambda original: lambda x: original(x) * 2.0):
        assert "forward" in vars(layer)
    assert vars(layer).keys() == before.keys()


def test_a_copy_that_carries_our_wrapper_along_is_freed_by_itself():
    sampler = Sampler()
    take_off = wrap(sampler, "older")
    older = vars(sampler)["draw"]
    replacement = Replacement(sampler, "draw", by("ours"))
    twin = copy.copy(sampler)
    replacement.undo_in(twin)
    assert vars(twin) == {"draw": older}
    assert sampler.draw(1) == "ours(older(host 1))", "the owner goes on"
    replacement.undo()
    replacement.undo()
    take_off()
    assert sampler.draw(2) == "host 2"
