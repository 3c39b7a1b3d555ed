"""What every registered architecture must do."""

import copy

import pytest
import torch

import semirobust as sr
from semirobust.core.errors import InputError
from semirobust.models import MODELS
from semirobust.models.base.classifier import Normalised
from tests.helpers import untouched

NAMES = ["wrn_10_2" if name == "wrn_D_K" else name for name in MODELS.names()]
EVERY = pytest.mark.parametrize("name", NAMES)


@EVERY
def test_forward_backward_and_layers(name):
    size = 28 if name in ("mlp_300_100_100", "capacity_cnn") else 32
    model = sr.build_model(name, num_classes=5, width=0.1, in_channels=1, image_size=size)
    assert not model.training
    x = torch.rand(3, 1, size, size, requires_grad=True)
    logits = model(x)
    assert logits.shape == (3, 5) and torch.isfinite(logits).all()
    (slope,) = torch.autograd.grad(logits[:, 0].sum(), x)
    assert float(slope.abs().sum()) > 0
    with untouched(model):
        layers = sr.layer_map(model, x.detach())
    assert not layers.unassigned
    assert sorted(p for layer in layers for p in layer.parameters) == sorted(
        n for n, _ in model.named_parameters()
    )


@EVERY
def test_seeds_decide_the_weights_and_nothing_else(name):
    state = torch.get_rng_state()
    first, again, other = (sr.build_model(name, width=0.05, seed=s).state_dict() for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert any(not torch.equal(first[k], other[k]) for k in first)


@EVERY
def test_width_scales_the_network(name):
    sizes = [sum(p.numel() for p in sr.build_model(name, width=w).parameters()) for w in (0.25, 0.5)]
    assert sizes[0] < sizes[1]


def test_normalisation_is_inside():
    model = sr.build_model("resnet8", width=0.25, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    x = torch.rand(2, 3, 8, 8)
    normalised = (x - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)) / torch.tensor([0.5, 0.6, 0.7]).view(
        3, 1, 1
    )
    torch.testing.assert_close(model(x), model.network(normalised))
    torch.testing.assert_close(
        Normalised(copy.deepcopy(model.network), (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)).eval()(x), model(x)
    )
    assert "normalise.mean" in model.state_dict()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet19"}, "model: expected one of"),
        ({"name": "resnet18", "num_classes": 1}, "num_classes"),
        ({"name": "resnet18", "width": 0}, "width"),
        ({"name": "wrn_33_10"}, "6n \\+ 4"),
        ({"name": "capacity_cnn", "image_size": 8}, "at least 16 pixels"),
        ({"name": "capacity_cnn", "scale": 9}, "scale"),
        ({"name": "vit_small", "image_size": 30}, "multiple of its patch"),
        ({"name": "resnet18", "depth": 3}, "unknown option 'depth'"),
        ({"name": "resnet18", "mean": (0.5,), "std": (0.0,)}, "mean and std"),
    ],
)
def test_bad_settings_are_one_sentence(arguments, message):
    with pytest.raises(InputError, match=message):
        sr.build_model(**arguments)


def test_the_capacity_family_has_its_six_scales():
    sizes = [
        sum(p.numel() for p in sr.build_model(f"capacity_cnn_{s}", in_channels=1, image_size=28).parameters())
        for s in range(6)
    ]
    assert sizes == sorted(sizes)
    assert sizes[0] == 2 * 26 + 4 * 51 + 64 * 100 + 100 + 1010
