"""Prompts as people write them: how many are bound as a person means them, and how many silently otherwise."""

from collections import Counter
from collections.abc import Callable

import pytest

from clora_ext.prompt import bind_or_merge, inspect
from tests.conftest import FIGURES
from tests.prompt.checks import bind_or_say, check_places
from tests.prompt.real_prompts import (
    BOUND_RIGHTLY,
    BOUND_WRONGLY,
    REFUSED_RIGHTLY,
    REFUSED_WRONGLY,
    RealPrompt,
    judge,
    read_loras,
    read_prompts,
)

LORAS = read_loras()
PROMPTS = read_prompts()


def test_hardly_a_prompt_is_bound_wrongly_and_nearly_all_rightly(record_property: Callable[[str, object], None]):
    found = {real.prompt: judge(real, lambda prompt: bind_or_merge(prompt, LORAS))[0] for real in PROMPTS}
    counts = Counter(found.values())
    kinds = (BOUND_RIGHTLY, REFUSED_RIGHTLY, REFUSED_WRONGLY, BOUND_WRONGLY)
    line = ", ".join(f"{counts[kind]} {kind}" for kind in kinds)
    record_property(FIGURES, f"prompts as people write them: {line}, of {len(PROMPTS)}")
    wrong = [prompt for prompt, kind in found.items() if kind == BOUND_WRONGLY]
    refused = [prompt for prompt, kind in found.items() if kind == REFUSED_WRONGLY]
    assert len(PROMPTS) >= 200
    assert len(wrong) <= 0.01 * len(PROMPTS), wrong
    assert counts[BOUND_RIGHTLY] >= 0.95 * (len(PROMPTS) - counts[REFUSED_RIGHTLY]), [*wrong, *refused]


def test_the_table_asks_for_bindings_and_for_questions():
    assert len({real.prompt for real in PROMPTS}) == len(PROMPTS)
    assert sum(not real.may_be_bound for real in PROMPTS) >= 10
    assert sum(not real.may_be_refused for real in PROMPTS) >= 200
    assert {lora for real in PROMPTS for lora in real.answers} <= set(LORAS)


def test_a_wrong_binding_is_noticed():
    real = RealPrompt("", "a vako cat and a pleko dog <lora:tuxcat:1> <lora:browndog:1>", {"tuxcat": ("dog",)})
    assert judge(real, lambda prompt: bind_or_merge(prompt, LORAS))[0] == BOUND_WRONGLY


@pytest.mark.parametrize("real", PROMPTS, ids=lambda real: real.prompt[:60])
def test_what_is_bound_stands_where_it_should(real: RealPrompt):
    seen = inspect(real.prompt, LORAS)
    bound, said = bind_or_say(real.prompt, LORAS)
    assert seen.bound == bound
    assert (None if seen.problem is None else seen.problem.message) == said
    if bound is not None:
        check_places(bound)
