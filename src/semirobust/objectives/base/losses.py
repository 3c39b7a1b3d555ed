"""Losses that several objectives are made of."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from semirobust.objectives.base.objective import Step

__all__ = ["cross_entropy", "cross_entropy_of", "divergence", "shares_of"]

_ALL = slice(None)


def cross_entropy(
    step: Step, logits: Tensor, rows: slice = _ALL, *, smoothing: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """The cross entropy of logits (n, C) of the images ``rows`` to their labels, in nats.

    Of images that were mixed it is that to each label, by its share.
    """
    target = step.y[rows] if step.shares is None else shares_of(step, logits)[rows]
    return F.cross_entropy(logits, target, label_smoothing=smoothing, reduction=reduction)


def shares_of(step: Step, logits: Tensor) -> Tensor:
    """How much of each image is of each of the C outputs: (N, C), a 1 and zeros where images have one label.

    A network may have more outputs than the images have classes.
    """
    outputs = logits.shape[1]
    if step.shares is None:
        return F.one_hot(step.y, outputs).to(logits.dtype)
    full = torch.promote_types(logits.dtype, torch.float32)
    return F.pad(step.shares.to(full), (0, outputs - step.shares.shape[1]))


def cross_entropy_of(step: Step) -> Callable[[Tensor], Tensor]:
    """The cross entropy on perturbed images: ``x_adv -> (N,)``, in nats."""
    return lambda x_adv: cross_entropy(step, step.model(x_adv), reduction="none")


def divergence(clean: Tensor, perturbed: Tensor) -> Tensor:
    """KL(softmax clean || softmax perturbed) of two logits (N, C): (N,), in nats.

    Finite even where a probability underflows, since it is computed from logarithms.
    """
    return F.kl_div(perturbed.log_softmax(1), clean.log_softmax(1), reduction="none", log_target=True).sum(1)
