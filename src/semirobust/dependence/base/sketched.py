"""The abstract class of measures that take a sketch of a limited number of examples."""

from dataclasses import dataclass

from semirobust.core.checks import check_counts
from semirobust.core.seed import Seed
from semirobust.dependence.base.dependence import AbstractDependence, Shapes
from semirobust.dependence.base.reduction import Reduction, sketch

__all__ = ["AbstractSketched"]


@dataclass(frozen=True, kw_only=True)
class AbstractSketched(AbstractDependence):
    """Takes ``points`` examples at most, drawn at random, and a sketch of ``sketch`` numbers of wider
    features.
    """

    points: int = 2000
    sketch: int = 2048

    def __post_init__(self) -> None:
        AbstractDependence.__post_init__(self)
        check_counts(self.min_examples, points=self.points)
        check_counts(1, sketch=self.sketch)

    def max_examples(self, shapes: Shapes) -> int | None:
        return self.points

    def reductions(self, shapes: Shapes, seed: Seed) -> tuple[Reduction, Reduction]:
        return sketch(shapes[0], self.sketch, seed / "x"), sketch(shapes[1], self.sketch, seed / "y")
