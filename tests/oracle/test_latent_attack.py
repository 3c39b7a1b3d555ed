"""The attack on the feature of an inner layer, against a plain implementation written here."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import semirobust as sr
from semirobust.attacks import ATTACKS
from semirobust.core.errors import InputError
from tests.helpers import SmallResidual


class Two(nn.Module):
    """Two parts, of which a test can call each."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.three = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 3), nn.Linear(5, 3)

    def front(self, x):
        return torch.tanh(self.one(x))

    def behind(self, feature):
        return self.three(self.two(feature).relu().mean((2, 3)))

    def forward(self, x):
        return self.behind(self.front(x))


def _two(dtype=torch.float64, n=12):
    torch.manual_seed(2)
    model, x = Two().to(dtype).eval(), torch.rand(n, 3, 6, 6, dtype=dtype)
    with torch.no_grad():  # labels of all classes, and margins that an attack can cross
        model.one.weight *= 3
        model.three.bias -= model(x).mean(0)
        return model, x, model(x).argmax(1)


def _written_out(model, x, y, epsilon, rounds, steps, step, feature_steps, feature_step):
    """Where each example is after each round, for all of them."""
    low, high = (getattr(model.front(x), name)((0, 2, 3), keepdim=True) for name in ("amin", "amax"))
    low, high = low.detach(), high.detach()
    point, ends = x.clone(), []
    for _ in range(rounds):
        h = model.front(point).detach()
        for _ in range(feature_steps):
            h.requires_grad_()
            (g,) = torch.autograd.grad(F.cross_entropy(model.behind(h), y, reduction="sum"), h)
            h = h.detach() + feature_step * (high - low) * g.sign()
            h = torch.minimum(torch.maximum(h, low), high + 0.1 * high.abs())
        m = torch.zeros_like(x)
        for _ in range(steps):
            point = point.detach().requires_grad_()
            (g,) = torch.autograd.grad((h - model.front(point)).abs().sum(), point)
            m = m + g / g.abs().sum((1, 2, 3), keepdim=True)
            point = (point.detach() - step * m.sign()).clamp(x - epsilon, x + epsilon).clamp(0, 1)
        ends.append(point)
    return ends


def test_the_latent_attack_is_both_searches_written_out():
    model, x, y = _two()
    attack = sr.LatentAttack(sr.Linf(0.02), 1, 4, 5, 0.0045, 5, 0.05)
    found = attack(model, x, y)
    ends = _written_out(model, x, y, 0.02, 4, 5, 0.0045, 5, 0.05)
    losses = torch.stack([F.cross_entropy(model(end), y, reduction="none") for end in ends])
    fooled = torch.stack([model(end).argmax(1) != y for end in ends])
    assert 2 <= fooled.any(0).sum() <= 10
    # No two steps cancel here but for rounding, whose sign would be anything. Of the rounds that fool, or of all where none does, the one of highest loss.
    best = torch.where(fooled | ~fooled.any(0), losses, -torch.inf).argmax(0)
    wanted = torch.stack(ends)[best, torch.arange(len(x))]
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-9)
    early = attack.fool(model, x, y)
    first = torch.where(fooled.any(0), fooled.int().argmax(0), losses.argmax(0))
    torch.testing.assert_close(early, torch.stack(ends)[first, torch.arange(len(x))], rtol=0, atol=1e-9)
    with torch.no_grad():
        assert ((model(early).argmax(1) != y) == fooled.any(0)).all()


def test_with_one_step_of_each_on_a_layer_that_is_the_image_it_is_pgd_to_the_last_bit():
    torch.manual_seed(0)
    same = nn.Conv2d(3, 3, 1, bias=False)
    model = nn.Sequential(same, nn.Conv2d(3, 4, 5), nn.Flatten()).eval()
    with torch.no_grad():
        same.weight.copy_(torch.eye(3)[:, :, None, None])
    x = torch.rand(20, 3, 5, 5)
    x[0, :, 0, 0], x[0, :, 0, 1] = 0, 1  # so that the range of each channel holds no pixel back
    y = model(x).argmax(1)
    latent = sr.LatentAttack(sr.Linf(0.05), rounds=5, steps=1, step_size=0.02, feature_steps=1)
    pgd = sr.PGD(sr.Linf(0.05), steps=5, step_size=0.02, random_start=False)
    assert torch.equal(latent(model, x, y), pgd(model, x, y))


def test_an_evaluation_counts_what_the_network_says():
    model, x, y = _two(torch.float32, 40)
    latent, pgd = sr.LatentAttack(sr.Linf(0.02), 1, 3, 8, 0.004), sr.PGD(sr.Linf(0.02), steps=20)
    result = sr.evaluate(model, x, y, [latent, pgd], seed=0)
    assert list(result.summary()) == ["clean", "latent-1", "pgd-20", "worst"]
    assert torch.equal(result.robust["latent-1"], model(latent.fool(model, x, y)).argmax(1) == y)
    assert result.robust["pgd-20"].float().mean() <= result.robust["latent-1"].float().mean() < 1
    half = model.to(torch.bfloat16)
    moved = latent(half, x.to(torch.bfloat16), y)
    assert latent.threat.contains(x.to(torch.bfloat16), moved).all() and not torch.equal(moved, x)


def test_what_the_latent_attack_cannot_do_is_one_sentence():
    model, x, y = _two(torch.float32)
    ball = sr.Linf(0.1)
    assert ATTACKS.make("latent-2", threat=ball) == sr.LatentAttack(ball, layer=2)
    with pytest.raises(InputError, match="layer 3: expected one with another behind it"):
        sr.LatentAttack(ball, layer=3)(model, x, y)
    with pytest.raises(InputError, match="layer: expected an index from 1 to 3, got 9"):
        sr.LatentAttack(ball, layer=9)(model, x, y)
    with pytest.raises(InputError, match="expected a classifier to fool"):
        sr.LatentAttack(ball).towards(model, x, 1)
    for wrong, word in (
        ({"layer": 0}, "layer"),
        ({"step_size": 0.0}, "step_size"),
        ({"feature_step": 0.0}, "f"),
    ):
        with pytest.raises(InputError, match=word):
            sr.LatentAttack(ball, **wrong)


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_a_cut_inside_a_residual_block_is_attacked(layer):
    torch.manual_seed(1)
    model, x = SmallResidual().eval(), torch.rand(8, 3, 5, 5)
    y = model(x).argmax(1)
    attack = sr.LatentAttack(sr.Linf(0.1), layer, rounds=2, steps=5, step_size=0.05)
    before = F.cross_entropy(model(x), y)
    assert F.cross_entropy(model(attack(model, x, y)), y) > before
