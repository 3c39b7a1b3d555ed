"""Reductions of wide features, which come in batches and are never in memory as a whole."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.dependence.base.rounding import equal_within

__all__ = ["Moments", "Reduction", "Rows", "flat", "rows_of", "sketch", "whole"]

Reduction = Callable[[Tensor], Tensor]
"""(n, D) features of a batch -> (n, k) numbers that are stored."""

_CHANGED = "batches: expected the same examples in each pass, got others in the second"


def rows_of(values: object, name: str) -> Any:
    """A tensor or array with one row for each example, as it is; lists become arrays."""
    try:
        rows = values if isinstance(values, Tensor | np.ndarray) else np.asarray(values)
    except ValueError:
        raise InputError(
            f"{name}: expected rows of equal length, got a {type(values).__name__} of unequal ones"
        ) from None
    if rows.ndim == 0:
        raise InputError(f"{name}: expected one row for each example, got {values!r}")
    return rows


def flat(batch: object, name: str, *, check: bool = True) -> Tensor:
    """A batch of rows as (n, D) in float32 or float64, finite where ``check`` asks for it.

    Raises:
        InputError: not numbers, or one is NaN or infinite.
    """
    rows = rows_of(batch, name)
    if isinstance(rows, np.ndarray):
        if rows.dtype.kind not in "biuf":
            raise InputError(f"{name}: expected real numbers, got an array of {rows.dtype}")
        dtype = np.float32 if rows.dtype == np.float32 else np.float64
        rows = torch.from_numpy(np.require(rows, dtype, ["C", "W"]))  # copies a file mapped for reading alone
    if rows.is_complex():
        raise InputError(f"{name}: expected real numbers, got {rows.dtype}")
    if rows.device.type == "mps":  # which has no double precision
        rows = rows.cpu()
    values = rows.detach().flatten(1) if rows.dim() > 1 else rows.detach()[:, None]
    if values.dtype not in (torch.float32, torch.float64):
        values = values.float() if values.is_floating_point() else values.double()
    # The sum is checked first because that is faster.
    if check and not torch.isfinite(values.sum()) and not torch.isfinite(values).all():
        raise InputError(
            f"{name}: expected finite values, got {int((~torch.isfinite(values)).sum())} NaN or infinite ones"
        )
    return values


class Moments:
    """Number, mean and standard deviation of each feature, merged batch by batch (Chan et al. 1983).

    Attributes:
        n: examples so far.
        features: numbers of an example; 0 before the first batch.
        constant: whether all examples so far were equal but for rounding.
        dtype, device: of the features.
    """

    def __init__(self) -> None:
        self.n, self.features, self.constant = 0, 0, True
        self.dtype, self.device = torch.float64, torch.device("cpu")
        self._first, self._mean, self._squares = torch.zeros(0), torch.zeros(0), torch.zeros(0)

    def see(self, batch: Tensor, *, spread: bool = True) -> None:
        """Add a batch (n, D), n at least 1; without ``spread`` there will be no deviation."""
        count = len(batch)
        if not self.n:
            self.features, self.dtype, self.device = batch.shape[1], batch.dtype, batch.device
            self._first = batch[:1].clone()
        elif batch.shape[1] != self.features:
            raise InputError(
                f"features: expected {self.features} numbers an example as before, got {batch.shape[1]}"
            )
        if self.constant:
            self.constant = bool(((batch - self._first).abs() <= equal_within(self._first)).all())
        if spread:
            # Sums as products with ones are ten times as fast as torch.var_mean over rows.
            ones = batch.new_ones(count)
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

    @property
    def deviation(self) -> Tensor:
        """(D,) population standard deviation."""
        return (self._squares / self.n).sqrt()


class Rows:
    """(n, k) numbers collected batch by batch, stored as columns (k, n).

    Args:
        total: how many rows will come, where that is known; memory is then allocated once.
        limit: store a random sample of this many rows; None for all.
        seed: of the sample; equal seeds choose equal rows.
    """

    def __init__(self, total: int | None, limit: int | None, seed: Seed) -> None:
        self.total = total if total is not None and (limit is None or total <= limit) else None
        self.limit = limit
        self._generator = seed.generator()
        self._parts: list[Tensor] = []
        self._draws: list[Tensor] = []
        self._block: Tensor | None = None
        self._filled = 0

    def add(self, rows: Tensor) -> None:
        """Append (n, k)."""
        if self.total is None:
            self._parts.append(rows.T.clone())
            self._draws.append(torch.rand(len(rows), generator=self._generator, dtype=torch.float64))
            self._filled += len(rows)
            if self.limit is not None and self._filled > 2 * self.limit:
                self._thin(self.limit)
            return
        if self._block is None:
            self._block = torch.empty(rows.shape[1], self.total, dtype=torch.float64, device=rows.device)
        if self._filled + len(rows) > self.total:
            raise InputError(_CHANGED)
        self._block[:, self._filled : self._filled + len(rows)] = rows.T
        self._filled += len(rows)

    def _thin(self, limit: int) -> None:
        """Drop all but the rows with the lowest draws, which stay in their order.

        Every row has a uniform draw, so these are a uniform sample however many rows come.
        """
        draws, rows = torch.cat(self._draws), torch.cat(self._parts, 1)
        chosen = draws.topk(limit, largest=False).indices.sort().values
        self._parts, self._draws, self._filled = [rows[:, chosen.to(rows.device)]], [draws[chosen]], limit

    def columns(self) -> Tensor:
        """(k, n) in float64."""
        if self._filled == 0 or (self.total is not None and self._filled != self.total):
            raise InputError(_CHANGED)
        if self._block is not None:
            return self._block
        if self.limit is not None and self._filled > self.limit:
            self._thin(self.limit)
        columns, self._parts = torch.cat(self._parts, 1), []
        return columns.double().contiguous()


def whole(batch: Tensor) -> Tensor:
    """The reduction that changes nothing."""
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

    The expectation of inner products and distances does not change. Their relative standard deviation is
    about sqrt(2 / size) (Charikar et al. 2002; Weinberger et al. 2009). Features that are no wider stay
    whole.
    """
    if side.features <= size:
        return whole
    padded = -(-side.features // size) * size
    generator = seed.generator()
    order = torch.randperm(padded, generator=generator)
    signs = torch.randint(0, 2, (padded,), generator=generator).to(side.dtype) * 2 - 1
    return _Sketch(order.to(side.device), signs.to(side.device), size)
