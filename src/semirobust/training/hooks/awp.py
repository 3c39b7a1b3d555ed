"""Adversarial weight perturbation."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from semirobust.core.errors import InputError

__all__ = ["AWP"]

_TINY = 1e-20


@dataclass(frozen=True)
class AWP:
    """min_w max_v of the outer loss at w + v, |v_l| <= gamma |w_l| for each layer's weight (Wu et al. 2020,
    equation 7).

    v is one normalised gradient step: v_l = gamma |w_l| g_l / |g_l|. The authors take it on a copy of the
    network by one step of SGD, whose length the normalisation undoes, so the gradient itself does, without a
    copy. As theirs, it spares biases and norms, the outer loss at w + v is what trains and moves batch
    statistics, and v is taken back after the step.

    Args:
        gamma: radius, a share of each weight's norm; 0.01 for adversarial training and 0.005 for TRADES in
            the authors' scripts.
        warm_up: epochs before it begins.
    """

    gamma: float
    warm_up: int = 0

    def __post_init__(self) -> None:
        if not self.gamma >= 0 or self.warm_up < 0:
            raise InputError(f"gamma and warm_up: expected at least 0, got {self.gamma} and {self.warm_up}")

    def offsets(self, model: nn.Module, loss: Callable[[], Tensor]) -> dict[str, Tensor]:
        """v for each weight that trains; ``loss`` runs the model in train mode, whose batch statistics are
        left as they were.
        """
        weights = {
            n: p for n, p in model.named_parameters() if p.requires_grad and p.dim() > 1 and "weight" in n
        }
        if not weights:
            return {}
        before = {name: buffer.clone() for name, buffer in model.named_buffers()}
        slopes = torch.autograd.grad(loss(), list(weights.values()), allow_unused=True)
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(before[name])
            pairs = zip(weights.items(), slopes, strict=True)
            return {n: self.gamma * w.norm() / (g.norm() + _TINY) * g for (n, w), g in pairs if g is not None}
