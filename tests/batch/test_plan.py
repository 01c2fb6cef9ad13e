"""Which maps belong together, and which tokens make a mask."""

import pytest
import torch

from clora_ext.batch.plan import Concept, ConceptWord, TokenPlan, grouped_maps
from clora_ext.errors import BindingError

PLAN = TokenPlan(
    (Concept("cat", ((2,), (3,), (2,)), trigger=(2,)), Concept("fluffy dog", ((5, 6), (6, 7), (7, 8)), (5, 6)))
)


def test_the_words_of_each_branch():
    assert PLAN.words(0) == (ConceptWord(0, (2,)), ConceptWord(1, (5, 6)))
    assert PLAN.words(1) == (ConceptWord(0, (2,), is_trigger=True), ConceptWord(0, (3,)), ConceptWord(1, (6, 7)))
    assert PLAN.words(2) == (ConceptWord(0, (2,)), ConceptWord(1, (5, 6), is_trigger=True), ConceptWord(1, (7, 8)))
    assert PLAN.columns(2) == (2, 5, 6, 7, 8)


def test_a_masks_tokens_with_and_without_the_trigger():
    assert PLAN.mask_places(0, 1, trigger=True) == [0, 1]
    assert PLAN.mask_places(0, 1, trigger=False) == [1]
    assert PLAN.mask_places(1, 2, trigger=True) == [1, 2, 3, 4]
    assert PLAN.mask_places(1, 2, trigger=False) == [3, 4]
    assert PLAN.mask_places(1, 0, trigger=True) == [1, 2], "in the base, where there is no trigger"


def test_a_subject_without_tokens_is_refused():
    with pytest.raises(BindingError, match="cat"):
        Concept("cat", ((2,), ()))


def test_concepts_must_know_every_branch():
    with pytest.raises(ValueError, match="knows 2 branches of 3"):
        TokenPlan((Concept("cat", ((1,), (1,))), Concept("dog", ((2,), (2,), (2,)))))


@pytest.mark.parametrize(("each", "counts"), [(True, [4, 8]), (False, [4, 4])])
def test_a_word_of_many_tokens_weighs_as_one_unless_each(each: bool, counts: list[int]):
    recorded = [torch.rand(len(PLAN.columns(b)), 4, 4) for b in range(3)]
    maps, groups = grouped_maps(dict(enumerate(recorded)), PLAN, each_token=each)
    assert [groups.count(k) for k in (0, 1)] == counts
    if not each:
        torch.testing.assert_close(maps[1], recorded[0][1:3].mean(0))


@pytest.mark.parametrize("k", [1, 3, 8])
def test_k_concepts_of_one_token_make_k_times_k_plus_2_maps(k: int):
    plan = TokenPlan(tuple(Concept(str(i), tuple((i + 1,) for _ in range(k + 1)), (i + 20,)) for i in range(k)))
    recorded = {b: torch.rand(len(plan.columns(b)), 2, 2) for b in range(k + 1)}
    maps, groups = grouped_maps(recorded, plan, each_token=True)
    assert len(maps) == k * (k + 2)
    assert [groups.count(concept) for concept in range(k)] == [k + 2] * k
