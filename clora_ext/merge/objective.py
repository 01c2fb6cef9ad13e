"""The contrastive objective of LoRACLR (arXiv 2412.09622), normalised, and its closed forms.

For LoRA i with the delta D_i and inputs whose mean second moment is C_i, the distance of a merged delta W from any
other delta D on these inputs is ||W - D||_i = sqrt(tr((W - D) C_i (W - D)')): the root mean square of its outputs.

    pull(i) = ||W - D_i||_i^2 / s^2                             s^2 = mean over i of ||D_i||_i^2
    push(i) = max(0, margin - min over j of n_ij)^2             n_ij = ||W - D_j||_i / ||D_i - D_j||_i
    loss    = mean of (pull + push) + ridge * t * ||W - W_0||^2 / s^2

t is the mean of the diagonal of the mean of all C_i; W_0 is what the inputs that are known do not speak against.
n_ij is 1 where W does what LoRA i does, and 0 where it does what LoRA j would have done there. Base weights and
outputs are not in it, so that sums over the inputs are all that has to be kept of them. The paper compares with what
the others give for their own inputs instead: that is ``merge.official``.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

_ALIKE = 1e-4
"""LoRAs whose outputs differ by less than this share of the usual one are not pushed apart."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A layer's LoRAs in the coordinates of a span: ``targets`` [lora, p, q] and ``moments`` [lora, q, q]."""

    targets: Tensor
    moments: Tensor
    start: Tensor | None = None
    """W_0, [p, q]; nothing by default."""

    @property
    def begun(self) -> Tensor:
        """W_0."""
        return torch.zeros_like(self.targets[0]) if self.start is None else self.start

    def squares(self, delta: Tensor) -> Tensor:
        """||delta||_i^2 of [p, q] for every i, or of [lora, p, q] for each its own."""
        return ((delta @ self.moments) * delta).sum((-1, -2)).clamp(min=0.0)

    @property
    def usual(self) -> Tensor:
        """s^2."""
        return self.squares(self.targets).mean()

    @property
    def ridge_unit(self) -> Tensor:
        """t, by which a ridge does not depend on the size of the inputs."""
        return self.moments.mean(0).diagonal().mean()

    def pull(self, delta: Tensor) -> Tensor:
        """How far ``delta`` is from each LoRA's own, [lora]; 1 is as far as no delta at all usually is."""
        return self.squares(delta - self.targets) / self.usual

    def pairs(self) -> Tensor:
        """||D_i - D_j||_i^2 / s^2, [i, j]."""
        apart = [self.squares(self.targets - other) for other in self.targets]
        return torch.stack(apart, dim=1) / self.usual

    def nearness(self, delta: Tensor, pairs: Tensor) -> Tensor:
        """n_ij, [i, j]; infinite for a LoRA and itself, and for two that do the same on these inputs."""
        away = torch.stack([self.squares(delta - other) for other in self.targets], dim=1) / self.usual
        counted = pairs > _ALIKE**2
        ratio = torch.where(counted, away, 1.0) / torch.where(counted, pairs, 1.0)
        return torch.where(counted, ratio.clamp(min=1e-12).sqrt(), torch.inf)

    def loss(self, delta: Tensor, margin: float, ridge: float, pairs: Tensor | None = None) -> Tensor:
        """The objective, a scalar."""
        found = self.pull(delta)
        if margin > 0:
            nearest = self.nearness(delta, self.pairs() if pairs is None else pairs).amin(dim=1)
            found = found + (margin - nearest).clamp(min=0.0).square()
        small = (delta - self.begun).square().sum() * self.ridge_unit / self.usual
        return found.mean() + ridge * small


def closed_forms(problem: Problem, ridges: tuple[float, ...]) -> Iterator[Tensor]:
    """The least of ``Problem.loss`` without a margin, for each ridge.

    That is W_0 + (sum (D_i - W_0) C_i) (sum C_i + n ridge t)^-1; with a ridge of 0, of all that are as good the one
    that is nearest to W_0. All come from one decomposition, in double precision.
    """
    total, wanted = _normal(problem)
    values, vectors = torch.linalg.eigh(total)
    start = problem.begun.double()
    turned = (wanted - start @ total) @ vectors
    least = values[-1].clamp(min=0.0) * len(values) * torch.finfo(problem.moments.dtype).eps
    for ridge in ridges:
        known = values > least
        bottom = torch.where(known, values, 0.0) + ridge * problem.ridge_unit.double()
        inverse = torch.where(bottom > 0, 1.0 / torch.where(bottom > 0, bottom, 1.0), 0.0)
        yield (start + (turned * inverse) @ vectors.T).to(problem.targets)


def _normal(problem: Problem) -> tuple[Tensor, Tensor]:
    """The means of C_i [q, q] and of D_i C_i [p, q] over the LoRAs, in double precision, one LoRA at a time."""
    moments, targets = problem.moments, problem.targets
    total, wanted = moments.new_zeros(moments[0].shape).double(), targets.new_zeros(targets[0].shape).double()
    for target, moment in zip(targets, moments, strict=True):
        total += moment.double()
        wanted += target.double() @ moment.double()
    return total / len(moments), wanted / len(moments)


def pushed(problem: Problem, delta: Tensor, margin: float, ridge: float, pairs: Tensor) -> Tensor:
    """The next guess after ``delta`` at the least of the loss, by one more closed form.

    Where the push acts, (margin - n)^2 = margin^2 + n^2 - 2 margin n, and -n is at most its tangent at ``delta``: what
    is left is a sum of squares, whose least is a linear system (a step of the concave-convex procedure). The loss of
    the pairs that are pushed now can not rise; another pair may come too near.
    """
    near, which = problem.nearness(delta, pairs).min(dim=1)
    left, right = _normal(problem)
    shrink = ridge * problem.ridge_unit.double()
    left = left + shrink * torch.eye(len(left), dtype=left.dtype, device=left.device)
    right = right + shrink * problem.begun.double()
    for lora in (near < margin).nonzero().flatten().tolist():
        other = problem.targets[which[lora]]
        share = 1.0 / (pairs[lora, which[lora]] * len(near))
        moment = problem.moments[lora].double() * share.double()
        away = (delta - other) * (margin / near[lora])
        left = left + moment
        right = right + (other + away).double() @ moment
    found: Tensor = torch.linalg.solve(left, right, left=False)
    return found.to(delta)
