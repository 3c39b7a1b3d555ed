"""What every registered objective must do, and its limits."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import semirobust as sr
from semirobust.layers.mode import quiet
from semirobust.objectives import OBJECTIVES, Step
from tests.helpers import SmallResidual

EVERY = pytest.mark.parametrize("name", OBJECTIVES.names())


def _step(model: nn.Module | None = None, n: int = 6, selected: tuple[int, ...] = (1, 2)) -> Step:
    torch.manual_seed(0)
    model = model or SmallResidual().double().eval()
    x, y = torch.rand(n, 3, 5, 5).double(), torch.randint(0, 3, (n,))
    return Step(model, sr.layer_map(model, x), x, y, selected)


@EVERY
def test_without_a_perturbation_the_outer_loss_is_the_cross_entropy(name):
    step = _step()
    free = {"weight": 0.0} if name == "dependent" else {}  # its other term is not about the perturbation
    outer = OBJECTIVES.make(name, free).outer(step, step.x)
    torch.testing.assert_close(outer, F.cross_entropy(step.model(step.x), step.y))


@EVERY
def test_gradient_by_finite_differences(name):
    step = _step()
    objective = OBJECTIVES.make(name)
    x_adv = step.x + 0.05 * torch.randn(step.x.shape, generator=torch.Generator().manual_seed(1)).double()
    weight = step.model.block.conv2.weight
    (slope,) = torch.autograd.grad(objective.outer(step, x_adv), weight)
    direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(2)).double()
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            weight += sign * 1e-6 * direction
            values.append(objective.outer(step, x_adv))
            weight -= sign * 1e-6 * direction
    torch.testing.assert_close((values[0] - values[1]) / 2e-6, (slope * direction).sum(), rtol=1e-5, atol=1e-8)


@EVERY
def test_the_inner_loss_is_per_example_and_needs_only_the_input(name):
    step = _step()
    with quiet(step.model):
        inner = OBJECTIVES.make(name).inner(step)
        if inner is None:
            return
        x_adv = (step.x + 0.03 * torch.randn_like(step.x)).requires_grad_()
        loss = inner(x_adv)
        assert loss.shape == (6,)
        (slope,) = torch.autograd.grad(loss[2], x_adv)
    assert float(slope[2].abs().sum()) > 0
    assert float(slope.abs().sum()) == float(slope[2].abs().sum())


def test_clat_by_hand():
    """CE on clean inputs plus weight times the mean of the summed distances, divided by the reference."""
    step = _step()
    x_adv = (step.x + 0.1).clamp(0, 1)
    with torch.no_grad(), sr.features(step.model, step.layers) as tape:
        logits = step.model(step.x)
        clean = dict(tape)
        step.model(x_adv)
        distance = sum((tape[i] - clean[i]).flatten(1).norm(dim=1) for i in (1, 2)).mean()
    expected = F.cross_entropy(logits, step.y) + 0.7 * distance
    torch.testing.assert_close(sr.CLAT(0.7, scale_free=False).outer(step, x_adv), expected)
    assert sr.CLAT(0.7).reference(step, x_adv) == pytest.approx(float(distance))
    free = Step(step.model, step.layers, step.x, step.y, (1, 2), reference=float(distance))
    torch.testing.assert_close(sr.CLAT(0.7).outer(free, x_adv), F.cross_entropy(logits, step.y) + 0.7)
    both = sr.CLAT(0.0, cross_entropy="both").outer(step, x_adv)
    mean = (F.cross_entropy(logits, step.y) + F.cross_entropy(step.model(x_adv), step.y)) / 2
    torch.testing.assert_close(both, mean)


def test_clat_attacks_by_a_pass_that_stops_at_the_deepest_selected_layer():
    step = _step(selected=(2,))
    ran = []
    step.model.block.conv3.register_forward_hook(lambda *a: ran.append(1))
    with quiet(step.model):
        inner = sr.CLAT().inner(step)
        inner(step.x + 0.01)
    assert not ran
