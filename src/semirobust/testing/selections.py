"""What every selection must do."""

import numpy as np

from semirobust.core.seed import Seed
from semirobust.layers.scores import LayerScores
from semirobust.selection import AbstractSelection
from semirobust.testing.base.check import Subject, demanded, refused, require

__all__: list[str] = []

_SEED = Seed(("check",))
_VALUES = (1.0, 5.0, 2.0, 2.5, 9.0, 4.0, 99.0)


def _scores(values: tuple[float, ...]) -> LayerScores:
    v = np.array(values)
    indices = tuple(range(1, len(v) + 1))
    return LayerScores.without_interval("check", v, indices=indices, examples=10, layers=len(v))


@demanded("selections")
def as_many_as_asked_for(subject: Subject) -> None:
    """Choose k different layers in ascending order, and not the classifier unless told to."""
    for k in (1, 3, 6):
        selection: AbstractSelection = subject.make({"k": k})
        chosen = selection(_scores(_VALUES), _SEED)
        require(len(set(chosen)) == k == len(chosen), f"of k = {k} it chooses {chosen}")
        require(list(chosen) == sorted(chosen), f"its choice {chosen} is not in order")
        require(len(_VALUES) not in chosen, "it chooses the classifier")


@demanded("selections")
def the_unit_does_not_matter(subject: Subject) -> None:
    """Choose the same layers when all scores are multiplied by ten."""
    selection = subject.make({"k": 2})
    one, other = (selection(_scores(tuple(f * v for v in _VALUES)), _SEED) for f in (1, 10))
    require(one == other, f"it chooses {one}, and {other} of ten times the scores")


@demanded("selections")
def equal_seeds_choose_equally(subject: Subject) -> None:
    """Choose the same layers for equal seeds."""
    one, other = (subject.make({"k": 3})(_scores(_VALUES), _SEED) for _ in range(2))
    require(one == other, f"equal seeds choose {one} and {other}")


@demanded("selections")
def a_layer_without_a_score_is_never_chosen(subject: Subject) -> None:
    """Never choose a layer whose score is NaN, and refuse a k above the layers there are."""
    scores = _scores((1.0, float("nan"), 2.0, 3.0, 9.0))
    chosen = subject.make({"k": 3})(scores, _SEED)
    require(chosen == (1, 3, 4), f"of layers 1, 3 and 4 with a score it chooses {chosen}")
    refused(lambda: subject.make({"k": 4})(scores, _SEED), "a k above the layers with a score")
