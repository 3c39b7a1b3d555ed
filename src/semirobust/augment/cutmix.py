"""A rectangle of another image of the batch, and the labels mixed by its area."""

from dataclasses import dataclass

import torch
from torch import Tensor

from semirobust.augment import AUGMENTATIONS, AbstractAugmentation
from semirobust.augment.base.chain import Chain
from semirobust.augment.crop_flip import CropFlip
from semirobust.core.errors import InputError
from semirobust.core.seed import Seed

__all__ = ["CutMix"]


@AUGMENTATIONS.register("cutmix-alone")
@dataclass(frozen=True)
class CutMix(AbstractAugmentation):
    """A rectangle of each image is replaced by that of another, and the label is that of both by their areas
    (Yun et al. 2019): x <- (1 - M) x + M x', y <- (1 - a) y + a y', a the mean of M.

    As in the code of Rebuffi et al. (2021): the other images are those of the batch in random order, and one
    rectangle M serves the whole batch. Its area is uniform from 0 to 1, and its sides have the ratio of the
    image's. Its centre is uniform in the image, so that part of it may lie outside; a counts what lies
    inside. With several processes each mixes its own images.

    Args:
        area: of the rectangle before that, as a fraction of the image; None draws it anew for each batch.
    """

    area: float | None = None

    def __post_init__(self) -> None:
        if self.area is not None and not 0 <= self.area <= 1:
            raise InputError(f"area: expected a fraction from 0 to 1, got {self.area}")

    @property
    def only_moves(self) -> bool:
        return False

    @property
    def mixes(self) -> bool:
        return True

    def __call__(self, x_NKHW: Tensor, seed: Seed) -> Tensor:
        partner, inside_HW = self._drawn(x_NKHW, seed)
        return torch.where(inside_HW, x_NKHW[partner], x_NKHW)

    def mixed(self, x_NKHW: Tensor, shares_NC: Tensor, seed: Seed) -> tuple[Tensor, Tensor]:
        partner, inside_HW = self._drawn(x_NKHW, seed)
        a = inside_HW.to(shares_NC.dtype).mean()
        return torch.where(inside_HW, x_NKHW[partner], x_NKHW), torch.lerp(shares_NC, shares_NC[partner], a)

    def _drawn(self, x_NKHW: Tensor, seed: Seed) -> tuple[Tensor, Tensor]:
        """Which image (N,) is put into each, and where (H, W)."""
        n, _, h, w = x_NKHW.shape
        generator, device = seed.generator(x_NKHW.device), x_NKHW.device
        u = torch.rand(3, generator=generator, device=device)
        side = (u[0] if self.area is None else torch.full_like(u[0], self.area)).sqrt()
        along = []
        for size, draw in ((h, u[1]), (w, u[2])):
            half, centre = (side * size).floor().div(2).floor(), (draw * size).floor()
            position = torch.arange(size, device=device)
            along.append((position >= centre - half) & (position < centre + half))
        return torch.randperm(n, generator=generator, device=device), along[0][:, None] & along[1]


@AUGMENTATIONS.register("cutmix")
def crop_flip_cutmix(area: float | None = None) -> Chain:
    """``crop-flip``, then a rectangle of another image of the batch, with mixed labels (Yun et al. 2019,
    Rebuffi et al. 2021).
    """
    return Chain((CropFlip(4, flip=True), CutMix(area)))
