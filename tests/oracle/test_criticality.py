"""Criticality by hand on networks with integer weights, its identity, and its invariances."""

import numpy as np
import pytest
import torch
from torch import nn

import semirobust as sr
from semirobust.core.errors import InputError
from semirobust.layers.features import forward_to
from semirobust.measures.criticality import Criticality
from semirobust.measures.stability import Stability
from semirobust.methods.base.layer_choice import LayerChoice
from semirobust.methods.base.method import Context
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


def test_the_first_layer_relative_to_the_input_by_hand():
    """|delta| = sqrt 2 over the 2 values of x, so W(x) = 1 / sqrt 2; over sqrt 2 of them, and over |x|, 1."""
    x, net, root = torch.tensor([[1.0, 1.0]]), _integer_net(), 2**0.5
    of = lambda **more: sr.criticality(net, x, torch.tensor([0]), x_adv=2 * x, first="input", **more)  # noqa: E731
    np.testing.assert_allclose(of().values, [1.25 * root, 5.6, 2.5])
    np.testing.assert_allclose(of().weakness, [1.25, 7, 17.5])
    np.testing.assert_allclose(of(scale="rms").values, [2.5, 2.8, 35 / 7 / root])
    np.testing.assert_allclose(of(scale="relative").values, [1, 1, 1])
    # The curvature of the image is 1, over 2 values: |J^T J delta| / |delta| = |(9, 16)| / sqrt 2 over 4.
    curved = of(form="curvature")
    np.testing.assert_allclose(curved.values[0], np.hypot(9, 16) / root / 4 / (1 / 2))
    np.testing.assert_allclose(np.cumprod(curved.values) / 2, curved.weakness)
    # Two layers that take the image are both relative to it; they meet, and have one feature of 4 values.
    both = sr.criticality(_TwoSided(), x, torch.tensor([0]), x_adv=2 * x, first="input").values
    np.testing.assert_allclose(both[:2], 2 * [109**0.5 / 2], rtol=1e-6)
    still = sr.criticality(net, x, torch.tensor([0]), x_adv=x, first="input")
    assert np.isnan(still.values).all()
    with pytest.raises(InputError, match="first: expected weakness or input"):
        sr.criticality(net, x, torch.tensor([0]), x_adv=x, first="x")


class _TwoSided(nn.Module):
    """Two layers of 2 units that take the image, times 3 and times 10, and a head."""

    def __init__(self):
        super().__init__()
        self.a, self.b = (nn.Linear(2, 2, bias=False) for _ in range(2))
        self.head = nn.Linear(4, 2)
        with torch.no_grad():
            self.a.weight.copy_(3 * torch.eye(2))
            self.b.weight.copy_(10 * torch.eye(2))

    def forward(self, x):
        return self.head(torch.cat([self.a(x), self.b(x)], 1))


def test_stability_and_the_choice_of_layers_take_it_too():
    """The first layer times 5, the others times 1; small changes make W(F_1) itself small."""
    model = nn.Sequential(nn.Flatten(), *(nn.Linear(12, 12, bias=False) for _ in range(3)), nn.Linear(12, 3))
    with torch.no_grad():
        for i, factor in ((1, 5.0), (2, 1.0), (3, 1.0)):
            model[i].weight.copy_(factor * torch.eye(12))
    x, y, threat = torch.rand(12, 3, 2, 2), torch.arange(12) % 3, sr.Linf(0.01)
    for first, expected in (("weakness", False), ("input", True)):
        given = {"threat": threat, "batches": (12,), "draws": 2, "k": 1}
        assert (sr.stability(model.eval(), x, y, **given, first=first).chosen == (1,)) == expected
        images = sr.images_from_tensors(x, y)
        context = Context(sr.layer_map(model, x), images, sr.PGD(threat, steps=2))
        trainable = LayerChoice(k=1, examples=12, first=first).trainable(context)
        assert (trainable(0, model, sr.Seed(("s",))).layers == (1,)) == expected


@pytest.mark.parametrize("form", ["distance", "curvature"])
def test_each_number_is_of_its_own_layer_where_branches_meet(form):
    """The first branch is recorded where both meet, after the layers of the second."""

    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.short, self.long, self.end = nn.Linear(6, 8), nn.Linear(6, 16), nn.Linear(16, 8)
            self.head = nn.Linear(16, 3)

        def forward(self, x):
            return self.head(torch.relu(torch.cat([self.short(x), self.end(torch.relu(self.long(x)))], 1)))

    torch.manual_seed(0)
    model, x = Branches().eval(), torch.rand(12, 6)
    x_adv = (x + 0.1 * torch.randn_like(x)).clamp(0, 1)
    result = sr.criticality(model, x, torch.zeros(12).long(), x_adv=x_adv, form=form)
    for layer, weakness in zip(sr.layer_map(model, x), result.weakness):
        alone = x_adv.clone().requires_grad_()
        clean, moved = (
            sr.forward_to(model, sr.layer_map(model, x), v, layer.index)[layer.index] for v in (x, alone)
        )
        change = (moved - clean).detach()
        if form == "curvature":
            (product,) = torch.autograd.grad(moved, alone, change)
            change = product / (x_adv - x).norm(dim=1, keepdim=True)
        assert weakness == pytest.approx(float(change.norm(dim=1).mean()) / layer.features, rel=1e-5)


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
    """The layer doubles a feature whose size varies by example: C_2 is E|d2| / E|d1|, known from a large
    sample.
    """
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Tanh(), nn.Linear(1, 2, bias=False)).eval()
    with torch.no_grad():
        model[0].weight.fill_(2.0)
        model[2].weight.copy_(torch.tensor([[1.0], [0.0]]))
    generator = torch.Generator().manual_seed(0)
    draw = lambda n: torch.rand(n, 1, generator=generator)  # noqa: E731
    labels = lambda n: torch.zeros(n, dtype=torch.long)  # noqa: E731
    truth = sr.criticality(
        model, draw(100_000), labels(100_000), x_adv=draw(100_000), batch_size=10_000, at="conv"
    ).values[1]
    covered = 0
    for seed in range(60):
        result = sr.criticality(
            model, draw(64), labels(64), x_adv=draw(64), batch_size=8, seed=seed, at="conv"
        )
        covered += result.low[1] <= truth <= result.high[1]
    assert covered >= 50  # 95 % of 60 is 57; fewer than 50 would be chance once in a million


def test_a_dead_layer_scores_zero_with_nothing_behind_it_and_an_identity_changes_nothing_else():
    x = torch.tensor([[1.0, 1.0]])
    dead = _integer_net()
    with torch.no_grad():
        dead[2].weight.zero_()
    np.testing.assert_allclose(
        sr.criticality(dead, x, torch.tensor([0]), x_adv=2 * x).values, [1.25, 0, np.nan]
    )
    longer = nn.Sequential(*_integer_net()[:3], nn.Linear(1, 1), *_integer_net()[3:]).eval()
    with torch.no_grad():
        longer[3].weight.fill_(1.0)
        longer[3].bias.zero_()
    np.testing.assert_allclose(
        sr.criticality(longer, x, torch.tensor([0]), x_adv=2 * x).values, [1.25, 5.6, 1, 2.5]
    )


def test_two_forward_passes_and_no_more():
    model = _integer_net()
    calls = []
    model.register_forward_hook(lambda m, a, o: calls.append(len(o)))
    x = torch.rand(32, 2)
    y = torch.zeros(32, dtype=torch.long)
    sr.criticality(model, x, y, x_adv=2 * x, layers=sr.layer_map(_integer_net(), x))
    # The third tells on four examples which features depend on their layers.
    assert calls == [32, 32, 4]


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


def test_curvature_by_hand():
    """delta = (1, 1) on a linear net: J_i^T J_i delta. F1: (9, 16); F2: 7 (3, 4); F3: 25 (3 * 7, 4 * 7); over
    sqrt 2 and N_i.
    """
    x = torch.tensor([[1.0, 1.0]])
    result = sr.criticality(_integer_net(), x, torch.tensor([0]), x_adv=2 * x, form="curvature")
    lengths = np.array([np.hypot(9, 16), np.hypot(21, 28), np.hypot(525, 700)]) / 2**0.5
    np.testing.assert_allclose(result.weakness, lengths / [4, 1, 2])
    np.testing.assert_allclose(np.cumprod(result.values), result.weakness)


@pytest.mark.parametrize("at", ["input", "conv", "block"])
@pytest.mark.parametrize("make", [SmallResidual, lambda: sr.build_model("vit_small", 3, 0.25, image_size=8)])
def test_curvature_is_the_slope_of_half_the_squared_distance(make, at):
    """J^T (F(x') - F(x)) is the gradient of |F(x') - F(x)|^2 / 2 at x', here by central differences; CNN and
    transformer.
    """
    torch.manual_seed(0)
    model = make().double().eval()
    x = torch.rand(2, 3, 8, 8).double()
    x_adv = (x + 0.05 * torch.randn_like(x)).clamp(0, 1)
    layers = sr.layer_map(model, x)
    with untouched(model):
        result, _ = Criticality(at=at, form="curvature").per_example(model, layers, x, x_adv)
    indices = layers.block_ends if at == "block" else layers.indices
    step, position, pixels = 1e-5, [0, -1], x[0].numel()
    nudges = step * torch.eye(pixels, dtype=x.dtype).view(pixels, 1, *x.shape[1:])
    clean = x.repeat(pixels, 1, 1, 1)
    for column in position:
        index = indices[column]

        def half(z, index=index):
            """(pixels, 2), of the images z (pixels, 2, C, H, W)."""
            with torch.no_grad():
                features = (
                    forward_to(model, layers, i, index, at=at)[index] for i in (z.flatten(0, 1), clean)
                )
                change = next(features) - next(features)
            per_example = layers.at(index).per_example(change, 2 * pixels, raw=at == "conv")
            return per_example.square().sum(1).view(pixels, 2) / 2

        gradient = (half(x_adv + nudges) - half(x_adv - nudges)).T / (2 * step)
        expected = gradient.norm(dim=1) / (x_adv - x).flatten(1).norm(dim=1)
        np.testing.assert_allclose(result[:, column], expected, rtol=1e-4)


def test_curvature_scales():
    torch.manual_seed(0)
    model = SmallResidual().eval()
    x, x_adv, y = torch.rand(8, 3, 6, 6), torch.rand(8, 3, 6, 6), torch.zeros(8, dtype=torch.long)
    found = {
        s: sr.criticality(model, x, y, x_adv=x_adv, scale=s, form="curvature")
        for s in ("paper", "rms", "relative")
    }
    np.testing.assert_allclose(found["paper"].values, found["rms"].values)
    assert not np.allclose(found["paper"].values, found["relative"].values)
    still = sr.criticality(model, x, y, x_adv=x, form="curvature")
    # Nothing moved, and 0 / 0 says nothing.
    assert still.values[0] == still.weakness[0] == 0
    assert np.isnan(still.values[1:]).all() and np.isnan(still.weakness[1:]).all()
    with pytest.raises(InputError, match="form: expected distance or curvature"):
        sr.criticality(model, x, y, x_adv=x, form="hessian")


def _ladder():
    """x -> 1.0x, 3x, 2x of it: layer 2 always adds most."""
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, 3)
    )
    with torch.no_grad():
        for layer, gain in zip((model[1], model[2], model[3]), (1.0, 3.0, 2.0), strict=True):
            layer.weight.copy_(gain * torch.eye(12))
            layer.bias.zero_()
    return model.eval()


def test_stability_of_a_clear_choice():
    x, y = torch.rand(60, 3, 2, 2, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 3
    model = _ladder()
    with untouched(model):
        found = sr.stability(model, x, y, threat=sr.Linf(0.1), batches=(5, 20), draws=30, k=1, attacks=2)
    assert found.chosen == (2,) and found.indices == (1, 2, 3)
    assert (
        found.agreement == {5: 1.0, 20: 1.0}
        and found.same == {5: 1.0, 20: 1.0}
        and found.between_seeds == 1.0
    )
    assert found.chance == pytest.approx(1 / 3)
    np.testing.assert_allclose(found.fractions[5], [0, 1, 0])


def test_stability_of_a_choice_by_chance():
    """Examples whose distances are pure noise: batches agree with all examples about as often as chance has
    it.
    """
    rng = np.random.default_rng(0)
    x, y = torch.rand(400, 3, 2, 2), torch.arange(400) % 3
    model, layers = _ladder(), sr.layer_map(_ladder(), x[:1])

    class Noise(Stability):
        @property
        def _criticality(self):
            noise = np.cumprod(np.exp(3 * rng.standard_normal((400, 4))), 1)

            class Index(Criticality):
                def per_example(self, *args):
                    return noise, noise

            return Index()

    found = Noise(batches=(2,), draws=400, k=1, attacks=1).measure(
        model, layers, x, y, attack=sr.PGD(sr.Linf(0.1)), seed=sr.Seed(("n",))
    )
    assert 0.15 < found.agreement[2] < 0.55
    assert found.fractions[2].sum() == pytest.approx(1)


def test_what_stability_refuses():
    x, y, model = torch.rand(6, 3, 2, 2), torch.arange(6) % 3, _ladder()
    with pytest.raises(InputError, match="batches: expected sizes up to the 6"):
        sr.stability(model, x, y, threat=sr.Linf(0.1))
    with pytest.raises(InputError, match="batches, draws and attacks"):
        sr.stability(model, x, y, threat=sr.Linf(0.1), batches=())
    with pytest.raises(InputError, match="k: expected 1 to 3 layers"):
        sr.stability(model, x, y, threat=sr.Linf(0.1), batches=(2,), k=4)
    with pytest.raises(InputError, match="threat: expected one such as Linf"):
        sr.stability(model, x, y, threat=0.1)
