"""Weights of an ensemble of estimates that cancel its bias with little variance."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["optimal_weights"]


def optimal_weights(growth: NDArray[np.float64], features: int, n: int) -> NDArray[np.float64]:
    """min e over w, e with sum w = 1, ||w||_2 <= e / 2, sum_t w_t (T_t / N)^(m / 2D) <= 2 e for m = 1..L-1.

    Source: Moon et al. 2018 (arXiv 1702.05222) with the constants of EDGE's published code; solved by SciPy's
        SLSQP.

    Args:
        growth: (L,) factors T_t of the members' widths.
        features: dimension D of x.
        n: examples N.
    """
    from scipy.optimize import minimize

    members = len(growth)
    powers = np.stack([(growth / n) ** (m / (2 * features)) for m in range(1, members)])
    solution = minimize(
        lambda v: v[-1],
        np.append(np.full(members, 1 / members), 2.0),
        jac=lambda v: np.append(np.zeros(members), 1.0),
        constraints=[
            {"type": "eq", "fun": lambda v: v[:-1].sum() - 1},
            {"type": "ineq", "fun": lambda v: v[-1] ** 2 / 4 - v[:-1] @ v[:-1]},
            {"type": "ineq", "fun": lambda v: 2 * v[-1] - powers @ v[:-1]},
        ],
        bounds=[*[(None, None)] * members, (0, None)],
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-12},
    )
    weights: NDArray[np.float64] = solution.x[:-1]
    return weights
