"""The form of every measure of dependence."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from semirobust.dependence.estimate import Estimate, Raw, combine
from semirobust.dependence.reduction import Moments, Reduction, Rows, flat
from semirobust.errors import InputError
from semirobust.seed import Seed, as_seed

__all__ = ["AbstractDependence", "Batches", "Orders", "Shapes"]

Batches = Callable[[], Iterable[tuple[Any, ...]]]
"""Gives the batches (x, y) or (x, y, labels) from the start at each call, always the same."""

Shapes = tuple[Moments, Moments]
"""What is known of both sides when their reductions are made."""

_CHUNK_BYTES = 1 << 22  # fits a processor's cache


@dataclass(frozen=True, kw_only=True)
class AbstractDependence(ABC):
    """Dependence between the rows of two arrays, called ``measure(x, y, given=None, seed=0)``.

    Features may be of any width: they are gone through in batches, and only what ``reductions`` makes of them is kept.

    Args:
        permutations: how often rows are permuted for the null; 0 for none. The test at 5 % needs 19.

    Attributes:
        name: as the estimate says it.
        unit: ``bits``, or ``1``.
        fewest: examples below which there is no estimate.
        moments: whether the reductions need number and spread of the examples, hence a pass of its own over the batches.
    """

    permutations: int = 20

    def __post_init__(self) -> None:
        if self.permutations < 0:
            raise InputError(f"permutations: expected at least 0, got {self.permutations}")

    name: ClassVar[str]
    unit: ClassVar[str] = "1"
    fewest: ClassVar[int] = 10
    moments: ClassVar[bool] = False

    @abstractmethod
    def reductions(self, shapes: Shapes, seed: Seed) -> tuple[Reduction, Reduction]:
        """What to keep of either side."""

    @abstractmethod
    def measure(self, x: Tensor, y: Tensor, shapes: Shapes, orders: "Orders", seed: Seed) -> Raw:
        """Estimate and null from what was kept.

        Args:
            x, y: (k, N) kept numbers in float64.
            shapes: of the features before.
            orders: of the rows of y, (N,) each, one for each permutation.
            seed: of anything else that is random.
        """

    def __call__(self, x: Any, y: Any, *, given: Any = None, seed: int | Seed = 0) -> Estimate:
        """The dependence between ``x`` and ``y``.

        Args:
            x, y: (N, ...) tensors or arrays, also ones mapped from a file; all but the first dimension is flattened.
            given: (N,) integer labels: the dependence within each class, weighted by the classes' frequency.
            seed: of the permutations and whatever the estimator draws; equal seeds give equal estimates.

        Raises:
            InputError: sizes that differ, too few examples, NaN or infinite values, a side that is constant.
        """
        x, y = (side if hasattr(side, "shape") else np.asarray(side) for side in (x, y))
        if not x.shape or not y.shape:
            raise InputError("x and y: expected one row for each example, got a single number")
        n = len(x)
        if len(y) != n or (given is not None and len(given) != n):
            sizes = f"{n} and {len(y)}" + ("" if given is None else f", labels {len(given)}")
            raise InputError(f"x and y: expected as many rows on both sides, got {sizes}")
        if n == 0:
            raise InputError("x: expected at least one row, got none")
        width = max(int(np.prod(x.shape[1:])), int(np.prod(y.shape[1:])), 1)
        rows = max(1, _CHUNK_BYTES // (8 * width))

        def batches() -> Iterator[tuple[Any, ...]]:
            for start in range(0, n, rows):
                part = slice(start, start + rows)
                yield (x[part], y[part]) if given is None else (x[part], y[part], given[part])

        return self.of_batches(batches, seed=seed)

    def of_batches(self, batches: Batches, *, seed: int | Seed = 0) -> Estimate:
        """The dependence between features that come in batches; with labels in them, within each class.

        Args:
            batches: called once for each pass, and giving the same batches each time.
            seed: as in a call.

        Raises:
            InputError: as in a call.
        """
        seed = as_seed(seed)
        samples: dict[int, _Sample] = {}
        conditional = False
        if self.moments:
            for label, x, y, _ in _by_class(batches()):
                samples.setdefault(label, _Sample(self, seed / "reduce")).see(x, y)
        for label, x, y, conditional in _by_class(batches()):  # noqa: B007
            samples.setdefault(label, _Sample(self, seed / "reduce")).keep(x, y)
        if not samples:
            raise InputError("batches: expected at least one, got none")
        raws: dict[int, tuple[Raw, int]] = {}
        left_out: dict[int, str] = {}
        for label in sorted(samples):
            sample = samples.pop(label)
            try:
                raws[label] = self.within(*sample.columns(), sample.shapes, seed / label), sample.n
            except InputError as error:
                if not conditional:
                    raise
                left_out[label] = str(error)
        return combine(self.name, self.unit, raws, left_out, conditional=conditional)

    def within(self, x: Tensor, y: Tensor, shapes: Shapes, seed: Seed) -> Raw:
        """Estimate and null within one sample, from what was kept of it, (k, N) on both sides."""
        for name, side in (("x", x), ("y", y)):
            if bool((side == side[:, :1]).all()):
                raise InputError(f"{name}: all {side.shape[1]} examples are alike, and nothing depends on a constant")
        return self.measure(x, y, shapes, Orders(x.shape[1], self.permutations, seed / "null", x.device), seed)


class _Sample:
    """One class (or all): sizes and spreads of a first pass, and what is kept of each example."""

    def __init__(self, measure: AbstractDependence, seed: Seed) -> None:
        self.measure, self.seed, self.shapes = measure, seed, (Moments(), Moments())
        self.rows, self.n = (Rows(), Rows()), 0
        self.reductions: tuple[Reduction, Reduction] | None = None

    def see(self, x: Tensor, y: Tensor, *, spread: bool = True) -> None:
        self.shapes[0].see(x, spread=spread)
        self.shapes[1].see(y, spread=spread)

    def keep(self, x: Tensor, y: Tensor) -> None:
        self.n += len(x)
        if not self.measure.moments:
            self.see(x, y, spread=False)
        elif self.shapes[0].n < self.measure.fewest:
            return
        if self.reductions is None:
            self.reductions = self.measure.reductions(self.shapes, self.seed)
        for rows, reduce, side in zip(self.rows, self.reductions, (x, y), strict=True):
            rows.add(reduce(side), self.shapes[0].n if self.measure.moments else 0)

    def columns(self) -> tuple[Tensor, Tensor]:
        if self.n < self.measure.fewest:
            raise InputError(f"{self.measure.name}: expected at least {self.measure.fewest} examples, got {self.n}")
        x, y = (rows.columns() for rows in self.rows)
        return x, y


def _by_class(batches: Iterable[tuple[Any, ...]]) -> Iterator[tuple[int, Tensor, Tensor, bool]]:
    """Each batch split by label: (label, x, y, whether there are labels)."""
    for batch in batches:
        x, y = flat(batch[0], "x"), flat(batch[1], "y")
        if len(x) != len(y):
            raise InputError(f"x and y: expected as many rows on both sides, got {len(x)} and {len(y)}")
        if len(batch) == 2:
            yield 0, x, y, False
            continue
        labels = torch.as_tensor(batch[2])
        if labels.is_floating_point() or labels.shape != (len(x),):
            raise InputError(f"given: expected {len(x)} integer labels, got {labels.dtype} of shape {tuple(labels.shape)}")
        for label in labels.unique().tolist():
            rows = (labels == label).to(x.device)
            yield int(label), x[rows], y[rows], True


@dataclass(frozen=True)
class Orders:
    """The orders in which the null puts the rows, drawn one after the other so that only one is held."""

    n: int
    count: int
    seed: Seed
    device: torch.device

    def of(self, n: int) -> "Orders":
        """The same for ``n`` examples."""
        return replace(self, n=n)

    def __iter__(self) -> Iterator[Tensor]:
        for number in range(self.count):
            yield torch.randperm(self.n, generator=(self.seed / number).generator()).to(self.device)
