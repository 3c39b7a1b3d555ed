"""The form of every threat model."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from semirobust.core.checks import PIXEL_TOLERANCE
from semirobust.core.typed import Typed

__all__ = ["AbstractThreat"]


class AbstractThreat(Typed, ABC):
    """What an adversary may do to an image: whatever it does, :meth:`contains` can be asked afterwards."""

    like: ClassVar[str] = "Linf(8/255)"

    @abstractmethod
    def contains(self, x: Tensor, x_adv: Tensor) -> Tensor:
        """Whether each ``x_adv`` (N, ...) may be made of ``x``: (N,). Values outside [0, 1] never may."""

    @abstractmethod
    def __str__(self) -> str:
        """The threat model as printed, such as ``Linf 8/255``."""


def in_pixel_range(x_adv: Tensor) -> Tensor:
    """Whether all values of each example lie in [0, 1], up to the rounding that is let pass in clean images
    too: (N,).
    """
    values = x_adv.flatten(1)
    return (values.amin(1) >= -PIXEL_TOLERANCE) & (values.amax(1) <= 1 + PIXEL_TOLERANCE)
