"""Losses that several objectives are made of."""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from semirobust.objectives.base.objective import Step

__all__ = ["cross_entropy_of", "divergence"]


def cross_entropy_of(step: Step) -> Callable[[Tensor], Tensor]:
    """The cross entropy on perturbed images: ``x_adv -> (N,)``, in nats."""
    return lambda x_adv: F.cross_entropy(step.model(x_adv), step.y, reduction="none")


def divergence(clean: Tensor, perturbed: Tensor) -> Tensor:
    """KL(softmax clean || softmax perturbed) of two logits (N, C): (N,), in nats.

    Finite even where a probability underflows, since it is computed from logarithms.
    """
    return F.kl_div(perturbed.log_softmax(1), clean.log_softmax(1), reduction="none", log_target=True).sum(1)
