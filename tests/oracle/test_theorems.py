"""The semirobustness paper's statements on networks so small that every quantity is exact.

Inputs, labels in {-1, 1} and perturbations are finitely many, so infima are minima over a list.
"""

import itertools

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
