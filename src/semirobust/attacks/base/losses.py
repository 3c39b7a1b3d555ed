"""Losses on logits that attacks raise."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from semirobust.core.devices import costs_a_wait
from semirobust.core.margin import margin

__all__ = ["LogitLoss", "cross_entropy", "dlr", "dlr_targeted"]

LogitLoss = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""``loss(logits (n, C), y (n,), target (n,) or None) -> (n,)``; high where the attack wants to be."""

_TINY = 1e-12
_FAINT = 1e-3


def cross_entropy(logits_nC: Tensor, y: Tensor, target: Tensor | None = None) -> Tensor:
    """-log softmax(z)_y, of logits that hardly differ after a scaling by a power of two (ours): single
    precision would not tell their losses apart.
    """
    spread = (logits_nC.amax(1) - logits_nC.amin(1)).detach()
    faint = (spread > 0) & (spread < _FAINT)
    if costs_a_wait(faint) or bool(faint.any()):
        _, exponent = torch.frexp(spread.float())
        exponent = torch.where(faint, exponent, 0)  # the others' may be anything, and a gradient passes here
        logits_nC = torch.where(faint[:, None], torch.ldexp(logits_nC, -exponent[:, None]), logits_nC)
    return F.cross_entropy(logits_nC, y, reduction="none")


def dlr(logits_nC: Tensor, y: Tensor, target: Tensor | None = None) -> Tensor:
    """Difference of logits ratio, (max_{k != y} z_k - z_y) / (z_(1) - z_(3)) with z_(i) the i-th largest.

    Source: Croce & Hein 2020, section 4.1. Invariant under shifting and scaling the logits. With two classes
    there is no third logit and the ratio would be constant; the plain difference stands in for it (ours)."""
    difference = margin(logits_nC, y)
    if logits_nC.shape[1] < 3:
        return difference
    top = logits_nC.topk(3, dim=1).values
    return difference / (top[:, 0] - top[:, 2] + _TINY)


def dlr_targeted(logits_nC: Tensor, y: Tensor, target: Tensor | None) -> Tensor:
    """(z_target - z_y) / (z_(1) - (z_(3) + z_(4)) / 2) (Croce & Hein 2020, section 4.1).

    With three classes the divisor is z_(1) - z_(3), with two there is none (ours): the reference fails below
    four."""
    difference = margin(logits_nC, y, target)
    classes = logits_nC.shape[1]
    if classes < 3:
        return difference
    top = logits_nC.topk(min(classes, 4), dim=1).values
    return difference / (top[:, 0] - top[:, 2:].mean(1) + _TINY)
