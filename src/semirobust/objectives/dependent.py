"""Adversarial training that also asks consecutive layers to depend on each other."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from semirobust.core.errors import InputError
from semirobust.dependence.base.unbiased import unbiased_from_kernels
from semirobust.layers.features import features
from semirobust.objectives import OBJECTIVES
from semirobust.objectives.base.losses import cross_entropy_of
from semirobust.objectives.base.objective import AbstractObjective, Step

__all__ = ["Dependent", "DependsOn", "alignment"]

DependsOn = Literal["before", "prefix"]
"""Which layer a layer is to depend on: the one before it, or the last one before all that train."""

_MIN_CLASS = 4  # images for which the estimate is defined
_ROUNDING = 1e-6  # a spread below this fraction of the kernel's squared norm is rounding


@OBJECTIVES.register("dependent")
@dataclass(frozen=True)
class Dependent(AbstractObjective):
    """min E[ max_delta CE(f(x + delta), y) ] - weight * mean_j D(F_i; F_j | Y) over the layers j that train,
    at x + delta.

    The semirobustness paper (section 5) names training that enforces dependence as future work; this form is
    ours. D is :func:`alignment` within each class of the batch: 1 for equal features, and 0 on average for
    independent ones. Consecutive layers are near 1 without being asked, in an untrained network too, which
    leaves a term of theirs nothing to do. The dependence on the prefix falls along the suffix.

    Args:
        dependence: the kernels of D: Gaussian ones (``hsic``) or linear ones (``cka``).
        weight: of the dependence; below 0 it asks for less of it.
        on: the layer i that j is to depend on: the one ``before`` it, or the last one of the ``prefix``,
            before all that train.
    """

    needs_one_label: ClassVar[str] = "dependence is measured within the images of one label"

    dependence: Literal["hsic", "cka"] = "hsic"
    weight: float = 0.5
    on: DependsOn = "before"

    def inner(self, step: Step) -> Callable[[Tensor], Tensor]:
        return cross_entropy_of(step)

    def outer(self, step: Step, x_adv: Tensor) -> Tensor:
        before = {j: i for j in step.selected if (i := step.layers.at(j).before)}
        pairs = [(before[j] if self.on == "before" else min(before.values()), j) for j in before]
        if not pairs:
            raise InputError(
                "layers: expected one behind another to train, since the first layer depends on no other"
            )
        wanted = {i for pair in pairs for i in pair}
        with features(step.model, step.layers, wanted) as tape:
            loss = F.cross_entropy(step.model(x_adv), step.y)
        rows = {i: step.layers.at(i).per_example(tape[i], len(step.x)) for i in wanted}
        alignments = [alignment(rows[i], rows[j], step.y, kernel=self.dependence) for i, j in pairs]
        return loss - self.weight * torch.stack(alignments).mean()


def alignment(a: Tensor, b: Tensor, y: Tensor, *, kernel: Literal["hsic", "cka"] = "hsic") -> Tensor:
    """Kernel alignment of (n, p) and (n, q) within the classes ``y`` (n,), a scalar ():

    sum_c H_c(a, b) / sqrt(sum_c H_c(a, a) sum_c H_c(b, b)), clipped to [-1, 1].

    H_c is the unbiased estimate of HSIC (Song et al. 2012, equation 5) on the n_c images of class c, times
    n_c (n_c - 3). It needs four images; smaller classes are left out, and the alignment is 0 where all are.
    The alignment is 1 for a side with itself. For independent sides it is 0 on average, however wide they
    are; the biased form would give 0.96 for 64 images. Kernels are Gaussian of median width (``hsic``) or
    linear (``cka``).
    """
    # Differences of sums of products need full precision.
    with torch.autocast(a.device.type, enabled=False):
        k, m = (_gaussian(rows) if kernel == "hsic" else _linear(rows, y) for rows in (_full(a), _full(b)))
        blocks = [torch.nonzero(y == label).squeeze(1) for label in y.unique()]
        kernels = [(k[rows][:, rows], m[rows][:, rows]) for rows in blocks if len(rows) >= _MIN_CLASS]
        nothing = 0 * (a.sum() + b.sum())  # 0 with a gradient, so that training goes through it
        if not kernels:
            return nothing
        both, one, two = (torch.stack([_hsic(*pair) for pair in pairs]).sum() for pairs in _pairs(kernels))
        size_k, size_m = (
            sum(float(pair[side].detach().square().sum()) for pair in kernels) for side in (0, 1)
        )
        if not (float(one.detach()) > _ROUNDING * size_k and float(two.detach()) > _ROUNDING * size_m):
            return nothing  # a side that is constant within every class
        return (both / (one * two).sqrt()).clamp(-1, 1)


def _full(rows: Tensor) -> Tensor:
    return rows if rows.dtype == torch.float64 else rows.float()


def _pairs(kernels: list[tuple[Tensor, Tensor]]) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """The pairs (k, m), (k, k) and (m, m) of every class."""
    yield kernels
    yield [(k, k) for k, _ in kernels]
    yield [(m, m) for _, m in kernels]


def _linear(rows: Tensor, y: Tensor) -> Tensor:
    """Products of rows minus the mean of their class.

    The unbiased estimate is the same with and without the means, but large ones would cost digits.
    """
    same = (y[:, None] == y).to(rows.dtype)
    centred = rows - same / same.sum(1, keepdim=True) @ rows
    return centred @ centred.T


def _gaussian(rows: Tensor) -> Tensor:
    """Gaussian kernel exp(-d^2 / (2 s^2)), s^2 the median of d^2 between different rows."""
    squared = rows.square().sum(1)
    distances = (squared[:, None] + squared - 2 * rows @ rows.T).clamp_min(0)  # squared
    width = distances[~torch.eye(len(rows), dtype=torch.bool, device=rows.device)].median()
    floor = torch.finfo(rows.dtype).eps * squared.mean().detach() + torch.finfo(rows.dtype).tiny
    # The floor is for rows that are equal up to rounding.
    return torch.exp(-distances / (2 * width).clamp_min(floor))


def _hsic(k: Tensor, m: Tensor) -> Tensor:
    """n (n - 3) times the unbiased estimate, from two kernels of one class."""
    off = 1 - torch.eye(len(k), dtype=k.dtype, device=k.device)
    return unbiased_from_kernels(k * off, m * off)
