"""What every norm ball must do."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semirobust.core.seed import Seed
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


@EVERY
def test_steepest_direction_beats_all_others(norm):
    threat, unit = _threat(norm), _threat(norm, 1.0)
    slope = torch.randn(1, 8, generator=torch.Generator().manual_seed(0))
    best = float((threat.steepest(slope) * slope).sum())
    others = unit.sample(torch.zeros(500, 8), Seed(("others",)))
    assert float(unit.size(threat.steepest(slope))) == pytest.approx(1, rel=1e-5)
    assert float((others * slope).sum(1).max()) <= best + 1e-5
    assert torch.equal(threat.steepest(torch.zeros(2, 8)), torch.zeros(2, 8))


@EVERY
def test_restrict_ends_in_both_sets(norm):
    threat = _threat(norm)
    x = torch.rand(50, 2, 3, 3)
    x[:10] = 0
    x_adv = threat.restrict(x, x + 2 * torch.randn(50, 2, 3, 3, generator=torch.Generator().manual_seed(1)))
    assert threat.contains(x, x_adv).all()
    assert not threat.contains(x, x_adv + 1).any()


@EVERY
def test_samples_do_not_depend_on_what_ran_before(norm):
    threat, x = _threat(norm), torch.zeros(3, 4)
    first = threat.sample(x, Seed(("s",)))
    torch.rand(5)
    assert torch.equal(first, threat.sample(x, Seed(("s",))))
    assert not torch.equal(first, threat.sample(x, Seed(("t",))))
