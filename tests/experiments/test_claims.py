"""Claims: p over seeds, Holm's adjustment over a family, and verdicts by the stated rule."""

import math

import pytest
from scipy.stats import ttest_1samp, ttest_rel

from semirobust.records.schema import About, Number, Origin, Quantity
from semirobust.reports.claims import Claim, Side, claims_table, decide
from semirobust.reports.markdown import Seeds, adjusted, written_p
from semirobust.reports.source import Source

_AT = Origin(config="c", version="v", device="d", seed="0")


def _source(arms, network="n", n=10_000):
    """Accuracies by arm, one for each seed."""
    return Source(
        numbers=[
            Number(
                quantity=Quantity.ACCURACY,
                value=value,
                n=n,
                about=About(network=network, arm=arm, seed=seed),
                origin=_AT,
            )
            for arm, values in arms.items()
            for seed, value in enumerate(values)
        ]
    )


def _claim(one, other="b", places=("n",), **more):
    def side(arm):
        return Side(Quantity.ACCURACY, {"arm": arm})

    settings = {"family": "f", "trivial": 0.005} | more
    return Claim("table 1", f"{one} beats {other}", "+1", places=places, one=side(one),
                 other=side(other) if other else None, **settings)  # fmt: skip


def test_p_over_seeds_is_that_of_the_paired_t_test():
    one, other = [0.31, 0.28, 0.35, 0.30, 0.33], [0.29, 0.27, 0.31, 0.30, 0.30]
    gains = Seeds(dict(enumerate(a - b for a, b in zip(one, other, strict=True))), 10_000)
    assert gains.p() == pytest.approx(ttest_rel(one, other).pvalue, rel=1e-9)
    assert gains.p(0.01) == pytest.approx(ttest_1samp(list(gains.values.values()), 0.01).pvalue, rel=1e-9)


def test_one_seed_and_seeds_that_do_not_differ_have_no_p():
    assert Seeds({0: 0.1}, 100).p() is None
    assert Seeds({0: 0.1, 1: 0.1, 2: 0.1}, 100).p() is None
    # Two images apart in a hundred, and by chance less apart than one image: spread of one at least.
    close = Seeds({0: 0.020, 1: 0.021, 2: 0.019}, 100)
    assert close.p() == pytest.approx(2 * _upper_tail(0.02 / (0.01 / math.sqrt(3))), rel=1e-9)
    assert close.p(shares=False) < 0.001


def _upper_tail(t):
    """Student's t with two degrees of freedom, in closed form."""
    return 0.5 - t / (2 * math.sqrt(2 + t * t))


def test_holm_goes_step_by_step_and_leaves_out_what_has_no_p():
    """Three times the smallest p, twice the next, once the last; none below the one before."""
    seeds = [Seeds({0: value, 1: 3 * value, 2: 2 * value}, None) for value in (1.0, 0.0)]
    found = adjusted([*seeds, Seeds({0: 1.0})])
    raw = ttest_1samp([1.0, 3.0, 2.0], 0).pvalue
    assert found == [pytest.approx(raw), None, None]
    three = [Seeds({0: a, 1: b, 2: c}) for a, b, c in ((1, 2, 3), (5, 6, 7), (9, 10, 11.5))]
    first, second, third = sorted(each.p() for each in three)
    steps = [3 * first, max(3 * first, 2 * second), max(3 * first, 2 * second, third)]
    assert sorted(adjusted(three)) == [pytest.approx(step) for step in steps]


def test_a_claim_holds_only_after_adjustment():
    """What holds alone, beside two comparisons that say nothing does not."""
    gains = [0.010, 0.030, 0.020, 0.040, 0.006]
    arms = {"b": [0.2] * 5, "a": [0.2 + g for g in gains]}
    noise = {f"c{i}": [0.2, 0.21, 0.19, 0.2 + 0.001 * i, 0.199] for i in (1, 2)}
    source = _source(arms | noise)
    alone = decide([_claim("a")], source)[0]
    assert alone.verdict == "holds" and 0.02 < alone.p == alone.adjusted < 0.05
    several = decide([_claim("a"), _claim("c1"), _claim("c2")], source)
    assert several[0].verdict == "undecided" and several[0].adjusted == pytest.approx(3 * alone.p)
    assert several[0].tests == 3
    apart = decide([_claim("a"), _claim("c1", family="g"), _claim("c2", family="g")], source)
    assert apart[0].verdict == "holds" and apart[0].tests == 1


def test_each_verdict_by_its_rule():
    base = [0.2, 0.21, 0.22, 0.2]
    source = _source(
        {
            "b": base,
            "worse": [b - 0.05 - 0.001 * i for i, b in enumerate(base)],
            "equal": [b + 0.0001 * (i - 1.5) for i, b in enumerate(base)],
            "noisy": [0.3, 0.1, 0.25, 0.19],
            "once": base[:1],
        }
    )
    names = ["worse", "equal", "noisy", "once", "never"]
    found = {n: decide([_claim(n, family=n)], source)[0] for n in names}
    assert [(found[n].verdict, found[n].why) for n in names] == [
        ("does not hold", ""),
        ("does not hold", "no such difference"),
        ("undecided", ""),
        ("undecided", "one seed"),
        ("not run", ""),
    ]
    less = decide([_claim("worse", direction="less")], source)[0]
    assert less.verdict == "holds"
    kept = decide([_claim("equal", null=-0.01, trivial=0.0)], source)[0]
    assert kept.verdict == "holds" and kept.p < 0.001  # of a loss of a point
    agree = decide([_claim("b", other=None, null=0.1, unit="percent")], _source({"b": [0.2] * 3}))[0]
    assert (agree.verdict, agree.why) == ("undecided", "seeds do not differ")


@pytest.mark.parametrize(
    ("values", "said"),
    [((0.2, 0.2, 0.3), ("holds", "")), ((0.2, 0.05, 0.2), ("undecided", "seeds differ")),
     ((0.2, 0.3), ("undecided", "two seeds")), ((0.01, 0.0, 0.0), ("does not hold", ""))],
)  # fmt: skip
def test_what_is_decided_seed_by_seed_needs_three_on_one_side(values, said):
    one = decide([_claim("b", other=None, null=0.1, exact=True)], _source({"b": values}))[0]
    assert (one.verdict, one.why) == said and one.p is None


def test_the_network_with_most_seeds_decides_and_of_equal_ones_the_first():
    old, few, drawn = (
        _source({"a": [0.3 + 0.01 * i for i in range(n)], "b": [0.2] * n}, network=name)
        for name, n in (("late", 3), ("drawn", 2), ("drawn", 3))
    )
    claim = _claim("a", places=("drawn", "late"))

    def network(*sources):
        return decide([claim], Source(numbers=[n for s in sources for n in s.numbers]))[0].network

    assert network(old, few) == "late" and network(old, drawn) == network(drawn) == "drawn"
    assert decide([_claim("a", places=())], old)[0].verdict == "not run"


def test_a_line_says_what_decided_and_what_its_interval_is_over():
    source = _source({"a": [0.31, 0.32, 0.34], "b": [0.2, 0.2, 0.21]}, network="late")
    decided = decide([_claim("a", places=("late",)), _claim("x", places=("late",))], source)
    text = claims_table(decided, lambda network: f"page.md#{network}", lambda network: "images too")
    line, missing = text.splitlines()[2:]
    assert line.startswith("| a beats b | table 1 | +1 | **holds** | +12.0 (")
    assert line.endswith("| 3, images too | 10,000 | [late](page.md#late) |") and " (1) |" in line
    assert missing == "| x beats b | table 1 | +1 | not run | – | – | – | – | – |"


def test_p_near_the_level_shows_its_side():
    assert [written_p(p) for p in (None, 0.0001, 0.0123, 0.05012, 0.0496, 0.3)] == [
        "–", "< 0.001", "0.012", "0.0501", "0.0496", "0.30",
    ]  # fmt: skip
