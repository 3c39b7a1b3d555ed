"""Layer-wise methods of the field, against plain implementations written here."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import semirobust as sr
from semirobust.core.errors import InputError
from semirobust.core.seed import as_seed
from semirobust.layers.scores import LayerScores
from semirobust.measures import MEASURES, MeasureContext
from semirobust.methods import METHODS
from semirobust.objectives import Step
from semirobust.objectives.at_lr import LayerRegularised
from semirobust.objectives.latent import Latent
from semirobust.selection import SELECTIONS
from semirobust.training.hooks.lap import LAP
from semirobust.training.hooks.latter_awp import LatterAWP
from semirobust.training.hooks.latter_rate import LatterRate
from semirobust.training.hooks.sam import SAM
from semirobust.training.training import Training
from tests.helpers import SmallResidual


class Chain(nn.Module):
    """Three layers in a row, whose features a test can write down."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 3, padding=1)
        self.norm, self.three = nn.BatchNorm2d(5), nn.Linear(5, 3)

    def forward(self, x):
        return self.after(self.one(x).relu())

    def after(self, feature):
        return self.three(self.norm(self.two(feature)).relu().mean((2, 3)))


def _chain(n=8, dtype=torch.float64):
    torch.manual_seed(0)
    model, x = Chain().to(dtype).eval(), torch.rand(n, 3, 6, 6, dtype=dtype)
    return model, x, (x + 0.03 * torch.randn_like(x)).clamp(0, 1), torch.arange(n) % 3


def _scores(model, x, x_adv, y, name, **options):
    layers = sr.layer_map(model, x[:1])
    attack = sr.PGD(sr.Linf(0.03), steps=2)
    context = MeasureContext(model, layers, x, y, x_adv, attack, as_seed(0))
    return MEASURES.make(name, options).scores(context)


def test_sustainability_is_the_relative_error_behind_each_relu():
    model, x, x_adv, y = _chain()
    (found,) = _scores(model, x, x_adv, y, "sustainability", batch_size=3)
    first = [model.one(t).relu() for t in (x, x_adv)]
    second = [model.norm(model.two(t)).relu().mean((2, 3)) for t in first]
    last = [model.three(t) for t in second]
    wanted = [(torch.linalg.norm(b - a) / torch.linalg.norm(a)).item() for a, b in (first, second, last)]
    np.testing.assert_allclose(found.values, wanted, rtol=1e-12)
    assert (found.low <= found.values).all() and (found.values <= found.high).all() and (found.low > 0).all()
    (raw,) = _scores(model, x, x_adv, y, "sustainability", at="conv")
    a, b = (model.one(t) for t in (x, x_adv))
    assert raw.values[0] == pytest.approx((torch.linalg.norm(b - a) / torch.linalg.norm(a)).item(), rel=1e-12)


def test_a_layer_whose_feature_is_nothing_has_no_sustainability():
    model, x, x_adv, y = _chain()
    with torch.no_grad():
        model.two.weight.zero_()
        model.two.bias.zero_()
        model.norm.bias.zero_()
    (found,) = _scores(model, x, x_adv, y, "sustainability")
    assert math.isnan(found.values[1]) and "no number in layer 2" in found.notes[0]


def test_sharpness_is_one_step_on_the_parameters_of_one_layer():
    model, x, x_adv, y = _chain()
    before = copy.deepcopy(model.state_dict())
    (found,) = _scores(model, x, x_adv, y, "sharpness", rho=0.1, batch_size=3)
    groups = [("one.weight", "one.bias"), ("two.weight", "two.bias", "norm.weight", "norm.bias")]
    for value, names in zip(found.values, [*groups, ("three.weight", "three.bias")], strict=True):
        other = copy.deepcopy(model)
        loss = F.cross_entropy(other(x_adv), y)
        own = [other.get_parameter(name) for name in names]
        gradients = torch.autograd.grad(loss, own)
        length = torch.cat([g.flatten() for g in gradients]).norm()
        with torch.no_grad():
            for parameter, gradient in zip(own, gradients, strict=True):
                parameter += 0.1 * gradient / length
            assert value == pytest.approx(float(F.cross_entropy(other(x_adv), y) - loss), rel=1e-9)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_rewinding_loses_what_the_trained_layer_gave(tmp_path):
    """A network whose second layer alone makes it right, set back to zeros."""

    class Sign(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.two(self.one(x.flatten(1)))

    model, first = Sign().eval(), Sign()
    with torch.no_grad():
        for network in (model, first):
            network.one.weight.copy_(torch.eye(4))
            network.one.bias.zero_()
            network.two.bias.copy_(torch.tensor([0.0, 0.0]))
        model.two.weight.copy_(torch.tensor([[3.0, 0, 0, 0], [0, 3.0, 0, 0]]))
        first.two.weight.zero_()
        first.two.bias.copy_(torch.tensor([2.0, 0.0]))  # always says class 0
    x = torch.tensor([[0.9, 0.1, 0, 0], [0.1, 0.9, 0, 0], [0.8, 0.2, 0, 0], [0.48, 0.52, 0, 0]])
    x, y = x.reshape(4, 1, 2, 2), torch.tensor([0, 1, 0, 1])
    file = tmp_path / "first.safetensors"
    sr.save_model(first, file)
    x_adv = sr.PGD(sr.Linf(0.1), steps=5)(model, x, y)
    robust, clean = _scores(model, x, x_adv, y, "rewinding", initial=str(file))
    # Under attack the last example is lost in any case; without layer 2 the other of class 1 is lost too.
    assert robust.values.tolist() == pytest.approx([0.0, 0.25]) and robust.part == ""
    assert clean.values.tolist() == pytest.approx([0.0, 0.5]) and clean.name == "rewinding.clean"


def test_rewinding_draws_new_weights_and_puts_the_old_back():
    model, x, x_adv, y = _chain(dtype=torch.float32)
    before = copy.deepcopy(model.state_dict())
    one, other = (_scores(model, x, x_adv, y, "rewinding", draws=2)[0] for _ in range(2))
    np.testing.assert_array_equal(one.values, other.values)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert np.abs(one.values).max() <= 1

    class Odd(nn.Module):
        """A layer with parameters of its own, which nobody can draw."""

        def __init__(self):
            super().__init__()
            self.weight, self.end = nn.Parameter(torch.rand(4, 12)), nn.Linear(4, 3)

        def forward(self, x):
            return self.end(F.linear(x.flatten(1), self.weight).relu())

    x = torch.rand(6, 3, 2, 2)
    found = _scores(Odd().eval(), x, x, torch.arange(6) % 3, "rewinding", draws=1)[0]
    assert math.isnan(found.values[0]) and "cannot draw its weights anew" in found.notes[0]


def _step(model, x, y, selected):
    return Step(model, sr.layer_map(copy.deepcopy(model).eval(), x[:1]), x, y, selected)


def test_the_term_of_at_lr_and_its_gradient_are_those_written_out():
    model, x, x_adv, y = _chain()
    model.train()
    other = copy.deepcopy(model)
    LayerRegularised(0.7).outer(_step(model, x, y, (1, 2)), x_adv).backward()
    features = []
    for images in (x, x_adv):
        first = other.one(images).relu()
        second = other.norm(other.two(first)).relu().mean((2, 3))
        features.append((first, second, other.three(second)))
    (a1, a2, _), (b1, b2, logits) = features
    error = (a1 - b1).norm() / a1.norm() + (a2 - b2).norm() / a2.norm()
    (F.cross_entropy(logits, y) + 0.7 * error).backward()
    for (name, mine), theirs in zip(model.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-8, atol=1e-12, msg=name)


def test_the_latent_term_is_an_attack_on_the_feature_written_out():
    model, x, x_adv, y = _chain()
    model.train()
    other = copy.deepcopy(model)
    Latent(0.3, epsilon=0.1, step_size=0.04, steps=4).outer(_step(model, x, y, (1,)), x_adv).backward()
    loss = F.cross_entropy(other(x_adv), y)
    other.eval()
    clean = other.one(x).relu().detach()
    low, high = clean.amin((0, 2, 3), keepdim=True), clean.amax((0, 2, 3), keepdim=True)
    point, width = clean.clone(), high - low
    for _ in range(4):
        point.requires_grad_()
        (g,) = torch.autograd.grad(F.cross_entropy(other.after(point), y), point)
        point = (point.detach() + 0.04 * width * g.sign()).clamp(clean - 0.1 * width, clean + 0.1 * width)
        point = torch.minimum(torch.maximum(point, low), high)
    other.train()
    with torch.no_grad():  # the attack found something
        tried = copy.deepcopy(other)
        assert F.cross_entropy(tried.after(point), y) > F.cross_entropy(tried.after(clean), y)
    (0.7 * loss + 0.3 * F.cross_entropy(other.after(point), y)).backward()
    for (name, mine), theirs in zip(model.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-8, atol=1e-12, msg=name)


def _gradients(model, x, y):
    loss = F.cross_entropy(model(x), y)
    return dict(
        zip(dict(model.named_parameters()), torch.autograd.grad(loss, list(model.parameters())), strict=True)
    )


def test_perturbations_of_weights_by_hand():
    model, x, _, y = _chain()
    layers, state = sr.layer_map(model, x[:1]), dict(model.named_parameters())
    model.train()
    g = _gradients(copy.deepcopy(model), x, y)

    def offsets(hook):
        return hook.offsets(model, layers, lambda: F.cross_entropy(model(x), y))

    def length(name):
        return state[name].norm() / g[name].norm()

    weights = ("one.weight", "two.weight", "three.weight")
    found = offsets(LAP(0.01, gamma=2.0))
    assert list(found) == list(weights)
    for number, name in enumerate(weights, 1):
        share = 1 - (math.log(number) / math.log(3)) ** 2
        torch.testing.assert_close(found[name], 0.01 * share * length(name) * g[name])
    assert found["three.weight"].abs().max() == 0
    found = offsets(LatterAWP(share=0.5, gamma=0.02))  # the second of two layers before the classifier
    assert list(found) == ["two.weight"]
    torch.testing.assert_close(found["two.weight"], 0.02 * length("two.weight") * g["two.weight"])
    found = offsets(SAM(0.3))
    whole = torch.cat([each.flatten() for each in g.values()]).norm()
    assert found.keys() == g.keys()
    for name, offset in found.items():
        torch.testing.assert_close(offset, 0.3 * g[name] / whole)
    model.one.requires_grad_(False)
    assert set(offsets(SAM(0.3))) == g.keys() - {"one.weight", "one.bias"}


def _images(n=30):
    x = torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return sr.images_from_tensors(x, torch.arange(n) % 3)


def _trained(*hooks, **changes):
    torch.manual_seed(3)
    model = SmallResidual()
    given = {"objective": sr.Adversarial(), "attack": sr.PGD(sr.Linf(0.03), steps=2), "epochs": 2}
    given = {**given, "batch_size": 10, "learning_rate": 0.05, **changes}
    Training(**given, hooks=hooks)(model, _images(), seed=1)
    return model.state_dict()


def test_the_rate_of_the_latter_layers_is_a_factor_on_their_steps():
    layers = sr.layer_map(SmallResidual(), _images().all()[0][:1])
    torch.manual_seed(3)
    start = SmallResidual().state_dict()
    still = _trained(LatterRate(1.0, 0.0), epochs=1)
    own = {n for layer in layers.layers[:-1] for n in layer.parameters}
    assert own and all(torch.equal(still[name], start[name]) for name in own)
    end = layers.layers[-1].parameters
    assert not torch.equal(still[end[0]], start[end[0]])
    # One step of a tenth of the rate is a tenth of the step.
    one = {"epochs": 1, "batch_size": 30, "momentum": 0.0, "weight_decay": 0.0, "schedule": "constant"}
    plain, less = _trained(**one), _trained(LatterRate(1.0, 0.1), **one)
    for name in own:
        torch.testing.assert_close(
            less[name] - start[name], 0.1 * (plain[name] - start[name]), rtol=1e-3, atol=1e-7
        )


@pytest.mark.parametrize(
    ("name", "options", "limit"),
    [
        ("at-lr", {"weight": 0.0, "choice": {"k": 1, "examples": 10}}, "adversarial"),
        ("lat", {"weight": 0.0, "choice": {"layers": [2]}}, "adversarial"),
        ("lap", {"beta": 0.0}, "adversarial"),
        ("latter", {"gamma": 0.0}, "adversarial"),
        ("latter", {"share": 0.0, "factor": 0.3}, "adversarial"),
        ("safer", {"rho": 0.0, "choice": {"layers": [2]}}, "selected"),
        ("lp-ft", {"probe": 0}, "adversarial"),
    ],
)
def test_each_is_its_base_in_its_limit_to_the_last_bit(name, options, limit):
    images = _images()
    torch.manual_seed(3)
    model = SmallResidual()
    base = {"choice": options["choice"]} if limit == "selected" else {}

    def weights(method, given):
        flat = {**given.pop("choice", {}), **given}
        found = sr.harden(
            copy.deepcopy(model), images, METHODS.make(method, flat), threat=sr.Linf(0.03), epochs=2, seed=1
        )
        return found.state_dict() if isinstance(found, nn.Module) else found.model.state_dict()

    one, other = weights(name, dict(options)), weights(limit, dict(base))
    assert one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def test_layers_that_are_held_still_are_chosen_once_and_everything_trains():
    from semirobust.attacks.pgd import PGD
    from semirobust.methods import Context

    images = _images()
    torch.manual_seed(3)
    model = SmallResidual()
    layers = sr.layer_map(model, images.all()[0][:1])
    method = METHODS.make("at-lr", {"k": 2, "examples": 20})
    plan = method.plan(Context(layers, images, PGD(sr.Linf(0.03), steps=2)))
    choice = plan.trainable(0, model, as_seed(0))
    assert choice.layers is None and len(choice.marked) == 2 and plan.trainable(1, model, as_seed(0)) is None
    assert set(choice.marked) == set(choice.scores.ranking()[:2]) - {len(layers)} or len(choice.marked) == 2
    with pytest.raises(InputError, match="trains: expected layer"):
        METHODS.make("at-lr", {"trains": "weights"}).plan(
            Context(layers, images, PGD(sr.Linf(0.03), steps=2))
        )


def _of_cost(costs, macs=None):
    from semirobust.layers.layer import Layer, LayerMap

    names = [f"l{i}" for i in range(1, len(costs) + 1)]
    layers = tuple(
        Layer(i, n, "Linear", (1,), (1,), (n,), (n,), n, ends_block=True, macs=float((macs or costs)[i - 1]))
        for i, n in enumerate(names, 1)
    )
    return LayerMap(layers, sizes=dict(zip(names, costs, strict=True)))


def _given(values):
    v = np.array(values, dtype=float)
    return LayerScores.without_interval(
        "test", v, indices=tuple(range(1, len(v) + 1)), examples=10, layers=len(v)
    )


def test_selections_by_cost_and_by_share_by_hand():
    seed, scores = as_seed(0), _given([6, 5, 4, 3, 99])  # the last one is the classifier
    layers = _of_cost([50, 30, 20, 0, 0])
    assert SELECTIONS.make("cumulative", {"share": 0.6})(scores, seed) == (1, 2)
    assert SELECTIONS.make("cumulative", {"share": 1.0})(scores, seed) == (1, 2, 3, 4)
    assert SELECTIONS.make("cumulative", {"share": 0.34, "classifier": True})(scores, seed) == (5,)
    # Greedily 1 first, then what is left; the best sum leaves it out.
    assert SELECTIONS.make("budget", {"share": 0.5})(scores, seed, layers) == (1, 4)
    assert SELECTIONS.make("knapsack", {"share": 0.5})(scores, seed, layers) == (2, 3, 4)
    other = _of_cost([50, 30, 20, 0, 0], macs=[1, 1, 1, 96, 1])
    assert SELECTIONS.make("budget", {"share": 0.03, "cost": "macs"})(scores, seed, other) == (1, 2, 3)
    for name in ("budget", "knapsack"):
        with pytest.raises(InputError, match="layer map"):
            SELECTIONS.make(name)(scores, seed)
        with pytest.raises(InputError, match="share: expected"):
            SELECTIONS.make(name, {"share": 0.01})(scores, seed, _of_cost([50, 30, 20, 5, 0]))
        with pytest.raises(InputError, match="share: expected more than 0"):
            SELECTIONS.make(name, {"share": 0.0})


def test_the_knapsack_is_the_best_of_all_subsets():
    from itertools import combinations

    rng = np.random.default_rng(0)
    for _ in range(10):
        values, costs = rng.normal(1, 1, 9), rng.integers(1, 50, 9).tolist()
        layers, share = _of_cost(costs), 0.4
        chosen = SELECTIONS.make("knapsack", {"share": share})(_given(values), as_seed(0), layers)
        subsets = (s for k in range(9) for s in combinations(range(8), k))
        fitting = [s for s in subsets if sum(costs[i] for i in s) <= share * sum(costs) + 1e-9]
        best = max(sum(values[i] for i in s) for s in fitting)
        assert sum(values[i - 1] for i in chosen) == pytest.approx(best)
        assert sum(costs[i - 1] for i in chosen) <= share * sum(costs) + 1e-6


def test_a_method_takes_a_share_in_place_of_a_number():
    images = _images()
    torch.manual_seed(3)
    model = SmallResidual()
    layers = sr.layer_map(model, images.all()[0][:1])
    from semirobust.methods import Context

    context = Context(layers, images, sr.PGD(sr.Linf(0.03), steps=2))
    method = METHODS.make("selected", {"selection": "budget", "share": 0.6, "examples": 20})
    choice = method.plan(context).trainable(0, model, as_seed(0))
    taken = sum(layers.sizes[n] for i in choice.layers for n in layers.at(i).parameters)
    assert 0 < taken <= 0.6 * sum(layers.sizes[n] for each in layers for n in each.parameters)
    with pytest.raises(InputError, match="k: budget takes no number of layers"):
        METHODS.make("selected", {"selection": "budget", "k": 2}).plan(context)
    with pytest.raises(InputError, match="share: top takes k"):
        METHODS.make("selected", {"share": 0.2}).plan(context)
    with pytest.raises(InputError, match="chooses no fixed number of layers"):
        method.with_random_layers()


def _hardened(method, **options):
    torch.manual_seed(3)
    start = SmallResidual()
    model = copy.deepcopy(start)
    method = METHODS.make(method, options)
    trained = sr.harden(model, _images(), method, threat=sr.Linf(0.03), epochs=2, seed=1, learning_rate=0.1)
    return start.state_dict(), trained


def test_bitfit_trains_every_bias_and_nothing_else():
    start, trained = _hardened("bitfit")
    names = {n for n, p in SmallResidual().named_parameters() if n.endswith("bias")}
    assert {n for n, v in trained.model.state_dict().items() if not torch.equal(v, start[n])} == names
    assert trained.logs[-1].trained_parameters == sum(start[n].numel() for n in names)
    with pytest.raises(InputError, match="trains: expected biases"):
        _hardened("bitfit", trains="layer")


def test_lp_ft_trains_the_classifier_first():
    _, trained = _hardened("lp-ft", probe=1)
    assert [log.layers for log in trained.logs] == [(4,), None]
    with pytest.raises(InputError, match="epochs"):
        _hardened("lp-ft", probe=2)
