"""What is said of numbers: bounds of shares, signs of differences, ties, and success at chance."""

import pytest

from semirobust.core.errors import InputError
from semirobust.core.interval import at_least, ends, proportion_interval, share_interval, upper_limit
from semirobust.experiments.chance import no_better_than_chance
from semirobust.experiments.inputs import Inputs
from semirobust.experiments.kept_level import nothing_said
from semirobust.experiments.recipe import Recipe, read_recipe
from semirobust.experiments.recovered import smallest_prefix
from semirobust.experiments.verdict import verdict
from semirobust.procedures.recovery import Recovered, Trial
from semirobust.records.schema import About, LayerEntry, Number, Origin, Quantity
from semirobust.reports.markdown import Seeds, by_seed, paired, percent, plain, points
from semirobust.reports.source import Cell
from semirobust.training.training import Trained
from semirobust.training.validation import ValidationScores
from tests.kinds import kind

AT = Origin(config="c", version="0", device="d", seed="0")


def _numbers(values, arm="a", n=80):
    return [
        Number(quantity=Quantity.ACCURACY, value=v, n=n, about=About(arm=arm, attack="p", seed=i), origin=AT)
        for i, v in enumerate(values)
    ]


def _said(ours, theirs):
    records = [*_numbers(ours, "ours"), *_numbers(theirs, "theirs")]
    return verdict(records, "ours", ["theirs"], "p", AT)[1]


@kind(
    "an accuracy over two or three seeds that differ much",
    "its interval ends at 0 and at 100 %, in tables, reports and pages",
    about="statistics",
)
@pytest.mark.parametrize("values", [(0.95, 0.67), (0.02, 0.3), (0.5, 0.99, 0.7)])
def test_intervals_of_shares_stay_shares(values):
    cell = Cell.of(_numbers(values))
    assert 0 <= cell.low < cell.value < cell.high <= 1
    assert "-" not in percent(Seeds(dict(enumerate(values)), 80))


@kind(
    "an accuracy of 0 % or 100 % that all seeds agree on",
    "the exact binomial interval over the images, never 0.0 to 0.0",
    about="statistics",
)
@pytest.mark.parametrize(("value", "words"), [(0.0, "0.0 (0.0 to 4.5)"), (1.0, "100.0 (95.5 to 100.0)")])
def test_seeds_that_agree_are_not_certain(value, words):
    cell, seeds = Cell.of(_numbers([value] * 3)), Seeds(dict.fromkeys(range(3), value), 80)
    assert (
        (cell.low, cell.high) == proportion_interval(round(80 * value), 80) == share_interval([value] * 3, 80)
    )
    assert percent(seeds) == words
    assert points(paired(seeds, seeds)) == "+0.0 (-1.2 to +1.2)"


@kind(
    "an interval that is narrower than the digits of a table",
    "it gets further digits until its ends differ",
    about="statistics",
)
def test_narrow_intervals_have_two_ends():
    assert ends(0.004 - 1 / 250, 0.008, sign="+") == ends(-1e-18, 0.008, sign="+") == ("+0.0", "+0.8")
    assert ends(0.0, 0.00037) == ("0.00", "0.04") and ends(-0.0001, 0.0001, sign="+") == ("-0.01", "+0.01")
    assert ends(0.25, 0.5) == ("25.0", "50.0") and ends(0.3, 0.3) == ("30.0", "30.0")


@kind(
    "a method that is worse than what it is compared with",
    "the sentence says which is better, and its interval has the sign of that sentence",
    about="statistics",
)
def test_the_interval_has_the_sign_of_the_sentence():
    text = _said((0.40, 0.42, 0.41), (0.47, 0.50, 0.48)).text
    assert "ours does not win: theirs is better by 7.3 points" in text and "−" not in text
    low, high = text.partition("seeds ")[2].rstrip(")").split(" to ")
    assert 0 < float(low) < 7.3 < float(high)


@kind(
    "a comparison on one seed",
    "it says which of the two is ahead, and that one seed decides nothing",
    about="statistics",
)
def test_one_seed_has_a_direction():
    assert "theirs is better than ours by 10.0 points" in _said((0.4,), (0.5,)).text
    assert "ours is better than theirs by 10.0 points" in _said((0.5,), (0.4,)).text
    assert "ours and theirs: they are equal under p" in _said((0.5,), (0.5,)).text


@kind("two methods that reach the same", "they are called equal; nobody leads by 0.0", about="statistics")
def test_a_tie_has_no_leader():
    for ours, theirs in (((0.5, 0.6), (0.5, 0.6)), ((0.5, 0.6), (0.6, 0.5))):
        found = _said(ours, theirs)
        assert "equal under p" in found.text and "leads" not in found.text and found.level == "note"
    leads = _said((0.3, 0.6, 0.5), (0.5, 0.6, 0.6)).text
    assert "theirs leads by 10.0 points" in leads


def _recovered(robust):
    scores = ValidationScores({"robust": robust, "clean": 0.9})
    trial = Trial(scores, Trained(None, (), {}, 0, ""), 1)
    return {2: Recovered((3, 4), robust, scores, (trial,))}


def _answer(robust, tolerance=0.0):
    recipe = read_recipe(None, {"recover.tolerance": tolerance})
    return smallest_prefix(_recovered(robust), 4, recipe, AT, examples=200, classes=10)


@kind(
    "a suffix that comes back to a robust network of 0 %",
    "it is said that this says nothing; it is not called enough, nor green",
    about="statistics",
)
def test_coming_back_to_nothing():
    for robust, tolerance in ((0.0, 0.0), (0.12, 0.0), (0.35, 0.3)):
        _, finding = _answer(robust, tolerance)
        assert finding.level == "warning" and "says nothing" in finding.text and "chance" in finding.text
    number, finding = _answer(0.35)
    assert number.quantity is Quantity.ROBUST_PREFIX and "is enough" in finding.text


@kind(
    "a pruned network that is as robust as one of 0 %",
    "it is not called robust enough, but said to be at chance",
    about="statistics",
)
def test_as_robust_as_nothing():
    def levels(robust):
        return [
            Number(quantity=q, value=v, n=200, about=About(level=0, epoch=0), origin=AT)
            for q, v in ((Quantity.VALIDATION_ROBUST, robust), (Quantity.VALIDATION_CLEAN, 0.9))
        ]

    settings, held_out = Recipe().prune, Inputs.of(Recipe()).held_out
    assert "0.0% under attack" in nothing_said(levels(0.0), settings, held_out)
    assert not nothing_said(levels(0.6), settings, held_out)
    assert no_better_than_chance(0.15, 50, 10) and not no_better_than_chance(0.15, 5000, 10)


def test_an_interval_says_what_it_is_over():
    """Seeds that agree have no spread: theirs is the interval over the images of one of them."""
    assert (
        Cell.of(_numbers([0.5] * 3)).over == "80 images" and Cell.of(_numbers([0.5, 0.6])).over == "2 seeds"
    )
    unknown = [n.model_copy(update={"n": None}) for n in _numbers([0.5] * 3)]
    assert (Cell.of(unknown).low, Cell.of(unknown).high) == (None, None)  # never 50.0 to 50.0


def test_a_count_that_all_seeds_share_has_no_interval():
    counts = [Number(quantity=Quantity.MACS, value=5.0, about=About(seed=i), origin=AT) for i in range(3)]
    assert Cell.of(counts).low is None and Cell.of(counts).value == 5.0


@pytest.mark.parametrize(("better", "level"), [((0.06, 0.07, 0.06), "warning"), ((0.5, 0.52, 0.51), "good")])
def test_a_win_at_chance_is_no_success(better, level):
    last = LayerEntry(index=9, name="fc", type="Linear", shape=(10,), parameters=1, block="fc", origin=AT)
    records = [last, *_numbers(better, "ours"), *_numbers((0.0, 0.0, 0.0), "theirs")]
    found = verdict(records, "ours", ["theirs"], "p", AT)[1]
    assert found.level == level and ("no better than guessing (10.0%)" in found.text) is (level == "warning")


def test_seeds_that_agree_on_what_has_no_images_say_so():
    """Never 0.0 to 0.0 for want of spread."""
    same = Seeds(dict.fromkeys(range(3), 0.0))
    assert percent(same) == "0.0 (3 seeds agree)" and plain(same) == "0.00 (3 seeds agree)"


def test_a_difference_stays_within_a_hundred_points():
    assert points(Seeds({0: 0.9, 1: -0.9}, 10)) == "+0.0 (-100.0 to +100.0)"
    assert points(Seeds({0: 0.5}, 10)) == "+50.0 (one seed)"


def test_the_end_of_a_difference_is_no_signed_zero():
    """A lead that begins a little below 0 says by how much."""
    assert ends(-0.0004, 0.033, sign="+") == ("-0.04", "+3.30")
    assert ends(0.0, 0.033, sign="+") == ("+0.0", "+3.3")
    assert ends(-0.02, 0.00004, sign="+") == ("-2.000", "+0.004")
    assert ends(0.0004, 0.033) == ("0.0", "3.3")


def test_the_tail_of_a_binomial_is_that_of_scipy():
    """And decides as the interval of SciPy would, which an evaluation does without."""
    from scipy.stats import binomtest

    for n in (1, 7, 64, 200):
        for k in {0, 1, n // 3, n - 1, n}:
            for p in (0.01, 0.1, 0.5, 0.97):
                expected = binomtest(k, n, p, alternative="greater").pvalue
                assert at_least(k, n, p) == pytest.approx(expected, rel=1e-9, abs=1e-15)
                low, high = proportion_interval(k, n, level=0.99)
                assert (low <= p) == (at_least(k, n, p) >= 0.005)
                assert (high < p) == (1 - at_least(k + 1, n, p) < 0.005)
            limit = binomtest(k, n, alternative="less").proportion_ci(0.95, method="exact").high
            assert upper_limit(k, n) == pytest.approx(limit, rel=1e-9)
    assert upper_limit(0, 0) == 1.0
    assert at_least(3, 2, 0.5) == 0 and at_least(2, 2, 1.0) == 1 and at_least(1, 2, 0.0) == 0


def test_numbers_of_one_seed_on_other_images_are_not_averaged():
    """As an arm's accuracy on all test images and that under a dear attack on the first of them."""
    numbers = [*_numbers([0.4, 0.5], n=2000), *_numbers([0.3, 0.6], n=300)]
    with pytest.raises(InputError, match=r"seed 0: the numbers are of 300 and 2000 examples; say which"):
        by_seed(numbers)
    assert by_seed(numbers, lambda number: number.n == 300).values == {0: 0.3, 1: 0.6}
    assert by_seed([*numbers[:2], *_numbers([0.6, 0.6], n=2000)]).values == {0: 0.5, 1: pytest.approx(0.55)}
