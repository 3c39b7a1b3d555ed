"""What every norm ball must do."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semirobust.threats import NORMS

EVERY = pytest.mark.parametrize("norm", NORMS.names())
NUMBERS = st.lists(st.floats(-3, 3, width=32), min_size=6, max_size=6)


def _threat(norm, epsilon=0.5):
    return NORMS.make(norm, {"epsilon": epsilon, "insist": epsilon >= 1})


@EVERY
@settings(max_examples=50, deadline=None)
@given(a=NUMBERS, b=NUMBERS)
def test_projection_is_onto_idempotent_and_not_expansive(norm, a, b):
    threat = _threat(norm)
    u, v = torch.tensor([a], dtype=torch.float64), torch.tensor([b], dtype=torch.float64)
    pu, pv = threat.project_ball(u), threat.project_ball(v)
    assert float(threat.size(pu)) <= 0.5 + 1e-12
    torch.testing.assert_close(threat.project_ball(pu), pu)
    assert float((pu - pv).norm()) <= float((u - v).norm()) + 1e-12


@EVERY
def test_projection_is_the_nearest_point(norm):
    """Against SciPy's constrained minimiser."""
    from scipy.optimize import minimize

    threat = _threat(norm)
    u = torch.tensor([[0.9, -0.3, 0.2, 1.4]], dtype=torch.float64)
    start = (u[0] * 0.1).numpy()
    room = {"type": "ineq", "fun": lambda d: 0.5 - float(threat.size(torch.tensor(d)[None]))}
    found = minimize(
        lambda d: ((d - u[0].numpy()) ** 2).sum(),
        start,
        constraints=room,
        options={"ftol": 1e-12, "maxiter": 500},
    )
    torch.testing.assert_close(threat.project_ball(u)[0], torch.tensor(found.x), atol=1e-3, rtol=0)
