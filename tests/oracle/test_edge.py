"""EDGE against values of the published code, and against tables by hand."""

import math

import numpy as np
import pytest
import torch

import semirobust as sr
from semirobust.core.errors import InputError
from semirobust.dependence.base.buckets import Buckets, buckets, plugin
from semirobust.dependence.base.weights import optimal_weights

# The published code's values (float64, its defaults) on inputs drawn in this order: kind, N, widths, sum of
# y, then in bits 4.4.1 renormalised, 4.4.1 not, 4.3.1 renormalised, 4.3.1 not.
REFERENCE = [
    ("independent", 1000, 2, 2, -4.357205568, 0.010509712, 0.13649496, 0.015331391, 0.185046105),
    ("related", 1000, 2, 2, -27.792073302, 4.311895211, 1.282832696, 1.309204721, 0.845837926),
    ("independent", 1000, 20, 20, -138.941867839, 9.903029397, 1.194782042, 0.402906401, 0.438495455),
    ("related", 1000, 20, 20, 174.868817541, 9.941784285, 1.398872848, 1.143918271, 0.617718804),
    ("relu", 1000, 512, 256, 102580.12305388617, 9.965784285, 5.036608284, 0.377503738, 0.431550226),
    ("relu", 100, 512, 256, 10201.943110208, 6.64385619, 3.397898012, 0.808373708, 0.540427384),
    ("independent", 50, 512, 256, 4.283299550, 5.60385619, 2.927494416, 1.005597309, 0.602320816),
    ("gaussian", 5000, 1, 1, 112.742934007, 1.347608611, 0.999650367, 1.391538015, 1.275839942),
    ("relu", 10000, 64, 32, 125633.577839095, 10.0, 2.662536811, 0.581109481, 0.480874506),
]


def _drawn():
    rng = np.random.default_rng(0)
    x = np.zeros(0)
    for kind, n, a, b, total, *bits in REFERENCE:
        if kind != "related":  # which keeps the x before it
            x = rng.standard_normal((n, a))
        if kind == "independent":
            y = rng.standard_normal((n, b))
        elif kind == "relu":
            y = np.maximum(x @ rng.standard_normal((a, b)) / {512: 22.6, 64: 8}[a], 0)
        else:
            y = 0.9 * x + math.sqrt(1 - 0.81) * rng.standard_normal((n, b))
        np.testing.assert_allclose(y.sum(), total, rtol=1e-6)
        yield x, y, bits


def test_equals_the_published_code():
    for x, y, bits in _drawn():
        settings = [("4.4.1", True), ("4.4.1", False), ("4.3.1", True), ("4.3.1", False)]
        ours = [sr.EDGE(version=v, normalize=n, permutations=0)(x, y).bits for v, n in settings]
        np.testing.assert_allclose(ours, bits, atol=1e-6)


def test_batches_give_what_whole_arrays_give():
    rng = np.random.default_rng(3)
    x = (100 + rng.standard_normal((700, 40)) * 5).astype(np.float32)
    y = np.tanh(x[:, :9] - 100)
    edge = sr.EDGE(version="4.3.1", permutations=2)
    whole = edge(x, y, seed=4)
    parts = edge.of_batches(lambda: ((x[i : i + 77], y[i : i + 77]) for i in range(0, 700, 77)), seed=4)
    assert parts.bits == pytest.approx(whole.bits, abs=1e-9) and parts.null == pytest.approx(
        whole.null, abs=1e-9
    )
    with pytest.raises(InputError, match="same examples in each pass"):
        rest = iter([700, 600])
        edge.of_batches(lambda: iter([(x[: (n := next(rest))], y[:n])]))
    with pytest.raises(InputError, match="same examples in each pass"):
        rest = iter([600, 700])
        edge.of_batches(lambda: iter([(x[: (n := next(rest))], y[:n])]))


def test_a_table_by_hand():
    """Counts 4, 1 / 1, 2: information sum p_ij log2(p_ij / p_i p_j) without clipping at work except one
    cell.
    """
    x, y = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1]), torch.tensor([0, 0, 0, 0, 1, 0, 1, 1])
    a, b = (Buckets(v, torch.bincount(v)) for v in (x, y))
    logs = [math.log2(8 * 4 / 25), math.log2(8 * 1 / 15), math.log2(8 * 1 / 15), math.log2(8 * 2 / 9)]
    clipped = [max(v, 0.001) for v in logs]
    found = plugin(a, b, 0.001, 10)
    assert found.bits == pytest.approx((4 * clipped[0] + clipped[1] + clipped[2] + 2 * clipped[3]) / 8)
    assert found.singletons == 0.5
    assert plugin(a, b, -math.inf, math.inf).bits == pytest.approx(
        (4 * logs[0] + logs[1] + logs[2] + 2 * logs[3]) / 8
    )


def test_discrete_data_give_their_plug_in_information():
    """With buckets narrower than the steps of the data, EDGE is the plug-in estimate, and H(X) where y tells
    x.
    """
    x = torch.arange(4).repeat(256).double()[:, None]
    edge = sr.EDGE(width=0.01, normalize=False)
    assert edge(x, 3 - x).bits == pytest.approx(2.0)
    assert edge(x, torch.div(x, 2, rounding_mode="floor")).bits == pytest.approx(1.0)
    chain = [torch.from_numpy(np.random.default_rng(1).integers(0, 8, 1024)).double()[:, None]]
    chain += [torch.div(chain[0], 2, rounding_mode="floor"), torch.div(chain[0], 4, rounding_mode="floor")]
    first, second = (edge(chain[0], other).bits for other in chain[1:])
    assert second < first < 3  # data processing: what y keeps of x cannot grow


def test_buckets_tell_rows_apart_as_a_dictionary_does():
    rng = np.random.default_rng(5)
    values = torch.from_numpy(rng.standard_normal((3, 500)))
    width, shift = torch.tensor([0.5, 0.3, 2.0]).double(), torch.tensor([0.1, 0.0, 0.7]).double()
    found = buckets(values, width, shift)
    rows = [tuple(r) for r in torch.floor((values + shift[:, None]) / width[:, None]).T.tolist()]
    for i, row in enumerate(rows):
        assert found.counts[found.of[i]] == rows.count(row)


def test_members_and_weights():
    x = np.random.default_rng(7).standard_normal((400, 3))
    y = x + 0.5 * np.random.default_rng(8).standard_normal((400, 3))
    one = sr.EDGE(members=1, normalize=False)(x, y).bits
    several = {
        c: sr.EDGE(members=10, normalize=False, combine=c)(x, y).bits for c in ("median", "mean", "optimal")
    }
    assert np.diff(sorted([one, several["median"], several["mean"]])).min() > 1e-4
    assert several["optimal"] == pytest.approx(
        several["mean"], abs=1e-6
    )  # with so few members no other weights are better


def test_weights_solve_their_programme():
    """Against many random feasible weights; uniform where the norm alone binds."""
    np.testing.assert_allclose(optimal_weights(np.linspace(1, 1.1, 10), 2048, 1000), 0.1, atol=1e-5)
    growth = np.linspace(1, 1.1, 40)
    powers = np.stack([(growth / 1000) ** (m / 40) for m in range(1, 40)])

    def least(w):
        return max(2 * np.linalg.norm(w), (powers @ w).max() / 2)

    weights = optimal_weights(growth, 20, 1000)
    uniform = np.full(40, 1 / 40)
    assert (
        weights.sum() == pytest.approx(1)
        and np.ptp(weights) > 1e-3
        and least(weights) < least(uniform) - 1e-4
    )
    rng = np.random.default_rng(0)
    for scale in (0.001, 0.01, 0.1):
        for _ in range(300):
            near = weights + scale * rng.standard_normal(40)
            assert least(weights) <= least(near / near.sum()) + 1e-6


def test_the_paper_s_own_sizes_say_nothing():
    """A deterministic ReLU layer at N = 1000 reads seven bits, and so do its permuted rows, whose truth
    is 0.
    """
    rng = np.random.default_rng(2)
    x = rng.standard_normal((1000, 2048))
    y = np.maximum(x @ rng.standard_normal((2048, 1024)) / 45, 0)
    found = sr.EDGE(version="paper")(x, y)
    assert found.bits == pytest.approx(7.25, abs=0.15) and found.null_bits == pytest.approx(7.15, abs=0.15)
    assert found.verdict != "informative"
    saturated = sr.EDGE()(x, y)
    assert saturated.bits == pytest.approx(saturated.ceiling_bits, abs=0.01) == saturated.null_bits
    assert saturated.verdict == "indistinguishable from independence"


@pytest.mark.parametrize("settings", [{"version": "5"}, {"combine": "max"}, {"gamma": 0}, {"width": -1.0}, {"members": 0},
                                      {"permutations": -1}, {"combine": "optimal", "members": 1}])  # fmt: skip
def test_bad_settings(settings):
    with pytest.raises(InputError):
        sr.EDGE(**settings)
