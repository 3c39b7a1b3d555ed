"""Free adversarial training."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from semirobust.attacks.base.attack import AbstractBallAttack
from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.threats import AbstractBall
from semirobust.training.hooks import HOOKS, AbstractHook
from semirobust.training.hooks.base.hook import AbstractHookState
from semirobust.training.hooks.base.perturbation import PERTURBS

if TYPE_CHECKING:
    from semirobust.training.run import Batch, Run
    from semirobust.training.training import Training

__all__ = ["Free"]


@HOOKS.register("free")
@dataclass(frozen=True)
class Free(AbstractHook):
    """Trains on a perturbation that rises by the backward passes which train the weights (Shafahi et al.
    2019, algorithm 1).

    Each batch is replayed several times. The backward pass of a replay gives the gradient of the weights and
    that of the images; the latter moves the perturbation by one step of length epsilon. The perturbation is
    carried from batch to batch, by position in the batch, as in the paper. It is found in train mode, on the
    network as it trains, so no pass is spent on an attack. The ball is that of the training's attack, which
    itself never runs.

    With several processes each has a perturbation of its own, and a resumed run starts them anew.

    Args:
        replays: optimiser steps in a row on each batch; an epoch costs so many times more. 8 in the paper's
            main results.
        random_start: start at a random point of the ball (ours) and not at the image (the paper); None does
            so for losses that are flat at the image, where the first gradient would be 0.
    """

    role: ClassVar[str] = PERTURBS

    replays: int = 8
    random_start: bool | None = None

    def __post_init__(self) -> None:
        if self.replays < 1:
            raise InputError(f"replays: expected at least 1, got {self.replays}")

    def check(self, training: "Training") -> None:
        if not isinstance(training.attack, AbstractBallAttack):
            raise InputError("free: expected an attack within a norm ball, whose radius free training takes")

    def begin(self, run: "Run") -> AbstractHookState:
        assert isinstance(run.training.attack, AbstractBallAttack)
        flat = run.training.objective.flat_at_start
        random = flat if self.random_start is None else self.random_start
        return _State(run, run.training.attack.threat, random, self.replays)


class _State(AbstractHookState):
    replaces_attack = True

    def __init__(self, run: "Run", threat: AbstractBall, random_start: bool, replays: int) -> None:
        self._run, self._threat, self._random_start, self.replays = run, threat, random_start, replays
        self._delta: Tensor | None = None

    def perturbed(self, batch: "Batch", seed: Seed) -> Tensor:
        """A leaf, whose gradient the backward pass of the training step fills in."""
        x = batch.x
        if self._delta is None or self._delta.shape[1:] != x.shape[1:]:
            self._delta = torch.zeros_like(x[:0])
        if len(self._delta) < len(x):
            more = x[len(self._delta) :]
            new = self._threat.sample(more, seed) if self._random_start else torch.zeros_like(more)
            self._delta = torch.cat([self._delta, new])
        return self._threat.restrict(x, x + self._delta[: len(x)]).detach().requires_grad_()

    def after_step(self, batch: "Batch", x_adv: Tensor) -> None:
        if x_adv.grad is None or self._delta is None:
            return
        step = self._threat.epsilon * self._threat.ascent(x_adv.grad)
        n = len(x_adv)
        self._delta[:n] = self._threat.project_ball(self._delta[:n] + step)

    def tensors(self) -> Mapping[str, Tensor]:
        return {} if self._delta is None else {"delta": self._delta}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        # A state file holds the perturbation of the first process alone.
        if tensors and self._run.processes.count == 1:
            self._delta = tensors["delta"].to(self._run.fabric.device)
