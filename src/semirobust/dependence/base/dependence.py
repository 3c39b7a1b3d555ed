"""The abstract class of every measure of dependence, and what it collects of a sample."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from semirobust.core.allocator import keep_freed_memory
from semirobust.core.checks import check_counts
from semirobust.core.devices import uploaded
from semirobust.core.errors import InputError
from semirobust.core.seed import Seed, as_seed
from semirobust.core.typed import Typed
from semirobust.dependence.base.estimate import Estimate, Raw, combine
from semirobust.dependence.base.reduction import Moments, Reduction, Rows, flat, rows_of

__all__ = ["AbstractDependence", "Batches", "Orders", "Shapes", "check_counts"]

Batches = Callable[[], Iterable[tuple[Any, ...]]]
"""At each call gives the same batches (x, y) or (x, y, labels) from the start."""

Shapes = tuple[Moments, Moments]
"""Size and moments of both sides, known before their reductions are made."""

_CHUNK_BYTES = 1 << 22  # fits a processor's cache


@dataclass(frozen=True, kw_only=True)
class AbstractDependence(Typed, ABC):
    """Dependence between the rows of two arrays, called ``measure(x, y, given=None, seed=0)``.

    Features may be of any width: they come in batches, and of each batch only what ``reductions`` gives is
    stored.

    Args:
        permutations: number of permutations for the null; 0 for none. The test at 5 % needs 19.

    Attributes:
        name: as it is printed in an estimate.
        unit: ``bits``, or ``1``.
        min_examples: with fewer examples there is no estimate.
        moments: whether the reductions need the number and the spread of the examples, which takes a first
            pass over the batches.
    """

    like: ClassVar[str] = "EDGE()"

    permutations: int = 20

    def __post_init__(self) -> None:
        check_counts(0, permutations=self.permutations)

    name: ClassVar[str]
    unit: ClassVar[str] = "1"
    min_examples: ClassVar[int] = 10
    moments: ClassVar[bool] = False

    @abstractmethod
    def reductions(self, shapes: Shapes, seed: Seed) -> tuple[Reduction, Reduction]:
        """What is stored of a batch of x, and of y."""

    @abstractmethod
    def measure(self, x: Tensor, y: Tensor, shapes: Shapes, orders: "Orders", seed: Seed) -> Raw:
        """Estimate and null from the reduced features.

        Args:
            x, y: (k, N) reduced features in float64.
            shapes: of the features before their reduction.
            orders: of the rows of y, (N,) each, one for each permutation.
            seed: of anything else that is random.
        """

    def max_examples(self, shapes: Shapes) -> int | None:
        """How many examples are stored, drawn at random; None for all."""
        return None

    def __call__(self, x: Any, y: Any, *, given: Any = None, seed: int | Seed = 0) -> Estimate:
        """The dependence between ``x`` and ``y``.

        Args:
            x, y: (N, ...) tensors or arrays, which may be mapped from a file; all but the first dimension
                is flattened.
            given: (N,) integer labels: the dependence within each class, weighted by the classes' frequency.
            seed: of the permutations and whatever the estimator draws; equal seeds give equal estimates.

        Raises:
            InputError: devices or sizes that differ, too few examples, NaN or infinite values, a side that is
                constant.
        """
        x, y = rows_of(x, "x"), rows_of(y, "y")
        labels = None if given is None else rows_of(given, "given")
        for name, side in (("y", y), ("given", labels)):
            if isinstance(x, Tensor) and isinstance(side, Tensor) and side.device != x.device:
                raise InputError(
                    f"{name}: expected rows on {x.device} as x has, got some on {side.device}; give"
                    f" {name}.to(x.device)"
                )
        n = len(x)
        if len(y) != n or (labels is not None and len(labels) != n):
            sizes = f"{n} and {len(y)}" + ("" if labels is None else f", labels {len(labels)}")
            raise InputError(f"x and y: expected as many rows on both sides, got {sizes}")
        width = max(int(np.prod(x.shape[1:])), int(np.prod(y.shape[1:])), 1)
        rows = max(1, _CHUNK_BYTES // (8 * width))

        def batches() -> Iterator[tuple[Any, ...]]:
            for start in range(0, n, rows):
                part = slice(start, start + rows)
                yield (x[part], y[part]) if labels is None else (x[part], y[part], labels[part])

        return self.of_batches(batches, seed=seed)

    def of_batches(self, batches: Batches, *, seed: int | Seed = 0) -> Estimate:
        """The dependence between features that come in batches; with labels in them, within each class.

        Args:
            batches: called once for each pass, and giving the same batches each time.
            seed: as in a call.

        Raises:
            InputError: as in a call, or the batches differ from pass to pass.
        """
        if not callable(batches):
            raise InputError(
                f"batches: expected a function that gives them from the start, got {type(batches).__name__}"
            )
        keep_freed_memory()
        seed = as_seed(seed)
        samples: dict[int, Sample] = {}
        conditional = False
        for first in (True, False) if self.moments else (False,):
            for label, x, y, conditional in _by_class(batches(), check=first or not self.moments):  # noqa: B007
                sample = samples.setdefault(label, Sample(self, seed / "reduce"))
                (sample.see if first else sample.keep)(x, y)
        if not samples:
            raise InputError("x: expected at least one example, got none")
        raws: dict[int, tuple[Raw, int]] = {}
        left_out: dict[int, str] = {}
        for label in sorted(samples):
            sample = samples.pop(label)
            try:
                raws[label] = sample.measured(seed / label), sample.n
            except InputError as error:
                if not conditional:
                    raise
                left_out[label] = str(error)
        return combine(self.name, self.unit, raws, left_out, conditional=conditional)

    def within(self, x: Tensor, y: Tensor, shapes: Shapes, seed: Seed) -> Raw:
        """Estimate and null within one sample, from its reduced features, (k, N) on both sides.

        Raises:
            InputError: the estimate is NaN or infinite.
        """
        raw = self.measure(
            x, y.to(x.device), shapes, Orders(x.shape[1], self.permutations, seed / "null", x.device), seed
        )
        if not np.isfinite([raw.value, *raw.null]).all():
            raise InputError(f"{self.name}: it gives no finite number on these examples")
        return raw


@dataclass(frozen=True)
class Orders:
    """The permutations of the null, drawn one after the other so that only one is in memory."""

    n: int
    count: int
    seed: Seed
    device: torch.device

    def of(self, n: int) -> "Orders":
        """The same for ``n`` examples."""
        return replace(self, n=n)

    def __iter__(self) -> Iterator[Tensor]:
        for number in range(self.count):
            order = torch.randperm(self.n, generator=(self.seed / number).generator())
            yield uploaded(order, self.device)


class Sample:
    """What is collected of one class, or of all examples: moments in a first pass, then reduced features.

    Args:
        measure: the measure that it is collected for.
        seed: of the reductions, and of the draw of examples.
        shapes: of both sides, where the caller fills them.
    """

    def __init__(self, measure: AbstractDependence, seed: Seed, shapes: Shapes | None = None) -> None:
        self.measure, self.seed = measure, seed
        self.shapes = (Moments(), Moments()) if shapes is None else shapes
        self.n = 0
        self._reductions: tuple[Reduction, Reduction] | None = None
        self._rows: tuple[Rows, Rows] | None = None
        self._refused: InputError | None = None

    def see(self, x: Tensor, y: Tensor) -> None:
        """First pass of a measure that needs moments."""
        self.shapes[0].see(x)
        self.shapes[1].see(y)

    def keep(self, x: Tensor, y: Tensor) -> None:
        """The pass that stores reduced features."""
        if not self.measure.moments:
            self.shapes[0].see(x, spread=False)
            self.shapes[1].see(y, spread=False)
        self.add(0, x)
        self.add(1, y)

    def add(self, side: int, batch: Tensor) -> None:
        """Store the reduced features of x (side 0) or y (side 1)."""
        if side == 0:
            self.n += len(batch)
        total = self.shapes[side].n if self.measure.moments else None
        if self._refused is not None or (total is not None and total < self.measure.min_examples):
            return
        if self._reductions is None or self._rows is None:
            try:
                self._reductions = self.measure.reductions(self.shapes, self.seed)
            except InputError as error:
                self._refused = error
                return
            x, y = (
                Rows(total, self.measure.max_examples(self.shapes), self.seed / "rows") for _ in self.shapes
            )
            self._rows = x, y
        moments = self.shapes[side]
        self._rows[side].add(self._reductions[side](batch.to(moments.dtype)))

    def measured(self, seed: Seed) -> Raw:
        """Estimate and null.

        Raises:
            InputError: too few examples, other examples than in the first pass, or a constant side.
        """
        measure = self.measure
        if measure.moments and self.n != self.shapes[0].n:
            raise InputError("batches: expected the same examples in each pass, got others in the second")
        if self.n < measure.min_examples:
            raise InputError(
                f"{measure.name}: expected at least {measure.min_examples} examples, got {self.n}"
            )
        for name, side in zip(("x", "y"), self.shapes, strict=True):
            if side.constant:
                raise InputError(f"{name}: all examples are alike, and nothing depends on a constant")
        if self._refused is not None:
            raise self._refused
        assert self._rows is not None
        x, y = (rows.columns() for rows in self._rows)
        self._rows = None
        return measure.within(x, y, self.shapes, seed)


def _by_class(
    batches: Iterable[tuple[Any, ...]], *, check: bool
) -> Iterator[tuple[int, Tensor, Tensor, bool]]:
    """Each batch split by label: (label, x, y, whether there are labels); empty batches are skipped."""
    for batch in batches:
        x, y = flat(batch[0], "x", check=check), flat(batch[1], "y", check=check)
        if len(x) != len(y):
            raise InputError(f"x and y: expected as many rows on both sides, got {len(x)} and {len(y)}")
        if len(x) == 0:
            continue
        if len(batch) == 2:
            yield 0, x, y, False
            continue
        labels = _labels(batch[2], len(x))
        for label in labels.unique().tolist():
            rows = labels == label
            yield int(label), x[rows.to(x.device)], y[rows.to(y.device)], True


def _labels(given: Any, n: int) -> Tensor:
    rows = rows_of(given, "given")
    if isinstance(rows, np.ndarray):
        if rows.dtype.kind not in "iu":
            raise InputError(f"given: expected {n} integer labels, got an array of {rows.dtype}")
        rows = torch.from_numpy(rows.astype(np.int64))
    if rows.is_floating_point() or rows.is_complex() or rows.shape != (n,):
        raise InputError(f"given: expected {n} integer labels, got {rows.dtype} of shape {tuple(rows.shape)}")
    return rows.cpu()
