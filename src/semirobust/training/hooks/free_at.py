"""Perturbations that rise by the very gradients that train the weights."""

import torch
from torch import Tensor

from semirobust.core.seed import Seed
from semirobust.threats import AbstractBall

__all__ = ["Free"]


class Free:
    """The perturbation of free adversarial training (Shafahi et al. 2019, algorithm 1).

    A batch is replayed several times; each replay's backward pass gives the gradient of the weights and that
    of the images, by which the perturbation takes one step of length epsilon. It is carried from batch to
    batch, place by place in the batch, as in the paper. It is found in train mode, on the network as it
    trains, which is what makes it free.

    With several processes, each has its own, and a resumed run starts them anew.

    Args:
        threat: the ball, and with its radius the step.
        zero: start from no perturbation, as the paper; else at a random point of the ball, for losses that
            are flat at the image (ours).
    """

    def __init__(self, threat: AbstractBall, *, zero: bool = True) -> None:
        self.threat, self.zero = threat, zero
        self.delta: Tensor | None = None

    def start(self, x: Tensor, seed: Seed) -> Tensor:
        """Where the batch ``x`` (N, ...) starts, in the ball; a leaf whose gradient the training step leaves
        behind.
        """
        if self.delta is None or self.delta.shape[1:] != x.shape[1:]:
            self.delta = torch.zeros_like(x[:0])
        if len(self.delta) < len(x):
            more = x[len(self.delta) :]
            self.delta = torch.cat(
                [self.delta, torch.zeros_like(more) if self.zero else self.threat.sample(more, seed)]
            )
        return self.threat.restrict(x, x + self.delta[: len(x)]).detach().requires_grad_()

    def rise(self, x_adv: Tensor) -> None:
        """Take the step that the gradient of ``x_adv`` (N, ...) says."""
        if x_adv.grad is None or self.delta is None:
            return
        step = self.threat.epsilon * self.threat.ascent(x_adv.grad)
        n = len(x_adv)
        self.delta[:n] = self.threat.project_ball(self.delta[:n] + step)
