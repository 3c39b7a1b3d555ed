"""Adversarial weight perturbation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from semirobust.core.errors import InputError
from semirobust.training.hooks import HOOKS, AbstractHook
from semirobust.training.hooks.base.hook import AbstractHookState

if TYPE_CHECKING:
    from semirobust.training.run import Run

__all__ = ["AWP"]

_TINY = 1e-20


@HOOKS.register("awp")
@dataclass(frozen=True)
class AWP(AbstractHook):
    """min_w max_v of the outer loss at w + v, |v_l| <= gamma |w_l| for each layer's weight (Wu et al. 2020,
    equation 7).

    v is one normalised gradient step: v_l = gamma |w_l| g_l / |g_l|. The authors take it on a copy of the
    network by one step of SGD. The normalisation undoes the length of that step, so the gradient itself gives
    the same v without a copy. As in their code, biases and norms are not perturbed, batch statistics move by
    the outer loss at w + v, and v is taken back after the step.

    Args:
        gamma: radius, a fraction of each weight's norm; 0.01 for adversarial training and 0.005 for TRADES in
            the authors' scripts.
        warm_up: epochs before it begins.
    """

    gamma: float = 0.01
    warm_up: int = 0

    def __post_init__(self) -> None:
        if not self.gamma >= 0 or self.warm_up < 0:
            raise InputError(f"gamma and warm_up: expected at least 0, got {self.gamma} and {self.warm_up}")

    def begin(self, run: "Run") -> AbstractHookState:
        return _State(self, run)

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
        gradients = torch.autograd.grad(loss(), list(weights.values()), allow_unused=True)
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(before[name])
            pairs = zip(weights.items(), gradients, strict=True)
            return {n: self.gamma * w.norm() / (g.norm() + _TINY) * g for (n, w), g in pairs if g is not None}


class _State(AbstractHookState):
    def __init__(self, hook: AWP, run: "Run") -> None:
        self._hook, self._run = hook, run
        self._offsets: dict[str, Tensor] = {}

    def before_loss(self, loss: Callable[[], Tensor]) -> None:
        self._offsets = {}
        if self._hook.gamma > 0 and self._run.state.epoch >= self._hook.warm_up:
            self._offsets = self._hook.offsets(self._run.model, loss)
            self._run.processes.mean_(self._offsets.values())
            self._move_weights(1)

    def after_optimiser(self) -> None:
        self._move_weights(-1)

    def _move_weights(self, sign: int) -> None:
        named = dict(self._run.model.named_parameters())
        with torch.no_grad():
            for name, offset in self._offsets.items():
                named[name].add_(offset, alpha=sign)
