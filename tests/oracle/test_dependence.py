"""Measures of dependence against definitions written out, closed forms and scikit-learn."""

import math

import numpy as np
import pytest
import torch
from sklearn.feature_selection import mutual_info_regression
from sklearn.metrics.pairwise import rbf_kernel

import semirobust as sr
from semirobust.core.seed import Seed
from semirobust.dependence.base.reduction import Moments, sketch


def gaussians(n, d, rho, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d))
    return x, rho * x + math.sqrt(1 - rho**2) * rng.standard_normal((n, d))


def truth(d, rho):
    return -0.5 * d * math.log2(1 - rho**2)


@pytest.mark.parametrize(("d", "rho"), [(1, 0.0), (1, 0.5), (1, 0.9), (2, 0.7), (3, 0.6)])
def test_ksg_on_gaussians(d, rho):
    found = sr.KSG(permutations=5)(*gaussians(4000, d, rho))
    assert (
        found.bits == pytest.approx(truth(d, rho), abs=max(4 * found.error, 0.02))
        and abs(found.null_bits) < 0.05
    )


def test_ksg_agrees_with_scikit_learn():
    for rho in (0.0, 0.4, 0.95):
        x, y = gaussians(1000, 1, rho, seed=3)
        theirs = mutual_info_regression(x, y[:, 0], n_neighbors=3, random_state=0)[0] / math.log(2)
        assert max(sr.KSG(permutations=0)(x, y).bits, 0) == pytest.approx(theirs, abs=2e-3)


def test_ksg_by_counting():
    """Equation 8 with loops, in the maximum norm (few dimensions) and the Euclidean one (many)."""
    for d, norm in ((3, np.inf), (5, 2)):
        x, y = gaussians(60, d, 0.8, seed=d)
        scaled = [(s - s.mean(0)) / s.std(0, ddof=1) for s in (x, y)]
        apart = [np.linalg.norm(s[:, None] - s[None], ord=norm, axis=2) for s in scaled]
        if norm == 2:
            apart = [a / np.sort(a.ravel())[(a.size - 1) // 2] for a in apart]
        harmonic = lambda n: sum(1 / i for i in range(1, n)) - 0.5772156649015329  # noqa: E731
        total = 0.0
        for i in range(60):
            radius = np.sort(np.maximum(apart[0][i], apart[1][i]))[3]
            near = [int((a[i] < radius).sum()) - 1 for a in apart]
            total += harmonic(3) + harmonic(60) - harmonic(near[0] + 1) - harmonic(near[1] + 1)
        assert sr.KSG(permutations=0)(x, y).bits == pytest.approx(total / 60 / math.log(2), abs=1e-9)


def test_infonce_is_a_bound_that_is_reached_in_easy_cases():
    found = sr.InfoNCE(permutations=19)(*gaussians(4000, 2, 0.8))
    assert (
        truth(2, 0.8) * 0.8 < found.bits < truth(2, 0.8) + 4 * found.error and found.verdict == "informative"
    )
    none = sr.InfoNCE(permutations=19)(*gaussians(2000, 2, 0.0))
    assert none.bits < 0.05 and none.verdict == "indistinguishable from independence"
    full = sr.InfoNCE(permutations=0, batch=32)(*gaussians(2000, 8, 0.9999))
    assert full.bits == pytest.approx(full.ceiling_bits, abs=0.3) and full.ceiling_bits == 5


def test_information_cannot_grow_along_a_chain():
    x, y = gaussians(3000, 1, 0.9, seed=1)
    z = 0.7 * y + math.sqrt(1 - 0.49) * np.random.default_rng(9).standard_normal(y.shape)
    for measure in (
        sr.KSG(permutations=0),
        sr.InfoNCE(permutations=0),
        sr.EDGE(normalize=False, permutations=0),
    ):
        assert measure(x, z).bits < min(measure(x, y).bits, measure(y, z).bits)


def test_invertible_maps_leave_information_alone():
    x, y = gaussians(3000, 1, 0.8, seed=2)
    ksg = sr.KSG(permutations=0)
    assert ksg(np.exp(x), y**3).bits == pytest.approx(ksg(x, y).bits, abs=0.08)
    assert ksg(7 + 3 * x, -y).bits == pytest.approx(ksg(x, y).bits, abs=1e-3)


def test_cka_by_its_kernels():
    x, y = (
        np.random.default_rng(0).standard_normal((30, 7)),
        np.random.default_rng(1).standard_normal((30, 4)),
    )
    y[:, :2] += x[:, :2]
    centre = np.eye(30) - 1 / 30
    k, m = centre @ x @ x.T @ centre, centre @ y @ y.T @ centre
    assert sr.CKA()(x, y).value == pytest.approx((k * m).sum() / math.sqrt((k * k).sum() * (m * m).sum()))
    ratio = _song(x @ x.T, y @ y.T) / math.sqrt(_song(x @ x.T, x @ x.T) * _song(y @ y.T, y @ y.T))
    assert sr.CKA(debiased=True)(x, y).value == pytest.approx(ratio)


def _song(k, m):
    """Unbiased HSIC, equation 5 of Song et al. 2012, with matrices of ones."""
    n = len(k)
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    one = np.ones(n)
    middle = (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
    return (np.trace(k @ m) + middle - 2 / (n - 2) * (one @ k @ m @ one)) / (n * (n - 3))


def test_hsic_by_scikit_learns_kernels():
    x, y = gaussians(80, 3, 0.7)
    kernels = []
    for side in (x, y):
        apart = np.linalg.norm(side[:, None] - side[None], axis=2)[np.triu_indices(80, 1)]
        width = np.sort(apart)[(len(apart) - 1) // 2]
        kernels.append(rbf_kernel(side, gamma=0.5 / width**2))
    assert sr.HSIC()(x, y).value == pytest.approx(_song(*kernels), rel=1e-9)
    ratio = _song(*kernels) / math.sqrt(_song(kernels[0], kernels[0]) * _song(kernels[1], kernels[1]))
    assert sr.HSIC(normalized=True)(x, y).value == pytest.approx(ratio, rel=1e-9)


def test_distance_correlation_with_loops():
    x, y = gaussians(25, 2, 0.5)
    a, b = (np.linalg.norm(s[:, None] - s[None], axis=2) for s in (x, y))
    plain = [m - m.mean(0)[None] - m.mean(1)[:, None] + m.mean() for m in (a, b)]
    squared = (plain[0] * plain[1]).sum() / math.sqrt((plain[0] ** 2).sum() * (plain[1] ** 2).sum())
    assert sr.DistanceCorrelation()(x, y).value == pytest.approx(math.sqrt(squared))
    unbiased = []
    for m in (a, b):
        n = len(m)
        u = np.zeros_like(m)
        for i in range(n):
            for j in range(n):
                if i != j:
                    u[i, j] = (
                        m[i, j]
                        - m[i].sum() / (n - 2)
                        - m[:, j].sum() / (n - 2)
                        + m.sum() / ((n - 1) * (n - 2))
                    )
        unbiased.append(u)
    ratio = (unbiased[0] * unbiased[1]).sum() / math.sqrt((unbiased[0] ** 2).sum() * (unbiased[1] ** 2).sum())
    assert sr.DistanceCorrelation(unbiased=True)(x, y).value == pytest.approx(ratio)


def test_rotations_shifts_and_scales_do_not_matter_where_they_must_not():
    x, y = gaussians(200, 9, 0.5)
    rotation = np.linalg.qr(np.random.default_rng(4).standard_normal((9, 9)))[0]
    for measure in (sr.CKA(permutations=0), sr.DistanceCorrelation(permutations=0), sr.HSIC(permutations=0)):
        assert measure(5 + 3 * x @ rotation, y).value == pytest.approx(measure(x, y).value, rel=1e-6)


def test_the_order_of_examples_does_not_matter():
    x, y = gaussians(300, 4, 0.6)
    order = np.random.default_rng(6).permutation(300)
    for measure in (sr.CKA(permutations=0), sr.DistanceCorrelation(permutations=0), sr.HSIC(permutations=0),
                    sr.KSG(permutations=0), sr.EDGE(permutations=0, width=0.3)):  # fmt: skip
        assert measure(x[order], y[order]).value == pytest.approx(measure(x, y).value, rel=1e-6)


def test_a_sketch_keeps_inner_products():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.standard_normal((40, 3000)) + 0.3)
    side = Moments()
    side.see(x, spread=False)
    kept = sketch(side, 512, Seed(("s",)))(x)
    assert kept.shape == (40, 512)
    exact, sketched = x @ x.T, kept @ kept.T
    assert ((sketched - exact).abs() / x.norm(dim=1).square().mean()).mean() < 0.06
    # Wide features give nearly the same alignment as whole ones.
    y = torch.relu(x @ torch.from_numpy(rng.standard_normal((3000, 100))) / 55)
    assert sr.CKA(sketch=1024, permutations=0)(x, y).value == pytest.approx(
        sr.CKA(sketch=10**6, permutations=0)(x, y).value, abs=0.03
    )


def test_null_interval_and_error_mean_what_they_say():
    """Over samples, the interval of KSG covers about 95 %, and the permutation test rejects about 5 %."""
    covered, rejected = [], []
    for seed in range(60):
        low, high = sr.KSG(permutations=0)(*gaussians(300, 1, 0.6, seed)).interval
        covered.append(low <= truth(1, 0.6) <= high)
        none = sr.DistanceCorrelation(permutations=19)(*gaussians(60, 2, 0.0, seed), seed=seed)
        rejected.append(none.verdict != "indistinguishable from independence")
    assert np.mean(covered) > 0.85 and np.mean(rejected) < 0.15
