"""Each known way to merge against a slow one, and what has to hold of all of them."""

from itertools import product
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from clora_ext.merge.baselines import BASELINES, BaselineNumbers, merged_by, merged_layers, ssr, stacked_downs
from clora_ext.merge.inputs import Ingredient, read_ingredients
from clora_ext.merge.layer import FactoredDelta, LayerDelta, MatrixDelta
from clora_ext.merge.lowrank import rank_of_energy, relative_error, singular, truncated

OUT, IN = 12, 10
NUMBERS = BaselineNumbers()


def _factored(seed: int, rank: int = 2) -> FactoredDelta:
    generator = torch.Generator().manual_seed(seed)
    up, down = torch.randn(OUT, rank, generator=generator), torch.randn(rank, IN, generator=generator)
    return FactoredDelta((OUT, IN), up, down)


def _whole(seed: int) -> MatrixDelta:
    generator = torch.Generator().manual_seed(seed)
    return MatrixDelta((OUT, IN), torch.randn(OUT, IN, generator=generator), torch.randn(OUT, generator=generator))


SETS = {"factors": [_factored(n, 1 + n) for n in range(3)], "mixed": [_factored(0), _whole(1), _factored(2)]}


@pytest.mark.parametrize("method", BASELINES)
@pytest.mark.parametrize("delta", [_factored(0), _whole(1)], ids=["factors", "whole"])
def test_one_lora_merges_into_itself(method: str, delta: LayerDelta):
    assert merged_by(method, [delta], NUMBERS) is delta


@pytest.mark.parametrize("kind", SETS)
@pytest.mark.parametrize("method", [method for method in BASELINES if method != "dare"])
def test_the_order_changes_nothing(method: str, kind: str):
    one, other = (merged_by(method, deltas, NUMBERS) for deltas in (SETS[kind], SETS[kind][::-1]))
    torch.testing.assert_close(one.matrix, other.matrix, rtol=1e-3, atol=1e-4)
    assert (one.bias is None) == (kind == "factors")


@pytest.mark.parametrize("kind", SETS)
def test_sum_and_concat_are_the_sum(kind: str):
    obvious = torch.zeros(OUT, IN)
    for delta, row, column in product(SETS[kind], range(OUT), range(IN)):
        obvious[row, column] += delta.matrix[row, column]
    for method in ("weighted_sum", "concat"):
        torch.testing.assert_close(merged_by(method, SETS[kind], NUMBERS).matrix, obvious)
    joined = merged_by("concat", SETS[kind], NUMBERS)
    assert joined.rank == (6 if kind == "factors" else IN)
    assert isinstance(joined, FactoredDelta) == (kind == "factors")


def test_biases_are_added_up():
    found = merged_by("ties", [_whole(1), _factored(0), _whole(2)], NUMBERS)
    torch.testing.assert_close(found.bias, _whole(1).bias + _whole(2).bias)


def test_factors_that_are_larger_than_the_matrix_become_one():
    many = [_factored(seed, 4) for seed in range(3)]
    assert isinstance(merged_by("concat", many, NUMBERS), MatrixDelta)


# -- low rank ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SETS)
@pytest.mark.parametrize("rank", [1, 3, 99])
def test_the_svd_merge_is_the_nearest_of_its_rank(kind: str, rank: int):
    whole = sum(delta.matrix for delta in SETS[kind])
    u, values, v = torch.linalg.svd(whole, full_matrices=False)
    nearest = (u[:, :rank] * values[:rank]) @ v[:rank]
    found = merged_by("svd", SETS[kind], BaselineNumbers(rank=rank))
    torch.testing.assert_close(found.matrix, nearest, rtol=1e-4, atol=1e-4)
    left = values[rank:].norm() / values.norm()
    assert relative_error(found.matrix, MatrixDelta((OUT, IN), whole)) == pytest.approx(float(left), abs=1e-5)


def test_by_default_its_rank_is_the_largest():
    assert merged_by("svd", SETS["factors"], NUMBERS).rank == 3


def test_factors_of_a_rank_are_of_equal_size():
    found = truncated(_factored(0, 4), 4)
    torch.testing.assert_close(found.up.norm(dim=0), found.down.norm(dim=1))


def test_singular_values_of_factors_are_those_of_the_matrix():
    delta = _factored(3, 4)
    u, values, v = singular(delta)
    torch.testing.assert_close(values, torch.linalg.svdvals(delta.matrix)[:4])
    torch.testing.assert_close((u * values) @ v, delta.matrix)


@pytest.mark.parametrize(("energy", "rank"), [(0.5, 1), (0.81, 2), (0.99, 3), (1.0, 3)])
def test_energy_tells_the_rank(energy: float, rank: int):
    assert rank_of_energy(torch.tensor([2.0, 1.0, 0.5]).sqrt() * 2, energy) == (rank if energy < 1 else 3)
    assert rank_of_energy(torch.zeros(3), energy) == 1


# -- TIES, DARE --------------------------------------------------------------------------------------------------------


def _slow_ties(matrices: list[Tensor], density: float) -> Tensor:
    """Number by number, from the paper's three steps."""
    found = torch.zeros_like(matrices[0])
    kept = []
    for matrix in matrices:
        sizes = sorted(matrix.abs().flatten().tolist(), reverse=True)
        least = sizes[int(density * len(sizes)) - 1]
        kept.append([[value if abs(value) >= least else 0.0 for value in row] for row in matrix.tolist()])
    for row, column in product(*(range(size) for size in found.shape)):
        values = [matrix[row][column] for matrix in kept]
        sign = 1 if sum(values) >= 0 else -1
        agreeing = [value for value in values if value * sign > 0]
        found[row, column] = sum(agreeing) / len(agreeing) if agreeing else 0.0
    return found


@pytest.mark.parametrize("density", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("kind", SETS)
def test_ties_is_the_papers(kind: str, density: float):
    found = merged_by("ties", SETS[kind], BaselineNumbers(density=density))
    torch.testing.assert_close(found.matrix, _slow_ties([delta.matrix for delta in SETS[kind]], density))


def test_ties_of_equal_loras_is_one_of_them():
    found = merged_by("ties", [_factored(0), _factored(0)], BaselineNumbers(density=1.0))
    torch.testing.assert_close(found.matrix, _factored(0).matrix)


def test_dare_drops_numbers_and_keeps_their_mean():
    deltas = SETS["factors"]
    seeds = [merged_by("dare", deltas, BaselineNumbers(density=0.4, seed=seed)).matrix for seed in range(400)]
    again = merged_by("dare", deltas, BaselineNumbers(density=0.4, seed=3)).matrix
    assert torch.equal(seeds[3], again)
    assert not torch.equal(seeds[3], seeds[4])
    whole = sum(delta.matrix for delta in deltas)
    spread = torch.stack(seeds).std(0) / 20
    assert ((torch.stack(seeds).mean(0) - whole).abs() < 5 * spread + 1e-6).all()
    one = merged_by("dare", [deltas[0], deltas[0].scaled(0.0)], BaselineNumbers(density=0.4)).matrix
    share = one / deltas[0].matrix
    assert ((share.abs() < 1e-6) | ((share - 2.5).abs() < 1e-4)).all()
    assert merged_by("dare", deltas, BaselineNumbers(density=1.0)).matrix.allclose(whole, atol=1e-5)


def test_dare_drops_others_in_every_layer(tmp_path: Path):
    layers = [f"lora_unet_down_blocks_{n}_attentions_0_transformer_blocks_0_attn1_to_q" for n in range(2)]
    wanted = []
    for name in "ab":
        save_file({f"{layer}.diff": torch.ones(OUT, IN) for layer in layers}, str(tmp_path / f"{name}.safetensors"))
        wanted.append(Ingredient(tmp_path / f"{name}.safetensors"))
    found = dict(merged_layers("dare", read_ingredients(wanted), NUMBERS))
    assert sorted(found) == layers
    assert not torch.equal(found[layers[0]].matrix, found[layers[1]].matrix)
    again = dict(merged_layers("dare", read_ingredients(wanted), NUMBERS))
    assert all(torch.equal(found[layer].matrix, again[layer].matrix) for layer in layers)


@pytest.mark.parametrize("kind", SETS)
def test_core_ties_is_ties_between_the_shared_directions(kind: str):
    deltas = SETS[kind]
    ups = [delta.up if isinstance(delta, FactoredDelta) else delta.matrix for delta in deltas]
    downs = [delta.down if isinstance(delta, FactoredDelta) else delta.matrix for delta in deltas]
    left, right = torch.linalg.svd(torch.cat(ups, 1))[0], torch.linalg.svd(torch.cat(downs))[2]
    cores = [left.T @ delta.matrix @ right.T for delta in deltas]
    rank = (6, 6) if kind == "factors" else (OUT, IN)
    cut = [core[: rank[0], : rank[1]] for core in cores]
    assert all(core.square().sum() - part.square().sum() < 1e-3 for core, part in zip(cores, cut, strict=True))
    found = merged_by("core_ties", deltas, BaselineNumbers(density=0.5))
    obvious = left[:, : rank[0]] @ _slow_ties(cut, 0.5) @ right[: rank[1]]
    torch.testing.assert_close(found.matrix, obvious, rtol=1e-3, atol=1e-4)


# -- projections -------------------------------------------------------------------------------------------------------


def test_orthogonal_leaves_loras_that_see_other_inputs_alone():
    one, other = torch.zeros(2, IN), torch.zeros(2, IN)
    one[0, 0], one[1, 1], other[0, 2], other[1, 3] = 1.0, 2.0, 3.0, 4.0
    deltas = [FactoredDelta((OUT, IN), _factored(n).up, down) for n, down in enumerate((one, other))]
    found = merged_by("orthogonal", deltas, BaselineNumbers(energy=1.0))
    torch.testing.assert_close(found.matrix, deltas[0].matrix + deltas[1].matrix)


def test_orthogonal_is_each_on_what_the_other_does_not_see():
    one, other = _factored(0), _factored(1)
    found = merged_by("orthogonal", [one, other], BaselineNumbers(energy=1.0))
    blind = [torch.eye(IN) - torch.linalg.pinv(delta.down) @ delta.down for delta in (one, other)]
    obvious = one.matrix @ blind[1] + other.matrix @ blind[0]
    torch.testing.assert_close(found.matrix, obvious, rtol=1e-3, atol=1e-4)
    less = merged_by("orthogonal", [one, other], BaselineNumbers(energy=0.5))
    whole = one.matrix + other.matrix
    assert 0 < (less.matrix - whole).norm() < (found.matrix - whole).norm()


def _inputs(deltas: list[LayerDelta]) -> tuple[list[Tensor], list[Tensor]]:
    """Inputs under each LoRA, and all factors down of them."""
    inputs = [torch.randn(200, IN) + 2 * torch.randn(IN) for _ in deltas]
    return inputs, [x @ stacked_downs(deltas).T for x in inputs]


def test_ssr_is_the_least_squares_of_routed_signals():
    deltas = SETS["factors"]
    _, seen = _inputs(deltas)
    found = ssr(deltas, [z.T @ z / len(z) for z in seen], ridge=1e-9)
    mask = torch.block_diag(*[torch.ones(delta.rank) for delta in deltas])
    routed = torch.cat([z * row for z, row in zip(seen, mask, strict=True)])
    router = torch.linalg.lstsq(torch.cat(seen).double(), routed.double()).solution.T.float()
    obvious = torch.cat([delta.up for delta in deltas], 1) @ router @ stacked_downs(deltas)
    torch.testing.assert_close(found.matrix, obvious, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", SETS)
def test_ssr_answers_each_loras_inputs_more_as_that_lora_than_the_sum_does(kind: str):
    deltas = SETS[kind]
    inputs, seen = _inputs(deltas)
    found = ssr(deltas, [z.T @ z / len(z) for z in seen])
    whole = sum(delta.matrix for delta in deltas)
    missed, usual = 0.0, 0.0
    for x, delta in zip(inputs, deltas, strict=True):
        missed += float((x @ (found.matrix - delta.matrix).T).square().mean())
        usual += float((x @ (whole - delta.matrix).T).square().mean())
    assert missed < usual
