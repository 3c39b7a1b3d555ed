"""One of eight changes of colour or shape."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from semirobust.augment import AUGMENTATIONS, AbstractAugmentation
from semirobust.core.seed import Seed

__all__ = ["OPERATIONS", "ColourShape", "changed"]

OPERATIONS = (
    *("saturation", "brightness", "contrast", "sharpness"),
    *("autocontrast", "equalise", "shear", "rotation"),
)
"""The operations by their numbers, 0 to 7."""

_FACTORS = ((0.1, 1.9), (0.5, 1.9), (0.5, 1.9), (0.1, 1.9))  # of the first four
_NONE = (0.0, 0.0)
# How often each operation comes, and its lowest and highest strength. A shear is in radians, a rotation in
# whole degrees.
_BIASES = {
    "colour": ((0.125,) * 8, (*_FACTORS, _NONE, _NONE, (0.05, 0.15), (1.0, 10.0))),
    "shape": (
        (0.08, 0.08, 0.04, 0.08, 0.04, 0.08, 0.3, 0.3),
        (*_FACTORS, _NONE, _NONE, (0.05, 0.35), (1.0, 30.0)),
    ),
}
_LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)


@AUGMENTATIONS.register("colour-shape")
@dataclass(frozen=True)
class ColourShape(AbstractAugmentation):
    """One of eight operations at random: saturation, brightness, contrast, sharpness, automatic contrast,
    equalising, shear or rotation (Li & Spratling 2023).

    Operations, strengths and how often each comes are those of the authors' code. With the bias ``colour``
    all are equally frequent. With ``shape`` shear and rotation come in six of ten images and are up to three
    times as strong; it is theirs for SVHN. Pixels are floats (ours), so only equalising rounds to 256 levels.

    Args:
        bias: ``colour`` or ``shape``.
    """

    bias: Literal["colour", "shape"] = "colour"

    @property
    def only_moves(self) -> bool:
        return False

    def __call__(self, x_NKHW: Tensor, seed: Seed) -> Tensor:
        n, device = len(x_NKHW), x_NKHW.device
        often, strengths = _BIASES[self.bias]
        ends = torch.tensor(often, device=device).cumsum(0)[:-1]
        low, high = torch.tensor(strengths, device=device).T
        u = torch.rand(4, n, generator=seed.generator(device), device=device)
        operation = (u[0, :, None] >= ends).sum(1)
        low, spread = low[operation], (high - low)[operation]
        strength = low + spread * u[1]
        degrees = (low + (spread + 1) * u[1]).floor()
        strength = torch.where(operation == OPERATIONS.index("rotation"), degrees, strength)
        turns = operation >= OPERATIONS.index("shear")
        strength = torch.where(turns & (u[2] < 0.5), -strength, strength)
        return changed(x_NKHW, operation, strength, u[3] < 0.5)


def changed(x_NKHW: Tensor, operation: Tensor, strength: Tensor, vertical: Tensor) -> Tensor:
    """Each image (K, H, W) in [0, 1] after one operation.

    The first four are x -> base + strength (x - base), clipped. The base is the grey image for saturation,
    black for brightness, the mean grey for contrast, and the blurred image for sharpness. Automatic contrast
    stretches each channel to [0, 1]. Equalising makes the levels of each channel equally frequent. Shear and
    rotation are about the middle and take the nearest pixel, on black.

    Args:
        x_NKHW: the images.
        operation: (N,) numbers in ``OPERATIONS``.
        strength: (N,) a factor; for a shear its angle in radians, for a rotation in degrees; else unused.
        vertical: (N,) whether a shear moves columns and not rows.
    """
    k = x_NKHW.shape[1]
    weights = torch.tensor(_LUMINANCE if k == 3 else (1 / k,) * k, device=x_NKHW.device, dtype=x_NKHW.dtype)
    grey = (x_NKHW * weights[:, None, None]).sum(1, keepdim=True)
    base = x_NKHW
    others = (grey, torch.zeros_like(grey), grey.mean((2, 3), keepdim=True), _blurred(x_NKHW))
    for number, other in enumerate(others):
        base = torch.where(_of(operation, number), other, base)
    factor = strength[:, None, None, None].to(
        x_NKHW.dtype
    )  # beyond the first four it meets a difference of 0
    out = (base + factor * (x_NKHW - base)).clamp(0, 1)
    out = torch.where(_of(operation, OPERATIONS.index("autocontrast")), _stretched(x_NKHW), out)
    out = torch.where(_of(operation, OPERATIONS.index("equalise")), _equalised(x_NKHW), out)
    return _turned(out, operation, strength, vertical)


def _of(operation: Tensor, number: int) -> Tensor:
    return (operation == number)[:, None, None, None]


def _blurred(x: Tensor) -> Tensor:
    """The blur of Pillow's sharpness filter: 5 in the middle, 1 around it, over 13; the border as it was."""
    k = x.shape[1]
    kernel = torch.ones(k, 1, 3, 3, device=x.device, dtype=x.dtype)
    kernel[:, :, 1, 1] = 5.0
    blurred = x.clone()
    if min(x.shape[2:]) > 2:
        blurred[:, :, 1:-1, 1:-1] = F.conv2d(x, kernel / kernel[0].sum(), groups=k)
    return blurred


def _stretched(x: Tensor) -> Tensor:
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    spread = high - low
    return torch.where(spread > 0, (x - low) / spread.clamp_min(torch.finfo(x.dtype).tiny), x).clamp(0, 1)


def _equalised(x: Tensor) -> Tensor:
    """Level v -> (pixels below v + step / 2) / step in whole numbers, where step is a 255th of the pixels
    below the highest level. Unchanged where that is 0, as for small or plain images.
    """
    levels = (x.float() * 255).round().long().flatten(2)
    ordered = levels.sort(-1).values
    below = torch.searchsorted(ordered, levels)  # how many pixels have a lower level
    step = torch.searchsorted(ordered, ordered[:, :, -1:].contiguous()) // 255
    found = ((below + step // 2) // step.clamp_min(1)).clamp(max=255)
    return torch.where(step > 0, found.to(x.dtype) / 255, x.flatten(2)).view_as(x)


def _turned(x: Tensor, operation: Tensor, strength: Tensor, vertical: Tensor) -> Tensor:
    """Shear and rotation; other images as they are."""
    n, k, h, w = x.shape
    shear = torch.where(operation == OPERATIONS.index("shear"), strength, 0.0).tan()
    angle = torch.where(operation == OPERATIONS.index("rotation"), strength, 0.0).deg2rad()
    # Where the pixel at (down, across) from the middle comes from.
    down = (torch.arange(h, device=x.device) + 0.5 - h / 2)[:, None]
    across = (torch.arange(w, device=x.device) + 0.5 - w / 2)[None, :]
    cos, sin, by_row, by_column = (
        part[:, None, None] for part in (angle.cos(), angle.sin(), shear * ~vertical, shear * vertical)
    )
    column = (cos * across + (sin + by_row) * down + w / 2).floor().long()
    row = (cos * down + (by_column - sin) * across + h / 2).floor().long()
    inside = (column >= 0) & (column < w) & (row >= 0) & (row < h)
    source = row.clamp(0, h - 1) * w + column.clamp(0, w - 1)
    found = x.flatten(2).gather(2, source.view(n, 1, h * w).expand(n, k, h * w)).view_as(x)
    return found * inside[:, None]
