"""Usefulness of features by its definition, the batched attack against a loop, and the faster layers that it
runs in.
"""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import semirobust as sr
from semirobust.core.errors import InputError
from semirobust.core.seed import as_seed
from semirobust.fast.copy import Faster
from semirobust.fast.max_pool import Pool, quicken_pooling
from semirobust.fast.narrow_conv import Narrow, quicken_narrow
from semirobust.layers.features import forward_to
from semirobust.measures.base.feature_attack import FeatureAttack, Head, extremes
from semirobust.measures.usefulness import usefulness
from tests.helpers import untouched


def _setting(classes=2, n=24):
    model = sr.build_model("capacity_cnn_0", classes, in_channels=1, image_size=16, seed=1)
    x = torch.rand(n, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    return model, x, torch.arange(n) % classes


def _features(model, x, layers=None):
    layers = sr.layer_map(model, x[:1]) if layers is None else layers
    return forward_to(model, layers, x, len(layers) - 1)[len(layers) - 1].flatten(1)


def _loop(model, x, i, sign, threat, steps, step):
    """PGD on one feature, one example at a time: the highest sign * f_i on the way."""
    found, layers = [], sr.layer_map(model, x[:1])
    for one in x.split(1):
        now, best = one.clone(), -torch.inf
        for number in range(steps + 1):
            now = now.detach().requires_grad_()
            value = sign * _features(model, now, layers)[0, i]
            best = max(best, float(value.detach()))
            if number < steps:
                (slope,) = torch.autograd.grad(value, now)
                now = (
                    (now.detach() + step * slope.sign())
                    .clamp(one - threat.epsilon, one + threat.epsilon)
                    .clamp(0, 1)
                )
        found.append(sign * best)
    return torch.tensor(found, dtype=torch.float64)


@pytest.mark.parametrize("attack", [{}, {"steps": 8, "step_size": None}])
def test_two_classes_give_the_papers_formula(attack):
    model, x, y = _setting()
    threat = sr.Linf(0.2)
    with untouched(model):
        found = usefulness(model, x, y, attack=FeatureAttack(threat, **attack))
    f = _features(model, x).detach().double()
    mean, deviation = f.mean(0), f.std(0, correction=0).clamp_min(1e-12)
    w = (model.network[-1].weight[1] - model.network[-1].weight[0]).detach().double() * deviation
    t = 2.0 * y.double() - 1
    z = (f - mean) / deviation
    np.testing.assert_allclose(found.useful, (t[:, None] * (2 * torch.sigmoid(w * z) - 1)).mean(0), atol=1e-6)
    np.testing.assert_allclose(found.original, (t[:, None] * z).mean(0).abs(), atol=1e-6)
    np.testing.assert_allclose(found.actual, (w * (t[:, None] * z).mean(0)), atol=1e-6)
    step = FeatureAttack(threat, **attack).step
    live = [i for i in range(len(found)) if found.active[i] > 0.2][:4]
    assert live
    for i in live:
        low, high = (
            _loop(model, x, i, sign, threat, FeatureAttack(threat, **attack).steps, step)
            for sign in (-1.0, 1.0)
        )
        low, high = (low - mean[i]) / deviation[i], (high - mean[i]) / deviation[i]
        worst = torch.where(t * w[i] > 0, low, high)
        np.testing.assert_allclose(
            found.robust[i], (t * (2 * torch.sigmoid(w[i] * worst) - 1)).mean(), atol=1e-5
        )
        turn = 1.0 if (t * z[:, i]).mean() >= 0 else -1.0
        worst = torch.where(t * turn > 0, low, high)
        np.testing.assert_allclose(found.original_robust[i], (t * turn * worst).mean(), atol=1e-5)
    assert (found.robust <= found.useful + 1e-6).all() and (found.low <= found.useful).all()
    assert found.robustly_useful == int((found.robust > 0).sum()) and found.examples == len(x)


def test_more_classes_are_each_against_the_mean_of_the_others():
    model, x, y = _setting(classes=3)
    found = usefulness(model, x, y, threat=sr.Linf(0.1))
    f = _features(model, x).detach().double()
    z = (f - f.mean(0)) / f.std(0, correction=0).clamp_min(1e-12)
    rows = model.network[-1].weight.detach().double() * f.std(0, correction=0)
    total = 0.0
    for c in range(3):
        w = rows[c] - (rows.sum(0) - rows[c]) / 2
        t = torch.where(y == c, 1.0, -1.0).double()
        total = total + (t[:, None] * torch.tanh(w * z / 2)).mean(0) / 3
    np.testing.assert_allclose(found.useful, total, atol=1e-6)


def test_a_feature_that_no_perturbation_reaches_is_as_useful_as_before():
    """A feature of constant slope 0 keeps its value; with radius 0 every feature does."""
    model, x, y = _setting()
    found = usefulness(model, x, y, threat=sr.Linf(0.0))
    np.testing.assert_allclose(found.robust, found.useful, atol=1e-6)


@pytest.mark.parametrize("lift", [False, True])
def test_a_feature_that_is_0_can_be_raised_in_front_of_its_relu(lift):
    """Plain gradient ascent on what the layer gives, example by example, against all pairs side by side."""
    generator = torch.Generator().manual_seed(4)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.ReLU(), nn.Linear(6, 2)).eval()
    with torch.no_grad():
        model[1].weight.normal_(generator=generator)
        model[1].bias.fill_(-0.4)
    x, threat = torch.rand(20, 1, 4, 4, generator=generator), sr.Linf(0.1)
    layers = sr.layer_map(model, x[:1])
    head, f = Head.of(model, layers, x), _features(model, x).detach()
    assert 0.1 < float((f == 0).double().mean()) < 0.9
    everything = torch.ones_like(f, dtype=torch.bool)
    attack = FeatureAttack(threat, steps=6, step_size=0.04, lift=lift)
    low, high = extremes(head, x, f, everything, everything, attack, as_seed(0))
    raw = model[1](x.flatten(1)).detach()
    reach = (
        torch.stack(
            [  # a linear layer: every step goes to the same corner of the box
                torch.stack([_corner(one, row, sign) @ row for row in model[1].weight.detach()])
                for sign in (-1, 1)
                for one in x.flatten(1)
            ]
        ).view(2, 20, 6)
        + model[1].bias.detach()
    )
    torch.testing.assert_close(low, reach[0].relu(), atol=1e-5, rtol=0)
    wanted = reach[1].relu() if lift else torch.where(raw > 0, reach[1], torch.zeros(()))
    torch.testing.assert_close(high, wanted, atol=1e-5, rtol=0)


def _corner(one, row, sign):
    return (one + sign * 0.1 * row.sign()).clamp(0, 1)


def test_nothing_is_attacked_where_nothing_is_asked():
    model, x, y = _setting()
    plain, attacked = usefulness(model, x, y), usefulness(model, x, y, threat=sr.Linf(0.1))
    assert np.isnan(plain.robust).all() and plain.attack == "none"
    np.testing.assert_array_equal(plain.useful, attacked.useful)
    np.testing.assert_array_equal(plain.actual, attacked.actual)


def test_random_starts_only_lower_what_was_found_at_the_start():
    model, x, y = _setting()
    found = usefulness(model, x, y, attack=FeatureAttack(sr.Linf(0.2), random_start=True), seed=3)
    again = usefulness(model, x, y, attack=FeatureAttack(sr.Linf(0.2), random_start=True), seed=3)
    assert (found.robust <= found.useful + 1e-6).all() and np.array_equal(found.robust, again.robust)


def test_a_linear_layer_that_does_not_give_the_logits_is_refused():
    """The last of several heads, whose outputs are averaged; a log-softmax behind one changes nothing."""

    class Averaged(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = (
                nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)) for _ in "ab"
            )

        def forward(self, x):
            return (self.first(x) + self.second(x)) / 2

    torch.manual_seed(0)
    x, y = torch.rand(8, 4), torch.arange(8) % 3
    with pytest.raises(InputError, match="gives the logits"):
        usefulness(Averaged().eval(), x, y)
    plain = Averaged().first.eval()
    behind = nn.Sequential(plain, nn.LogSoftmax(1)).eval()
    assert np.array_equal(usefulness(plain, x, y).useful, usefulness(behind, x, y).useful)


def test_what_it_refuses():
    model, x, y = _setting()
    with pytest.raises(InputError, match="got both"):
        usefulness(model, x, y, threat=sr.Linf(0.1), attack=FeatureAttack(sr.Linf(0.1)))
    with pytest.raises(InputError, match="linear layer at its end"):
        usefulness(
            nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 2, 14), nn.Flatten()).eval(),
            x,
            y,
            threat=sr.Linf(0.1),
        )
    with pytest.raises(InputError, match="steps"):
        FeatureAttack(sr.Linf(0.1), steps=0)


@pytest.mark.parametrize("shape", [(1, 2, 5, 0), (1, 16, 5, 2), (2, 4, 3, 1), (2, 12, 3, 0)])
def test_narrow_convolutions_have_the_same_gradient(shape, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    inputs, outputs, kernel, padding = shape
    conv = nn.Conv2d(inputs, outputs, kernel, padding=padding)
    fast = nn.Sequential(nn.Conv2d(inputs, outputs, kernel, padding=padding))
    fast[0].load_state_dict(conv.state_dict())
    assert quicken_narrow(fast.requires_grad_(False)) == 1 and isinstance(fast[0], Narrow)
    x = torch.rand(3, inputs, 11, 9)
    for one in (x, x.to(memory_format=torch.channels_last)):
        a, b = one.clone().requires_grad_(), one.clone().requires_grad_()
        slope = torch.randn(conv(x).shape)
        torch.testing.assert_close(fast(a), conv(b))
        (mine,), (theirs,) = torch.autograd.grad(fast(a), a, slope), torch.autograd.grad(conv(b), b, slope)
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_narrow_convolutions_stay_as_they_are_where_the_processor_is_faster(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert quicken_narrow(nn.Sequential(nn.Conv2d(1, 2, 5), nn.Conv2d(2, 16, 5))) == 0
    assert quicken_narrow(nn.Sequential(nn.Conv2d(1, 32, 5))) == 1


@pytest.mark.parametrize("size", [(8, 6), (7, 8), (9, 5)])
@pytest.mark.parametrize("ceil", [True, False])
def test_pooling_in_two_steps_is_pytorchs_ties_included(size, ceil):
    plain = nn.MaxPool2d(2, ceil_mode=ceil)
    fast = nn.Sequential(nn.MaxPool2d(2, ceil_mode=ceil))
    assert quicken_pooling(fast) == 1 and isinstance(fast[0], Pool)
    x = torch.randint(0, 3, (4, 5, *size)).float()
    for one in (x, x.to(memory_format=torch.channels_last)):
        a, b = one.clone().requires_grad_(), one.clone().requires_grad_()
        slope = torch.randn(plain(x).shape)
        assert torch.equal(fast(a), plain(b))
        (mine,), (theirs,) = torch.autograd.grad(fast(a), a, slope), torch.autograd.grad(plain(b), b, slope)
        assert torch.equal(mine, theirs)
    assert not quicken_pooling(
        nn.Sequential(nn.MaxPool2d(3, 2), nn.MaxPool2d(2, 1), nn.MaxPool2d(2, padding=1))
    )


def test_the_faster_form_of_a_small_network_is_the_network(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    model, x, y = _setting(classes=3)
    fast = Faster(model, x[:1], torch.float32)
    assert any(isinstance(m, Narrow) for m in fast.network.modules()) and any(
        isinstance(m, Pool) for m in fast.network.modules()
    )
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    torch.testing.assert_close(fast.network(a), model(b), rtol=1e-4, atol=1e-5)
    (mine,) = torch.autograd.grad(F.cross_entropy(fast.network(a), y), a)
    (theirs,) = torch.autograd.grad(F.cross_entropy(model(b), y), b)
    torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-6)
    assert fast.follows(x)
