"""The semirobustness paper's statements on networks so small that every quantity is exact.

Inputs, labels in {-1, 1} and perturbations are finitely many, so infima are minima over a list.
"""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from torch import nn

import semirobust as sr

EXAMPLES, MOVES = 12, 4


def _chain(seed: int, depth: int = 3, width: int = 3):
    """A random ReLU chain: a generator, labels, each layer's features (n, m, d) as the library takes them,
    and its matrices.

    The features are those of n inputs with m perturbations each.
    """
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(EXAMPLES, 1, width)) + 0.5 * rng.normal(size=(EXAMPLES, MOVES, width))
    y = rng.choice([-1.0, 1.0], EXAMPLES)
    matrices = [rng.normal(size=(width, width)) for _ in range(depth)]
    parts: list[nn.Module] = []
    for matrix in matrices:
        parts += [nn.Linear(width, width, bias=False).double(), nn.ReLU()]
        with torch.no_grad():
            parts[-2].weight.copy_(torch.from_numpy(matrix.T))
    model = nn.Sequential(*parts, nn.Linear(width, 1).double()).eval()
    flat = torch.from_numpy(x.reshape(-1, width))
    found = sr.forward_to(model, sr.layer_map(model, flat), flat, range(1, depth + 1))
    return (
        rng,
        y,
        [found[i].detach().numpy().reshape(EXAMPLES, MOVES, width) for i in range(1, depth + 1)],
        matrices,
    )


def _gamma(y, values) -> float:
    """E min_delta y G(F(x + delta)), from G's values (n, m)."""
    return float((y[:, None] * values).min(1).mean())


def _best(y, feature) -> float:
    """The largest gamma over all maps G of a layer's space to [-1, 1]: a linear programme over the distinct
    features.
    """
    points, which = np.unique(feature.reshape(-1, feature.shape[2]), axis=0, return_inverse=True)
    which = which.reshape(feature.shape[:2])
    n, k = len(y), len(points)
    rows = []
    for i in range(n):  # t_i <= y_i G(f) for each perturbation
        for column in which[i]:
            row = np.zeros(n + k)
            row[i], row[n + column] = 1, -y[i]
            rows.append(row)
    cost = np.concatenate([-np.ones(n) / n, np.zeros(k)])
    found = linprog(cost, A_ub=np.array(rows), b_ub=np.zeros(len(rows)), bounds=[(-1, 1)] * (n + k))
    return -found.fun


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_theorem_1_a_prefix_is_semirobust_just_if_its_layers_are(seed):
    """Later layers classify through earlier ones, so the best gamma never rises with depth."""
    _, y, layers, _ = _chain(seed)
    best = [_best(y, feature) for feature in layers]
    assert all(a >= b - 1e-9 for a, b in itertools.pairwise(best))


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_theorem_1_the_head_of_the_last_layer_serves_every_layer_before(seed):
    """G_i = G_n after the layers i+1..n has the same gamma: the map that the theorem's proof takes."""
    rng, y, layers, matrices = _chain(seed)
    head = rng.normal(size=3)
    gamma = _gamma(y, layers[-1] @ head)
    for i, feature in enumerate(layers):  # G_i = head after the layers i+1..n
        for matrix in matrices[i + 1 :]:
            feature = np.maximum(feature @ matrix, 0)
        assert _gamma(y, feature @ head) == pytest.approx(gamma)


@given(st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_lemma_2_a_linear_last_layer_is_at_least_as_semirobust_as_its_terms(seed):
    """f_n = sum_i lambda_i f_i: its gamma is at least the sum of the gammas of the heads lambda_i."""
    rng, y, layers, _ = _chain(seed)
    heads = [rng.normal(size=3) for _ in layers]
    terms = [feature @ head for feature, head in zip(layers, heads, strict=True)]
    assert _gamma(y, sum(terms)) >= sum(_gamma(y, term) for term in terms) - 1e-9


@given(st.integers(0, 10_000), st.integers(2, 4))
@settings(max_examples=50, deadline=None)
def test_theorem_3_a_linear_suffix_is_semirobust_through_its_prefix(seed, suffix):
    """Each layer of the suffix is a linear combination of all before it; expanded, the last is one of the
    prefix alone.
    """
    rng, y, prefix, _ = _chain(seed)
    everything, expansion = (
        list(prefix),
        [np.eye(len(prefix))[i][:, None, None] * np.eye(3) for i in range(len(prefix))],
    )
    for step in range(suffix):
        width = 1 if step == suffix - 1 else 3
        maps = [rng.normal(size=(3, width)) for _ in everything]
        everything.append(sum(f @ m for f, m in zip(everything, maps, strict=True)))
        expansion.append(sum(e @ m for e, m in zip(expansion, maps, strict=True)))
    heads = expansion[-1]  # (prefix layers, 3, 1)
    terms = [feature @ head for feature, head in zip(prefix, heads, strict=True)]
    np.testing.assert_allclose(everything[-1], sum(terms), atol=1e-9 * np.abs(everything[-1]).max() + 1e-9)
    assert _gamma(y, everything[-1][..., 0]) >= sum(_gamma(y, term[..., 0]) for term in terms) - 1e-6


def test_without_linearity_a_prefix_promises_nothing():
    """A robust prefix with a suffix that throws its feature away: dependence is what the theorems ask for."""
    _, y, layers, _ = _chain(3)
    first = np.concatenate([layers[0], np.broadcast_to(y[:, None, None], (*layers[0].shape[:2], 1))], 2)
    assert _best(y, first) == pytest.approx(1)
    assert _best(y, np.zeros_like(first)) == pytest.approx(abs(y.mean()))


# Lemma 1 and theorem 2: does dependence on the layer before carry robustness on? Assumption A1 is that the
# information given the class is at least rho; A2 that there is a constant U. Where A2 speaks of densities
# alone, U bounds the logarithm of p(f, g | y) / (p(f | y) p(g | y)). Where it speaks of heads too, U couples
# their margins with the information. Both are tested; the alphabets are finite, so all numbers are exact.


def _information(y, first, second) -> tuple[float, float]:
    """I(first; second | Y) in bits, and the largest logarithm of the ratio of densities; each row as likely
    as another.
    """
    bits, largest = 0.0, 0.0
    for label in set(y):
        rows = [(tuple(a), tuple(b)) for a, b, c in zip(first, second, y, strict=True) if c == label]
        n = len(rows)
        left, right = Counter(a for a, _ in rows), Counter(b for _, b in rows)
        for (a, b), count in Counter(rows).items():
            ratio = math.log2(count * n / (left[a] * right[b]))
            bits, largest = bits + count / len(y) * ratio, max(largest, ratio)
    return bits, largest


def _nuisance(k: int):
    """Images of a label that every perturbation leaves alone, and a nuisance of k values."""
    rows = [(label, value) for label in (-1.0, 1.0) for value in range(k)]
    y = np.array([label for label, _ in rows])
    first = np.array(rows)[:, None, :]  # the first layer passes on both; (n, 1 perturbation, 2)
    return y, first


@pytest.mark.parametrize("k", [2, 4, 16])
def test_lemma_1_all_dependence_there_can_be_and_no_robustness(k):
    """The last layer keeps the nuisance alone. A1 holds with rho = log2 k, its maximum; A2 with U = log2 k."""
    y, first = _nuisance(k)
    last = first[:, :, 1:]
    bits, ratio = _information(y, first[:, 0], last[:, 0])
    assert bits == pytest.approx(math.log2(k)) and ratio == pytest.approx(math.log2(k))
    assert _best(y, first) == pytest.approx(1) and _best(y, last) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("k", [2, 4, 16])
def test_lemma_1_no_dependence_and_all_robustness(k):
    """The last layer keeps the label alone, of which information given the class sees nothing."""
    y, first = _nuisance(k)
    last = first[:, :, :1]
    assert _information(y, first[:, 0], last[:, 0]) == (0, 0)
    assert _best(y, last) == pytest.approx(1)


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_assumption_a1_holds_of_every_layer_that_tells_the_images_apart(seed):
    """A layer is a function of the one before it: given the class they share log2 n bits, whatever the
    weights, and every ratio of densities is n. So A1 and A2 tell no network from another.
    """
    _, _, layers, matrices = _chain(seed)
    y = np.repeat([-1.0, 1.0], EXAMPLES // 2)
    clean = [layer[:, 0] for layer in layers]
    linear = [clean[0] @ matrices[1], clean[0] @ matrices[1] @ matrices[2]]  # without ReLU nothing is lost
    for before, after in itertools.pairwise([clean[0], *linear]):
        if len(np.unique(before, axis=0)) == len(np.unique(after, axis=0)) == EXAMPLES:
            n = EXAMPLES // 2
            assert _information(y, before, after) == pytest.approx((math.log2(n), math.log2(n)))


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_theorem_2_no_constant_above_0_couples_the_margins_to_the_information(seed):
    """gamma_j >= gamma_{j-1} + U rho: with the best heads gamma never rises (theorem 1), so U is at most 0
    wherever there is any information, and the theorem adds nothing to theorem 1.
    """
    _, y, layers, _ = _chain(seed)
    best = [_best(y, feature) for feature in layers]
    for j in range(1, len(layers)):
        bits, _ = _information(y, layers[j - 1][:, 0], layers[j][:, 0])
        if bits > 0:
            assert (best[j] - best[j - 1]) / bits <= 1e-9


@pytest.mark.parametrize("spread", [0.1, 1.0, 30.0])
def test_lemma_1_in_a_linear_gaussian_channel(spread):
    """x = (y m + noise, nuisance), last layer g = w x + noise: all in closed form, and as the library
    estimates it. More information with less robustness, and less with more.
    """
    m, epsilon, noise, n = 1.0, 0.25, 0.3, 2000
    rng = np.random.default_rng(0)
    y = np.repeat([-1.0, 1.0], n // 2)
    x = np.stack([y * m + 0.1 * rng.normal(size=n), spread * rng.normal(size=n)], 1)
    found = {}
    for name, w in {"label": np.array([1.0, 0.0]), "nuisance": np.array([0.0, 1.0])}.items():
        variance = float(w**2 @ np.array([0.1, spread]) ** 2)
        bits = 0.5 * math.log2(1 + variance / noise**2)
        g = x @ w + noise * rng.normal(size=n)
        estimate = sr.KSG(permutations=0)(x @ w[:, None], g[:, None], given=(y > 0).astype(int))
        assert estimate.value == pytest.approx(bits, abs=0.12 + 0.03 * bits)
        # The worst of a box moves a linear head by epsilon ||w||_1; the head sign(w m) g is the best one.
        gamma = max(abs(w[0]) * m - epsilon * np.abs(w).sum(), 0)
        direction = np.sign(w[0]) or 1.0
        attacked = y[:, None] * (direction * (x @ w)[:, None] + np.array([-1, 1]) * epsilon * np.abs(w).sum())
        assert max(float(attacked.min(1).mean()), 0) == pytest.approx(gamma, abs=0.02 + 0.1 * spread * w[1])
        found[name] = bits, gamma
    assert found["label"][1] == pytest.approx(0.75) and found["nuisance"][1] == 0
    if spread >= 1:
        assert found["nuisance"][0] > found["label"][0]
