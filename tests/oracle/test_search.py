"""The faster copy in which the inner maximisation runs: it follows the weights, and training comes out the
same.
"""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

import semirobust as sr
from semirobust.core.errors import InputError
from semirobust.core.seed import as_seed
from semirobust.fast import policy
from semirobust.fast.copy import Faster, has_bfloat16
from semirobust.fast.policy import FastFollower
from semirobust.layers.features import forward_to
from semirobust.objectives import Step
from semirobust.objectives.adversarial import Adversarial
from semirobust.objectives.clat import CLAT
from semirobust.objectives.trades import TRADES
from semirobust.training.trainable import Fixed
from semirobust.training.training import Training
from tests.helpers import SmallResidual


def _moved(model: nn.Module, x: torch.Tensor) -> None:
    """Other weights and statistics, as after a few steps of training."""
    model.train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        model(x)
    model.eval()


@pytest.mark.parametrize("make", [lambda: sr.build_model("resnet8", 4, 0.25, image_size=16), SmallResidual])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.05)])
def test_it_follows_the_weights(make, dtype, tolerance):
    """The reference is a copy built anew from the changed model, and the model itself."""
    if dtype == torch.bfloat16 and not has_bfloat16(torch.device("cpu")):
        pytest.skip("this processor has no bfloat16")
    torch.manual_seed(0)
    model, x = make().eval(), torch.rand(6, 3, 16, 16)
    copy = Faster(model, x, dtype)
    _moved(model, x)
    assert not torch.allclose(copy.network(x), model(x), atol=1e-2)
    copy.refresh()
    torch.testing.assert_close(copy.network(x), Faster(model, x, dtype).network(x))
    spread = float(model(x).detach().std())
    assert float((copy.network(x) - model(x)).detach().abs().max()) <= tolerance * max(spread, 1.0)
    x.requires_grad_()  # the gradient too, through narrow strided convolutions whose phases must follow
    theirs, ours = (torch.autograd.grad(m(x).square().sum(), x)[0] for m in (model, copy.network))
    assert float(nn.functional.cosine_similarity(theirs.flatten(), ours.flatten(), dim=0)) > (
        0.99 if tolerance > 0.01 else 0.99999
    )


@pytest.mark.parametrize(("objective", "trainable"), [(Adversarial(), None), (CLAT(), Fixed((3,)))])
def test_training_comes_out_the_same(objective, trainable, monkeypatch):
    """Losses of ten steps with the faster copy against those with the network itself."""
    x = torch.rand(80, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    images = sr.images_from_tensors(x, (x.mean((1, 2, 3)) * 60).long() % 3)
    losses, forms, network = {}, {"auto": [], "off": []}, FastFollower.network
    for name in ("auto", "off"):
        monkeypatch.setattr(
            FastFollower, "network", lambda self, name=name: forms[name].append(self.form) or network(self)
        )
        options = {} if trainable is None else {"trainable": trainable}
        training = Training(
            objective=objective, attack=sr.PGD(sr.Linf(4 / 255), steps=5), epochs=5, batch_size=40,
            learning_rate=0.05, schedule="constant", fast=name, **options,
        )  # fmt: skip
        losses[name] = [
            log.loss for log in training(sr.build_model("resnet8", 3, 0.25, image_size=16), images).logs
        ]
    assert losses["auto"] == pytest.approx(losses["off"], rel=0.02)
    assert (
        len(forms["auto"]) >= 10 and all(forms["auto"]) and not any(forms["off"])
    )  # it did run in another form
    if has_bfloat16(torch.device("cpu")):  # in full precision the signs of all gradients may well be the same
        assert losses["auto"] != losses["off"]


def _choose(form: FastFollower, model: nn.Module, x: torch.Tensor, epsilon: float = 8 / 255) -> None:
    y = torch.arange(len(x)) % 3
    form.choose(
        lambda f: lambda z: nn.functional.cross_entropy(f(z), y, reduction="none"),
        x,
        sr.Linf(epsilon),
        as_seed(0),
    )


def test_a_copy_that_points_elsewhere_is_not_used(monkeypatch):
    model, x = sr.build_model("resnet8", 4, 0.25, image_size=16).eval(), torch.rand(8, 3, 16, 16)
    form = FastFollower(model, "auto")
    _choose(form, model, x)
    assert form.network() is not model and "folded" in form.description
    strict = tuple(replace(candidate, min_gain=1.1) for candidate in policy.CANDIDATES)
    monkeypatch.setattr(policy, "CANDIDATES", strict)
    _choose(form, model, x)
    assert form.network() is model and form.description == "as it is, full precision"
    off = FastFollower(model, "off")
    _choose(off, model, x)
    assert off.network() is model


def test_differences_that_drown_in_half_precision_are_searched_in_full():
    """At a tiny radius the divergence of TRADES is smaller than bfloat16's rounding."""
    torch.manual_seed(0)
    model, x = sr.build_model("resnet8", 4, 0.25, image_size=16).eval(), torch.rand(16, 3, 16, 16)
    layers, y = sr.layer_map(model, x), torch.arange(16) % 4

    def inner_of(network: nn.Module):
        return TRADES().inner(Step(network, layers, x, y, (1,)))

    form = FastFollower(model, "auto")
    form.choose(inner_of, x, sr.Linf(0.02 / 255), as_seed(0))
    assert "bfloat16" not in form.description


class _Twice(nn.Module):
    """A convolution whose raw output goes into its batch norm and, before that, past it."""

    def __init__(self, early: bool) -> None:
        super().__init__()
        self.early, self.conv, self.norm, self.head = (
            early,
            nn.Conv2d(3, 4, 3),
            nn.BatchNorm2d(4),
            nn.Linear(4, 3),
        )

    def forward(self, x):
        h = self.conv(x)
        if self.early:
            side = h.mean((2, 3))
            return self.head(torch.relu(self.norm(h)).mean((2, 3)) + side)
        return self.head((torch.relu(self.norm(h)) + h).mean((2, 3)))


class _TwoNames(nn.Module):
    """One convolution under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.body = nn.Sequential(
            self.first, nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
        )

    def forward(self, x):
        return self.body(x)


class _NormFirst(nn.Module):
    """Pixels normalised by a batch norm, whose statistics move."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.conv, self.head = nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(torch.relu(self.conv(self.norm(x))).mean((2, 3)))


class _Tied(nn.Module):
    """Two convolutions with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.norm = (
            nn.Conv2d(3, 3, 3, padding=1),
            nn.Conv2d(3, 3, 3, padding=1),
            nn.BatchNorm2d(3),
        )
        self.two.weight, self.head = self.one.weight, nn.Linear(3, 3)

    def forward(self, x):
        return self.head(torch.relu(self.norm(self.two(torch.relu(self.one(x))))).mean((2, 3)))


AWKWARD = {
    "used late": lambda: _Twice(False),
    "used early": lambda: _Twice(True),
    "two names": _TwoNames,
    "norm first": _NormFirst,
    "tied": _Tied,
    "preact": lambda: sr.build_model("preact_resnet18", 3, 0.125, image_size=16),
    "densenet": lambda: sr.build_model("densenet121", 3, 0.125, image_size=32),
}


@pytest.mark.parametrize("name", AWKWARD)
def test_networks_that_cannot_be_folded_anyhow(name):
    """After other weights and statistics the copy still gives the network's logits, or is not used."""
    torch.manual_seed(0)
    model = AWKWARD[name]().eval()
    x = torch.rand(8, 3, 32, 32) if name == "densenet" else torch.rand(8, 3, 16, 16)
    copy = Faster(model, x, torch.float32)
    _moved(model, x)
    copy.refresh()
    if copy.follows(x):
        torch.testing.assert_close(copy.network(x), model(x), rtol=1e-3, atol=1e-3)
    assert copy.follows(x) or name == "tied"
    form = FastFollower(model, "auto")
    _choose(form, model, x)
    if form.network() is not model:
        torch.testing.assert_close(form.network()(x), model(x), rtol=0.1, atol=0.1)


@pytest.mark.parametrize(
    "model",
    [nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), sr.build_model("vit_small", 4, 0.25, image_size=16)],
)
def test_any_module_works(model):
    """Without convolutions the network itself; a transformer, whose first layer is one, in its faster
    form.
    """
    x = torch.rand(4, 3, 2, 2) if isinstance(model, nn.Sequential) else torch.rand(4, 3, 16, 16)
    model.eval()
    form = FastFollower(model, "auto")
    _choose(form, model, x)
    assert (form.network() is model) == isinstance(model, nn.Sequential)
    torch.testing.assert_close(form.network()(x), model(x), rtol=0.1, atol=0.05)


def test_features_of_the_copy_are_the_networks():
    """Names are kept, so CLAT's inner maximisation finds its layers."""
    torch.manual_seed(0)
    model, x = sr.build_model("resnet8", 4, 0.25, image_size=16).eval(), torch.rand(5, 3, 16, 16)
    layers, copy = sr.layer_map(model, x), Faster(model, x, torch.float32)
    ours, theirs = (forward_to(network, layers, x, [2, 5]) for network in (copy.network, model))
    for index in (2, 5):
        torch.testing.assert_close(ours[index], theirs[index], rtol=1e-3, atol=1e-4)


def test_only_known_forms():
    with pytest.raises(InputError, match="fast: expected auto, graphs, onnx or off"):
        Training(objective=Adversarial(), fast="exact")


@pytest.mark.parametrize("form", ["distance", "curvature"])
def test_a_transformer_is_fine_tuned_at_its_critical_layer(form):
    """Its first parameter, the class token, is in half precision in the copy."""
    data = sr.load_data("digits")
    model = sr.build_model("vit_small", width=0.125, in_channels=1, image_size=8)
    trained = sr.harden(
        model,
        data.train.first(60),
        "clat",
        threat=sr.Linf(0.1),
        epochs=1,
        form=form,
        examples=20,
        batch_size=30,
    )
    assert len(trained.logs) == 1 and len(trained.logs[0].layers) == math.ceil(
        0.05 * len(sr.layer_map(model, torch.rand(1, 1, 8, 8)))
    )
