"""What is kept of wide features, so that they can be gone through in batches."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from semirobust.errors import InputError
from semirobust.seed import Seed

__all__ = ["Moments", "Reduction", "Rows", "flat", "sketch", "whole"]

Reduction = Callable[[Tensor], Tensor]
"""(n, D) features of a batch -> (n, k) numbers that are kept."""


def flat(batch: object, name: str) -> Tensor:
    """A batch of arrays as (n, D) in float32 or float64, finite.

    Raises:
        InputError: no batch of numbers, or one is NaN or infinite.
    """
    values = batch if isinstance(batch, Tensor) else torch.from_numpy(np.ascontiguousarray(batch))
    if values.dim() == 0 or values.is_complex():
        raise InputError(f"{name}: expected a batch of numbers (N, ...), got {values.dtype} of shape {tuple(values.shape)}")
    values = values.detach().reshape(len(values), -1)
    if values.dtype not in (torch.float32, torch.float64):
        values = values.float() if values.is_floating_point() else values.double()
    if not torch.isfinite(values.sum()) and not torch.isfinite(values).all():  # the sum is quicker to look at
        raise InputError(f"{name}: expected finite values, got {int((~torch.isfinite(values)).sum())} NaN or infinite ones")
    return values


class Moments:
    """Number, mean and standard deviation of each feature, merged batch by batch (Chan et al. 1983).

    Attributes:
        n: examples seen.
        features: numbers of an example; 0 before the first batch.
        dtype, device: of the features.
    """

    def __init__(self) -> None:
        self.n, self.features = 0, 0
        self.dtype, self.device = torch.float64, torch.device("cpu")
        self._mean, self._squares = torch.zeros(0), torch.zeros(0)

    def see(self, batch: Tensor, *, spread: bool = True) -> None:
        """Count (n, D); without ``spread`` only size and type are kept."""
        if self.features and batch.shape[1] != self.features:
            raise InputError(f"features: expected {self.features} numbers an example as before, got {batch.shape[1]}")
        count = len(batch)
        if spread and count:
            ones = batch.new_ones(count)  # sums as products with ones: ten times as quick as torch.var_mean over rows
            average = ones @ batch / count
            squares = (ones @ (batch - average).square_()).double()
            mean = average.double()
            if self.n:
                total = self.n + count
                shift = mean - self._mean
                self._mean += shift * (count / total)
                self._squares += squares + shift.square_() * (self.n * count / total)
            else:
                self._mean, self._squares = mean, squares
        self.n += count
        self.features, self.dtype, self.device = batch.shape[1], batch.dtype, batch.device

    @property
    def deviation(self) -> Tensor:
        """(D,) population standard deviation."""
        return (self._squares / max(self.n, 1)).sqrt()


class Rows:
    """(n, k) numbers collected batch by batch, kept as columns (k, n)."""

    def __init__(self) -> None:
        self._parts: list[Tensor] = []
        self._filled = 0
        self._block: Tensor | None = None

    def add(self, kept: Tensor, total: int) -> None:
        """Append (n, k); ``total`` rows are expected, 0 where unknown."""
        if not total:
            self._parts.append(kept.T)
            return
        if self._block is None:
            self._block = torch.empty(kept.shape[1], total, dtype=torch.float64, device=kept.device)
        if self._filled + len(kept) > total:
            raise InputError("batches: expected the same examples in each pass, got more in the second")
        self._block[:, self._filled : self._filled + len(kept)] = kept.T
        self._filled += len(kept)

    def columns(self) -> Tensor:
        """(k, n) in float64."""
        if self._block is not None:
            if self._filled != self._block.shape[1]:
                raise InputError("batches: expected the same examples in each pass, got fewer in the second")
            return self._block
        return torch.cat(self._parts, 1).double().contiguous()


def whole(batch: Tensor) -> Tensor:
    """The reduction that keeps everything."""
    return batch


@dataclass(frozen=True)
class _Sketch:
    order: Tensor
    signs: Tensor
    size: int

    def __call__(self, batch: Tensor) -> Tensor:
        padded = torch.nn.functional.pad(batch, (0, len(self.order) - batch.shape[1]))
        return (padded[:, self.order] * self.signs).view(len(batch), -1, self.size).sum(1)


def sketch(side: Moments, size: int, seed: Seed) -> Reduction:
    """A count sketch to ``size`` numbers: features in random groups of equal size, summed with random signs.

    Inner products and distances keep their expectation, with a relative standard deviation of about sqrt(2 / size)
    (Charikar et al. 2002; Weinberger et al. 2009). Features no wider than that are kept whole.
    """
    if side.features <= size:
        return whole
    padded = -(-side.features // size) * size
    generator = seed.generator()
    order = torch.randperm(padded, generator=generator)
    signs = torch.randint(0, 2, (padded,), generator=generator).to(side.dtype) * 2 - 1
    return _Sketch(order.to(side.device), signs.to(side.device), size)
