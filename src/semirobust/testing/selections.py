"""What every selection must do."""

import numpy as np

from semirobust.core.seed import Seed
from semirobust.layers.layer import Layer
from semirobust.layers.map import LayerMap
from semirobust.layers.scores import LayerScores
from semirobust.selection import AbstractLayerSelection, AbstractSelection
from semirobust.testing.base.check import Subject, demanded, refused, require

__all__: list[str] = []

_SEED = Seed(("check",))
_VALUES = (1.0, 5.0, 2.0, 2.5, 9.0, 4.0, 99.0)


def _scores(values: tuple[float, ...]) -> LayerScores:
    v = np.array(values)
    indices = tuple(range(1, len(v) + 1))
    return LayerScores.without_interval("check", v, indices=indices, examples=10, layers=len(v))


def _layers(count: int) -> LayerMap:
    """Layers of equal cost."""
    names = [str(i) for i in range(1, count + 1)]
    layers = tuple(
        Layer(i, name, "Linear", (1,), (1,), (name,), (name,), name, ends_block=True, macs=1.0)
        for i, name in enumerate(names, 1)
    )
    return LayerMap(layers, sizes=dict.fromkeys(names, 1))


def _chosen(subject: Subject, values: tuple[float, ...], k: int) -> tuple[int, ...]:
    """``k`` layers where it takes a number; where it takes a share, that of ``k`` layers."""
    settings = {setting.name for setting in subject.registry.options_of(subject.name)}
    share = {"share": k / len(values)} if "share" in settings else {}
    selection: AbstractLayerSelection = subject.make({"k": k} if _counts(subject) else share)
    return selection(_scores(values), _SEED, _layers(len(values)))


def _counts(subject: Subject) -> bool:
    return isinstance(subject.make(), AbstractSelection)


@demanded("selections")
def as_many_as_asked_for(subject: Subject) -> None:
    """Choose k different layers in ascending order, or as many as its share allows, and not the classifier
    unless told to.
    """
    for k in (1, 3, 6):
        chosen = _chosen(subject, _VALUES, k)
        wanted = k if _counts(subject) else len(set(chosen))
        require(len(set(chosen)) == wanted == len(chosen) > 0, f"of k = {k} it chooses {chosen}")
        require(list(chosen) == sorted(chosen), f"its choice {chosen} is not in order")
        require(len(_VALUES) not in chosen, "it chooses the classifier")


@demanded("selections")
def the_unit_does_not_matter(subject: Subject) -> None:
    """Choose the same layers when all scores are multiplied by ten."""
    one, other = (_chosen(subject, tuple(f * v for v in _VALUES), 2) for f in (1, 10))
    require(one == other, f"it chooses {one}, and {other} of ten times the scores")


@demanded("selections")
def equal_seeds_choose_equally(subject: Subject) -> None:
    """Choose the same layers for equal seeds."""
    one, other = (_chosen(subject, _VALUES, 3) for _ in range(2))
    require(one == other, f"equal seeds choose {one} and {other}")


@demanded("selections")
def a_layer_without_a_score_is_never_chosen(subject: Subject) -> None:
    """Never choose a layer whose score is NaN, and refuse a k above the layers there are."""
    values = (1.0, float("nan"), 2.0, 3.0, 9.0)
    chosen = _chosen(subject, values, 3)
    require(set(chosen) <= {1, 3, 4}, f"of layers 1, 3 and 4 with a score it chooses {chosen}")
    if _counts(subject):
        require(chosen == (1, 3, 4), f"of layers 1, 3 and 4 with a score it chooses {chosen}")
        refused(lambda: _chosen(subject, values, 4), "a k above the layers with a score")
