"""What of a number is rounding: a divisor that is 0 but for it says nothing."""

import math

import torch
from torch import Tensor

from semirobust.core.errors import InputError

__all__ = ["defined", "deviations", "equal_within", "rounding"]

_ULPS = 16  # a matrix product rounds the same numbers in another way for another number of examples


def equal_within(values: Tensor) -> Tensor:
    """For each number, how far another may be from it that is equal but for rounding."""
    return _ULPS * torch.finfo(values.dtype).eps * values.abs()


def rounding(columns: Tensor, dtype: torch.dtype) -> float:
    """How far numbers (k, n) that came in ``dtype`` may be from what they stand for."""
    return _ULPS * torch.finfo(dtype).eps * float(columns.abs().max())


def deviations(columns: Tensor, dtype: torch.dtype, chosen: Tensor | None = None) -> Tensor:
    """(k, 1) standard deviation of each row of (k, n), over the ``chosen`` alone where they are given; 1 for
    one that is constant but for rounding, so that a division by it leaves it so.
    """
    rows = columns if chosen is None else columns[:, chosen]
    deviation = rows.std(1, keepdim=True)
    least = _ULPS * torch.finfo(dtype).eps * rows.abs().amax(1, keepdim=True)
    return torch.where(deviation > least, deviation, 1.0)


def defined(name: str, x: float, y: float) -> None:
    """Raises ``InputError`` where the dependence of a side on itself, which divides, is NaN."""
    for side, own in (("x", x), ("y", y)):
        if math.isnan(own):
            raise InputError(
                f"{name}: the estimate for {side} with itself is 0 but for rounding, and x/0 says nothing;"
                " take more examples, or features that more than one of them shares"
            )
