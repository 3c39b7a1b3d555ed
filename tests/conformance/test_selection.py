"""What every registered selection must do."""

import numpy as np
import pytest

from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.layers.scores import LayerScores
from semirobust.selection import SELECTIONS

EVERY = pytest.mark.parametrize("name", SELECTIONS.names())


def _scores(values):
    v = np.array(values, dtype=float)
    return LayerScores.without_interval(
        "test", v, indices=tuple(range(1, len(v) + 1)), examples=10, layers=len(v)
    )


def test_by_hand():
    scores, seed = _scores([3, 1, 4, 1, 5, 9, 2]), Seed(("a",))
    assert SELECTIONS.make("top", {"k": 2})(scores, seed) == (5, 6)
    assert SELECTIONS.make("bottom", {"k": 2})(scores, seed) == (2, 4)
    assert SELECTIONS.make("top", {"k": 1})(_scores([2, 2, 1]), seed) == (1,)  # ties go to the earlier layer
    assert SELECTIONS.make("top", {"k": 1, "classifier": True})(_scores([2, 2, 9]), seed) == (3,)


@pytest.mark.parametrize(
    ("layers", "k"), [(18, 1), (19, 1), (32, 2), (50, 3), (68, 4), (20, 1), (21, 2), (122, 7)]
)
def test_five_percent_rounded_up(layers, k):
    assert len(SELECTIONS.make("top")(_scores(range(layers)), Seed(("a",)))) == k


def test_a_densenet_121_has_the_papers_five():
    """5 % of 121 would be 7; the paper says 5, for WRN-70-16 4, and for the others what 5 % give."""
    assert len(SELECTIONS.make("top")(_scores(range(121)), Seed(("a",)))) == 5


def test_random_is_uniform_over_layers():
    selection = SELECTIONS.make("random", {"k": 1})
    counts = np.bincount(
        [selection(_scores([1, 2, 3, 4]), Seed((str(i),)))[0] for i in range(3000)], minlength=4
    )
    assert (abs(counts[1:4] - 1000) < 110).all()


def test_too_many_is_one_sentence():
    with pytest.raises(InputError, match="k: expected 1 to 2 layers, got 3"):
        SELECTIONS.make("top", {"k": 3})(_scores([1, 2, 3]), Seed(("a",)))
