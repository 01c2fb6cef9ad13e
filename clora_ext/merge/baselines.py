"""Known ways to merge LoRAs from their numbers alone, and one from the inputs of their layers: what ours is held to.

Each is of one layer. A layer that a single LoRA changes stays as it is, by every method.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from zlib import crc32

import torch
from torch import Tensor

from clora_ext.merge.inputs import MergeLora, deltas_at, layers_of
from clora_ext.merge.layer import FactoredDelta, LayerDelta, MatrixDelta, are_factored
from clora_ext.merge.lowrank import rank_of_energy, singular, truncated

SSR_RIDGE = 1e-4
"""What SSR-Merge adds to the diagonal of its mean Gram matrix."""


@dataclass(frozen=True, slots=True)
class BaselineNumbers:
    """What can be chosen."""

    rank: int | None = None
    """Of ``svd``; by default the largest of the LoRAs."""
    density: float = 0.2
    """The share of numbers that TIES and DARE keep; 0.2 as in TIES (arXiv 2306.01708)."""
    seed: int = 0
    """Of the numbers that DARE drops."""
    energy: float = 0.5
    """The share of the other LoRAs' energy whose directions ``orthogonal`` keeps clear of."""


Baseline = Callable[[Sequence[LayerDelta], BaselineNumbers], LayerDelta]
"""One delta of the deltas of a layer, each at its ratio."""


def merged_by(method: str, deltas: Sequence[LayerDelta], numbers: BaselineNumbers) -> LayerDelta:
    """What the baseline ``method`` makes of a layer's ``deltas``, which are of one shape; biases are added up."""
    if len(deltas) == 1:
        return deltas[0]
    found, bias = BASELINES[method](deltas, numbers), _bias(deltas)
    return found if bias is None else MatrixDelta(found.shape, found.matrix, bias)


def merged_layers(
    method: str, loras: Sequence[MergeLora], numbers: BaselineNumbers
) -> Iterator[tuple[str, LayerDelta]]:
    """Every layer of ``loras`` merged by a baseline, one at a time. Raises ``LoraError`` as ``MergeLora.delta``."""
    for layer, those in layers_of(loras).items():
        yield layer, merged_layer(method, layer, those, numbers)


def merged_layer(method: str, layer: str, loras: Sequence[MergeLora], numbers: BaselineNumbers) -> LayerDelta:
    """One of them, which all of ``loras`` change."""
    own = replace(numbers, seed=numbers.seed + crc32(layer.encode()))  # chance is another one in every layer
    return merged_by(method, list(deltas_at(layer, loras)), own)


def _bias(deltas: Sequence[LayerDelta]) -> Tensor | None:
    found = [delta.bias for delta in deltas if delta.bias is not None]
    return torch.stack(found).sum(0) if found else None


# -- sums --------------------------------------------------------------------------------------------------------------


def weighted_sum(deltas: Sequence[LayerDelta], _: BaselineNumbers) -> MatrixDelta:
    """Their sum, which is what a host draws with all of their tags, and kohya's tool merges into a checkpoint."""
    return MatrixDelta(deltas[0].shape, reduce(torch.add, (delta.matrix for delta in deltas)))


def concat(deltas: Sequence[LayerDelta], numbers: BaselineNumbers) -> LayerDelta:
    """The same sum exactly, as factors one beside the other while those are smaller than the matrix."""
    if not are_factored(deltas):
        return weighted_sum(deltas, numbers)
    return FactoredDelta(deltas[0].shape, torch.cat([_up(delta) for delta in deltas], 1), stacked_downs(deltas))


def svd(deltas: Sequence[LayerDelta], numbers: BaselineNumbers) -> LayerDelta:
    """The same sum at a rank."""
    return truncated(concat(deltas, numbers), numbers.rank or max(delta.rank for delta in deltas))


def _up(delta: LayerDelta) -> Tensor:
    """The factor up; of a matrix itself, whose factor down is 1."""
    return delta.up if isinstance(delta, FactoredDelta) else delta.matrix


def stacked_downs(deltas: Sequence[LayerDelta]) -> Tensor:
    """The factors down [ranks of all, in] one below the other; as ``as_factors`` gives them."""
    return torch.cat([as_factors(delta).down for delta in deltas])


def as_factors(delta: LayerDelta) -> FactoredDelta:
    """The same as two factors; a matrix by its singular values."""
    return delta if isinstance(delta, FactoredDelta) else truncated(delta, delta.rank)


# -- TIES and DARE -----------------------------------------------------------------------------------------------------


def ties(deltas: Sequence[LayerDelta], numbers: BaselineNumbers) -> MatrixDelta:
    """TIES (arXiv 2306.01708): each LoRA's largest numbers, and of those the mean of all of the sign that outweighs."""
    matrices = torch.stack([delta.matrix for delta in deltas])
    return MatrixDelta(deltas[0].shape, _elected(matrices, numbers.density))


def _elected(matrices: Tensor, density: float) -> Tensor:
    """[LoRA, out, in] to [out, in]."""
    kept = torch.stack([_largest(matrix, density) for matrix in matrices])
    sign = torch.where(kept.sum(0) >= 0, 1.0, -1.0)
    agree = kept.sign() == sign
    return (kept * agree).sum(0) / agree.sum(0).clamp(min=1)


def _largest(matrix: Tensor, density: float) -> Tensor:
    """The share ``density`` of the numbers with the largest sizes, zero for the others."""
    flat = matrix.flatten()
    places = flat.abs().topk(max(int(density * len(flat)), 1)).indices
    return torch.zeros_like(flat).index_copy_(0, places, flat[places]).view_as(matrix)


def dare(deltas: Sequence[LayerDelta], numbers: BaselineNumbers) -> MatrixDelta:
    """DARE (arXiv 2311.03099): the sum of numbers of which chance drops most, the rest made larger to match."""
    generator = torch.Generator().manual_seed(numbers.seed)
    found = torch.zeros_like(deltas[0].matrix)
    for delta in deltas:
        kept = torch.rand(found.shape, generator=generator) < numbers.density
        found += delta.matrix * kept.to(found.device) / numbers.density
    return MatrixDelta(deltas[0].shape, found)


def core_ties(deltas: Sequence[LayerDelta], numbers: BaselineNumbers) -> FactoredDelta:
    """TIES in Core Space (arXiv 2509.17786): on each LoRA's small matrix between directions that all share."""
    left = torch.linalg.svd(torch.cat([_up(delta) for delta in deltas], 1), full_matrices=False)[0]
    downs = [delta.down if isinstance(delta, FactoredDelta) else delta.matrix for delta in deltas]
    right = torch.linalg.svd(torch.cat(downs), full_matrices=False)[2]
    cores = torch.stack([left.T @ delta.matrix @ right.T for delta in deltas])
    return FactoredDelta(deltas[0].shape, left, _elected(cores, numbers.density) @ right)


# -- projections -------------------------------------------------------------------------------------------------------


def orthogonal(deltas: Sequence[LayerDelta], numbers: BaselineNumbers) -> LayerDelta:
    """The sum of LoRAs of which each is blind to the inputs that the others look at most.

    NP-LoRA (arXiv 2511.11051) does so for a subject beside a style; here all are alike.
    """
    kept = [_beside(delta, [*deltas[:place], *deltas[place + 1 :]], numbers) for place, delta in enumerate(deltas)]
    return concat(kept, numbers)


def _beside(delta: LayerDelta, others: Sequence[LayerDelta], numbers: BaselineNumbers) -> FactoredDelta:
    weighed = [values[:, None] * v for _, values, v in map(singular, others)]
    _, values, directions = torch.linalg.svd(torch.cat(weighed), full_matrices=False)
    taken = directions[: rank_of_energy(values, numbers.energy)]
    own = as_factors(delta)
    return FactoredDelta(own.shape, own.up, own.down - own.down @ taken.T @ taken)


def ssr(deltas: Sequence[LayerDelta], grams: Sequence[Tensor], ridge: float = SSR_RIDGE) -> FactoredDelta:
    """SSR-Merge (arXiv 2606.10617): what each LoRA sees of its own texts is routed to its own way up.

    ``grams`` [ranks of all, ranks of all] are of each LoRA the mean of z z' for ``stacked_downs`` times the inputs
    under that LoRA. R = Q G^-1 with G their sum, and Q that block of rows of each which is the LoRA's own.
    """
    own = [as_factors(delta) for delta in deltas]
    blocks = torch.cat([torch.full((delta.rank,), place) for place, delta in enumerate(own)])
    each = torch.stack([gram.double() for gram in grams]) / len(grams)
    routed = each[blocks, torch.arange(len(blocks))]
    whole = each.sum(0) + ridge * torch.eye(len(blocks), dtype=torch.float64, device=each.device)
    router = torch.linalg.solve(whole, routed, left=False).to(own[0].up)
    return FactoredDelta(deltas[0].shape, torch.cat([delta.up for delta in own], 1) @ router, stacked_downs(deltas))


BASELINES: Mapping[str, Baseline] = {
    "weighted_sum": weighted_sum,
    "concat": concat,
    "svd": svd,
    "ties": ties,
    "dare": dare,
    "core_ties": core_ties,
    "orthogonal": orthogonal,
}
"""By name; SSR-Merge wants inputs besides."""
