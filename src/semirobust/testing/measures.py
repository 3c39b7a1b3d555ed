"""What every measure by layer must do."""

import numpy as np

from semirobust.attacks.pgd import PGD
from semirobust.core.seed import Seed
from semirobust.layers.map import layer_map
from semirobust.layers.scores import LayerScores
from semirobust.measures import MeasureContext
from semirobust.models.base.build import build_model
from semirobust.testing.base.check import Subject, demanded, require
from semirobust.testing.base.network import small_images, untouched
from semirobust.threats.linf import Linf

__all__: list[str] = []


def _measured(subject: Subject, *, guarded: bool = False) -> list[LayerScores]:
    """Scores of a small residual network on 120 images of three classes."""
    x, y = small_images(120).all()
    model = build_model("resnet8", 3, 0.125, image_size=8)
    attack = PGD(Linf(0.1), steps=2)
    x_adv = attack.in_batches(model, x, y, seed=Seed(("attack",)))
    context = MeasureContext(model, layer_map(model, x), x, y, x_adv, attack, Seed(("check",)))
    if guarded:
        with untouched(model):
            found: list[LayerScores] = subject.make().scores(context)
        return found
    again: list[LayerScores] = subject.make().scores(context)
    return again


@demanded("measures")
def scores_are_of_layers_and_inside_their_intervals(subject: Subject) -> None:
    """Give a value with an interval for layers of the map, and leave the model alone."""
    found = _measured(subject, guarded=True)
    require(found, "there are no scores")
    for scores in found:
        n = len(scores.values)
        require(n == len(scores.indices) == len(scores.low) == len(scores.high), "lengths differ")
        require(all(1 <= i <= scores.layers for i in scores.indices), "an index is none of the layer map")
        known = np.isfinite(scores.low) & np.isfinite(scores.high)
        require((scores.low[known] <= scores.high[known]).all(), "an interval ends before it begins")


@demanded("measures")
def equal_seeds_give_equal_scores(subject: Subject) -> None:
    """Give the same scores again for equal seeds."""
    for one, other in zip(_measured(subject), _measured(subject), strict=True):
        same = np.array_equal(one.values, other.values, equal_nan=True)
        require(same, f"equal seeds give {one.values} and {other.values}")
