"""Criticality by hand on networks with integer weights, its identity, and its invariances."""

import numpy as np
import pytest
import torch
from torch import nn

import semirobust as sr
from semirobust.errors import InputError
from tests.helpers import SmallResidual, untouched


def _integer_net() -> nn.Module:
    """2 -> 4 -> 1 -> 2 units."""
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1), nn.Linear(1, 2))
    with torch.no_grad():
        for layer in (model[0], model[2], model[3]):
            layer.bias.zero_()
        model[0].weight.copy_(torch.tensor([[3.0, 0], [0, 4], [0, 0], [0, 0]]))
        model[2].weight.copy_(torch.tensor([[1.0, 1, 0, 0]]))
        model[3].weight.copy_(torch.tensor([[3.0], [-4.0]]))
    return model.eval()


def test_by_hand():
    """delta = (1, 1): |dF1| = |(3,4,0,0)| = 5 over 4; |dF2| = 7 over 1; |dF3| = |(21,-28)| = 35 over 2."""
    x = torch.tensor([[1.0, 1.0]])
    result = sr.criticality(_integer_net(), x, torch.tensor([0]), x_adv=2 * x)
    np.testing.assert_allclose(result.weakness, [1.25, 7, 17.5])
    np.testing.assert_allclose(result.values, [1.25, 5.6, 2.5])
    rms = sr.criticality(_integer_net(), x, torch.tensor([0]), x_adv=2 * x, scale="rms")
    np.testing.assert_allclose(rms.weakness, [2.5, 7, 35 / 2**0.5])
    relative = sr.criticality(_integer_net(), x, torch.tensor([0]), x_adv=2 * x, scale="relative")
    np.testing.assert_allclose(relative.weakness, [1, 1, 1])  # the net is linear here and x_adv = 2x


def test_product_is_the_weakness_and_the_model_is_untouched():
    torch.manual_seed(0)
    model = SmallResidual().eval()
    x, y = torch.rand(40, 3, 6, 6), torch.randint(0, 3, (40,))
    with untouched(model):
        result = sr.criticality(model, x, y, threat=sr.Linf(8 / 255), seed=3)
    np.testing.assert_allclose(np.cumprod(result.values), result.weakness, rtol=1e-12)
    assert len(result.values) == 4
    assert (result.low <= result.values).all() and (result.values <= result.high).all()
    again = sr.criticality(model, x, y, threat=sr.Linf(8 / 255), seed=3, batch_size=7)
    assert result.values == pytest.approx(sr.criticality(model, x, y, threat=sr.Linf(8 / 255), seed=3).values)
    assert again.examples == 40


def test_batches_do_not_matter_for_the_value():
    torch.manual_seed(0)
    model = SmallResidual().eval()
    x, x_adv, y = torch.rand(30, 3, 6, 6), torch.rand(30, 3, 6, 6), torch.zeros(30, dtype=torch.long)
    one = sr.criticality(model, x, y, x_adv=x_adv, batch_size=30)
    many = sr.criticality(model, x, y, x_adv=x_adv, batch_size=3)
    np.testing.assert_allclose(one.values, many.values, rtol=1e-5)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    """The layer doubles a feature whose size varies by example: C_2 is E|d2| / E|d1|, known from a large sample."""
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Tanh(), nn.Linear(1, 2, bias=False)).eval()
    with torch.no_grad():
        model[0].weight.fill_(2.0)
        model[2].weight.copy_(torch.tensor([[1.0], [0.0]]))
    generator = torch.Generator().manual_seed(0)
    draw = lambda n: torch.rand(n, 1, generator=generator)  # noqa: E731
    labels = lambda n: torch.zeros(n, dtype=torch.long)  # noqa: E731
    truth = sr.criticality(model, draw(100_000), labels(100_000), x_adv=draw(100_000), batch_size=10_000, at="conv").values[1]
    covered = 0
    for seed in range(60):
        result = sr.criticality(model, draw(64), labels(64), x_adv=draw(64), batch_size=8, seed=seed, at="conv")
        covered += result.low[1] <= truth <= result.high[1]
    assert covered >= 50  # 95 % of 60 is 57; fewer than 50 would be chance once in a million


def test_a_dead_layer_scores_zero_and_an_identity_layer_changes_nothing_else():
    x = torch.tensor([[1.0, 1.0]])
    dead = _integer_net()
    with torch.no_grad():
        dead[2].weight.zero_()
    np.testing.assert_allclose(sr.criticality(dead, x, torch.tensor([0]), x_adv=2 * x).values, [1.25, 0, 0])
    longer = nn.Sequential(*_integer_net()[:3], nn.Linear(1, 1), *_integer_net()[3:]).eval()
    with torch.no_grad():
        longer[3].weight.fill_(1.0)
        longer[3].bias.zero_()
    np.testing.assert_allclose(sr.criticality(longer, x, torch.tensor([0]), x_adv=2 * x).values, [1.25, 5.6, 1, 2.5])


def test_two_forward_passes_and_no_more():
    model = _integer_net()
    calls = []
    model.register_forward_hook(lambda m, a, o: calls.append(1))
    x = torch.tensor([[1.0, 1.0]])
    sr.criticality(model, x, torch.tensor([0]), x_adv=2 * x, layers=sr.layer_map(_integer_net(), x))
    assert len(calls) == 2


def test_ends_of_blocks():
    model = sr.build_model("resnet18", width=0.05)
    x, y = torch.rand(9, 3, 16, 16), torch.zeros(9, dtype=torch.long)
    result = sr.criticality(model, x, y, threat=sr.L2(0.5), at="block")
    assert result.indices == (1, 3, 5, 7, 9, 11, 13, 15, 17, 18)
    full = sr.criticality(model, x, y, threat=sr.L2(0.5))
    np.testing.assert_allclose(result.weakness, full.weakness[np.array(result.indices) - 1], rtol=1e-6)


def test_needs_a_threat_or_perturbed_inputs(linear, images):
    with pytest.raises(InputError, match="threat"):
        sr.criticality(linear, *images)
