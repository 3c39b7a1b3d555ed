"""Bounds on the difference of two networks, against the whole Hessian and on both sides of their
assumptions.
"""

import copy
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import semirobust as sr
from semirobust.core.errors import InputError
from semirobust.evaluation.bounds import sharpness
from tests.helpers import SmallResidual, untouched


def _hessian(model, x, y, names):
    """All second derivatives, by PyTorch's own function."""
    parameters = dict(model.named_parameters())
    shapes = [parameters[n].shape for n in names]
    sizes = [parameters[n].numel() for n in names]

    def loss(flat):
        parts = {n: p.view(s) for n, p, s in zip(names, flat.split(sizes), shapes, strict=True)}
        return F.cross_entropy(torch.func.functional_call(model, parts, (x,)), y)

    return torch.autograd.functional.hessian(
        loss, torch.cat([parameters[n].detach().flatten() for n in names])
    )


def test_sharpness_is_the_largest_eigenvalue_of_the_suffix():
    torch.manual_seed(0)
    model = SmallResidual().double().eval()
    x, y = torch.rand(30, 3, 5, 5).double(), torch.randint(0, 3, (30,))
    names = sr.layer_map(model, x).parameters([3, 4])
    eigenvalues = torch.linalg.eigvalsh(_hessian(model, x, y, names))
    with untouched(model):
        found = sharpness(model, x, y, names, tolerance=1e-8)
    assert found == pytest.approx(float(eigenvalues[-1]), rel=1e-5)


def test_sharpness_is_the_largest_and_not_the_one_of_largest_modulus():
    """Where a saddle falls more steeply than it rises, power iteration would give a negative number."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)).double().eval()
    x, y = 2 * torch.randn(20, 4).double(), torch.zeros(20, dtype=torch.long)
    with torch.no_grad():  # confidently wrong: the loss is linear in the logits, and curved down by the tanh
        model[2].bias.copy_(torch.tensor([-20.0, 20.0]))
        model[2].weight[1].abs_().mul_(3)
        model[2].weight[0] = 0
        model[0].weight.mul_(0.3)
        model[0].bias.fill_(0.9)
    names = [n for n, _ in model.named_parameters()]
    eigenvalues = torch.linalg.eigvalsh(_hessian(model, x, y, names))
    assert -float(eigenvalues[0]) > 2 * float(eigenvalues[-1]) > 0
    assert sharpness(model, x, y, names, tolerance=1e-8) == pytest.approx(float(eigenvalues[-1]), rel=1e-4)


def _stationary():
    """A regularised softmax regression at its minimum: convex, smooth, no gradient left."""
    torch.manual_seed(0)
    x, y = torch.rand(60, 5).double(), torch.randint(0, 3, (60,))
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double().eval()
    optimiser = torch.optim.LBFGS(
        model[2].parameters(), max_iter=500, tolerance_grad=1e-12, tolerance_change=1e-14
    )

    def closure():
        optimiser.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        return loss

    optimiser.step(closure)
    model.zero_grad()
    return model, x, y


@pytest.mark.parametrize("seed", range(8))
def test_the_quadratic_bound_holds_near_a_stationary_point(seed):
    model, x, y = _stationary()
    other = copy.deepcopy(model)
    with torch.no_grad():
        for p in other[2].parameters():
            p += 0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(seed)).double()
    with untouched(model), untouched(other):
        found = sr.performance_bounds(other, model, x, y, [2])
    assert abs(found.gradient_term) < 1e-6
    assert 0 < found.loss <= found.quadratic and found.quadratic_holds
    assert not found.buffers


def test_the_quadratic_bound_fails_where_a_gradient_is_left():
    model, x, y = _stationary()
    other = copy.deepcopy(model)
    with torch.no_grad():
        model[2].bias += torch.tensor([3.0, 0.0, -3.0]).double()
        other[2].bias += torch.tensor([3.3, 0.0, -3.3]).double()
    found = sr.performance_bounds(other, model, x, y, [2])
    assert found.gradient_term > 0.1 and not found.quadratic_holds


class _Chain(nn.Module):
    """Linear layers without bias, ReLU between: all that the peeling bound assumes."""

    def __init__(self, widths):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in itertools.pairwise(widths))

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        return self.layers[-1](x)


@given(st.integers(0, 10_000), st.floats(0.01, 3.0), st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_the_peeling_bound_holds_on_chains(seed, amount, changed):
    torch.manual_seed(seed)
    model = _Chain([6, 5, 7, 4, 3]).double().eval()
    other, x = copy.deepcopy(model), torch.rand(10, 6).double()
    with torch.no_grad():
        for layer in other.layers[-changed:]:
            layer.weight += amount * torch.randn_like(layer.weight)
    y = torch.zeros(10, dtype=torch.long)
    found = sr.performance_bounds(other, model, x, y, range(5 - changed, 5), curvature=0.0)
    assert found.output <= found.telescoped * (1 + 1e-9)
    with torch.no_grad():  # no larger weights than the reference's: the paper's form holds too
        for mine, theirs in zip(model.layers, other.layers, strict=True):
            theirs.weight *= (mine.weight.norm() / theirs.weight.norm()).clamp(max=1)
    found = sr.performance_bounds(other, model, x, y, range(5 - changed, 5), curvature=0.0)
    assert found.peeling_holds and found.telescoped <= found.peeling * (1 + 1e-9)


def test_the_papers_form_fails_for_larger_weights_and_for_convolutions():
    torch.manual_seed(0)
    model = _Chain([6, 5, 5, 3]).double().eval()
    with torch.no_grad():
        for layer in model.layers:  # rank one and of one sign, so that norms are met
            layer.weight.fill_(0.01)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for layer in other.layers:
            layer.weight.fill_(1.0)
    x, y = torch.ones(4, 6).double(), torch.zeros(4, dtype=torch.long)
    found = sr.performance_bounds(other, model, x, y, [1, 2, 3], curvature=0.0)
    assert not found.peeling_holds and found.output <= found.telescoped * (1 + 1e-9)

    network = (
        nn.Sequential(nn.Conv2d(1, 1, 5, padding=2, bias=False), nn.Flatten(), nn.Linear(64, 2, bias=False))
        .double()
        .eval()
    )
    with torch.no_grad():
        network[0].weight.fill_(0.1)
        network[2].weight.fill_(1.0)
    other = copy.deepcopy(network)
    with torch.no_grad():
        other[0].weight.mul_(0.5)
    found = sr.performance_bounds(
        other, network, torch.ones(3, 1, 8, 8).double(), torch.zeros(3, dtype=torch.long), [1], curvature=0.0
    )
    assert found.output > found.telescoped  # the kernel's norm does not bound the convolution


def test_batch_statistics_that_differ_are_named():
    model = SmallResidual().eval()
    other = copy.deepcopy(model)
    other.bn1.running_mean += 1
    x, y = torch.rand(4, 3, 5, 5), torch.tensor([0, 1, 2, 0])
    assert sr.performance_bounds(other, model, x, y, [1], curvature=0.0).buffers


def test_what_cannot_be_compared_is_refused():
    model, x, y = _stationary()
    other = copy.deepcopy(model)
    with torch.no_grad():
        other[0].weight += 1
    with pytest.raises(InputError, match="differs too"):
        sr.performance_bounds(other, model, x, y, [2])
    with pytest.raises(InputError, match="same build as the reference"):
        sr.performance_bounds(
            nn.Sequential(nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, 3)).double().eval(), model, x, y, [2]
        )
    with pytest.raises(InputError):
        sr.performance_bounds(model, model, x, y + 5, [2])


def test_a_flat_loss_has_no_sharpness():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1)).eval()  # one class: the loss is 0 everywhere
    x, y = torch.rand(5, 3), torch.zeros(5, dtype=torch.long)
    assert sharpness(model, x, y, [n for n, _ in model.named_parameters()]) == 0.0
