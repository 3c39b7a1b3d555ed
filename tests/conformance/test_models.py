"""What every registered architecture must do."""

import copy

import pytest
import torch

import semirobust as sr
from semirobust.core.errors import InputError
from semirobust.models import MODELS
from semirobust.models.base.classifier import Normalised

NAMES = ["wrn_10_2" if name == "wrn_D_K" else name for name in MODELS.names()]
EVERY = pytest.mark.parametrize("name", NAMES)


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


@pytest.mark.parametrize("name", ["wrn_10_1", "preact_resnet18"])
def test_pre_activation_networks_may_have_silu(name):
    """The same weights with another activation, as in the pass written out."""
    relu, silu = (sr.build_model(name, 3, 0.25, activation=kind, seed=1) for kind in ("relu", "silu"))
    assert all(torch.equal(t, silu.state_dict()[n]) for n, t in relu.state_dict().items())
    x, network, act = torch.rand(2, 3, 16, 16), silu.network, torch.nn.functional.silu
    with torch.no_grad():
        h = network.conv1(silu.normalise(x))
        for block in (block for stage in network.stages for block in stage):
            z = act(block.bn1(h))
            side = block.shortcut(z) if block.projects else h
            h = block.conv2(act(block.bn2(block.conv1(z)))) + side
        torch.testing.assert_close(silu(x), network.linear(act(network.bn(h)).mean((2, 3))))
        assert not torch.allclose(relu(x), silu(x), atol=1e-3)
    with pytest.raises(InputError, match="activation"):
        sr.build_model(name, 3, 0.25, activation="tanh")


# Of torchvision's networks with a thousand classes.
_PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "densenet121": 7_978_856,
}


@pytest.mark.parametrize("name", _PARAMETERS)
def test_with_the_stem_for_imagenet_networks_are_those_of_torchvision(name):
    model = sr.build_model(name, 1000, image_size=224, stem="imagenet")
    assert sum(p.numel() for p in model.parameters()) == _PARAMETERS[name]
    theirs = pytest.importorskip("torchvision").models.get_model(name, weights=None).eval()
    kinds = (torch.nn.Conv2d, torch.nn.BatchNorm2d, torch.nn.Linear)
    ours, others = ([m for m in net.modules() if isinstance(m, kinds)] for net in (model.network, theirs))
    for one, other in zip(ours, others, strict=True):
        other.load_state_dict(one.state_dict())
    x = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        assert torch.equal(theirs(model.normalise(x)), model(x))


@pytest.mark.parametrize("name", ["resnet18", "preact_resnet18", "wrn_10_1", "densenet121"])
def test_the_stem_for_imagenet_quarters_the_sides(name):
    """By the sides of what the last convolution gives; the first one has 7 x 7 taps."""
    sides = {}
    for stem, kernel in (("small", 3), ("imagenet", 7)):
        model = sr.build_model(name, 3, 0.125, image_size=64, stem=stem)
        x = torch.rand(1, 3, 64, 64)
        layers = sr.layer_map(model, x)
        assert model.get_submodule(layers.at(1).name).kernel_size == (kernel, kernel)
        assert not layers.unassigned
        with sr.features(model, layers) as tape:
            model(x)
        # The input of the last convolution.
        sides[stem] = tape[layers.indices[-3]].shape[2]
    assert sides["small"] == 4 * sides["imagenet"]
    with pytest.raises(InputError, match="stem"):
        sr.build_model(name, stem="large")
