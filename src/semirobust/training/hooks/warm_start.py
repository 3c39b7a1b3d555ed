"""Perturbations kept from one epoch to the next."""

from collections.abc import Callable

import torch
from lightning_fabric import Fabric
from torch import Tensor

__all__ = ["Move", "Stored"]

Move = Callable[[Tensor], Tensor]
"""An augmentation with its randomness drawn: it takes each pixel of its result from one pixel, or fills in
zero.
"""

_LEVELS, _UNSEEN = 127, -128


class Stored:
    """The perturbation of every training image where the last attack on it ended, for the next one to start
    from.

    A few steps from there do what many do from a random point, because the network changes little in an epoch
    (Zheng et al. 2020, ATTA). It is kept in the frame of the image as it is stored: an augmentation is undone
    by its adjoint, and what it had cut off keeps its older value. In eight bits (ours): no part of a
    perturbation exceeds epsilon, so the rounding is epsilon / 254 at most, and the image takes as much memory
    again as it has.

    Args:
        count: how many images.
        shape: of one image.
        epsilon: the radius of the ball.
    """

    def __init__(self, count: int, shape: tuple[int, ...], epsilon: float) -> None:
        self.codes = torch.zeros((count, *shape), dtype=torch.int8)
        self.fresh = torch.full_like(self.codes, _UNSEEN)
        self._scale = min(epsilon, 1.0) / _LEVELS  # pixels lie in [0, 1], whatever the radius

    def of(self, rows: Tensor, move: Move, device: torch.device) -> Tensor:
        """The perturbations (n, ...) of the images ``rows``, moved as these are."""
        return move(self.codes[rows].to(device).float() * self._scale)

    def keep(self, rows: Tensor, delta: Tensor, move: Move) -> None:
        """Keep ``delta`` (n, ...) of the images ``rows``, which were moved so."""
        before = self.codes[rows]
        with (
            torch.enable_grad()
        ):  # on the device of the images, where an augmentation draws as it drew for them
            still = torch.zeros(before.shape, device=delta.device, requires_grad=True)
            moved = move(still)
        back, seen = delta.detach().float(), torch.ones((), device=delta.device)
        if moved is not still:
            (back,) = torch.autograd.grad(moved, still, back, retain_graph=True)
            (seen,) = torch.autograd.grad(moved, still, torch.ones_like(moved))
        codes = (back / self._scale if self._scale else back).round().clamp(-_LEVELS, _LEVELS).to(torch.int8)
        self.fresh[rows] = torch.where((seen > 0).cpu(), codes.cpu(), before)

    def turn(self, fabric: Fabric) -> None:
        """At the end of an epoch: what was kept in it, by all processes, is what the next one starts from."""
        if fabric.world_size > 1:
            everywhere = fabric.all_reduce(self.fresh.to(fabric.device, torch.int32), reduce_op="max")
            assert isinstance(everywhere, Tensor)
            self.fresh = everywhere.to("cpu", torch.int8)
        self.codes, self.fresh = self.fresh, torch.full_like(self.fresh, _UNSEEN)
