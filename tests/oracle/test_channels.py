"""Channels that are removed for good: dead ones change nothing, what is left fits together, and weights alone
bring it back.
"""

import copy

import pytest
import torch
from torch import nn

import semirobust as sr
from semirobust.core.errors import InputError
from semirobust.core.seed import as_seed
from semirobust.layers.macs import macs_by_module
from semirobust.measures import MeasureContext
from semirobust.measures.gradient_norm import GradientNorm
from semirobust.pruning.channels import Channels
from semirobust.pruning.resize import resized
from semirobust.pruning.saliencies.gradient import Gradient
from semirobust.pruning.saliencies.layered import Layered
from semirobust.pruning.saliencies.magnitude import Magnitude
from tests.helpers import untouched

pytest.importorskip("torch_pruning")
_STEPS = 16  # coarser than by default: what is tested is where it ends, and each step takes seconds
_NAMES = ("resnet18", "vgg19", "preact_resnet18", "densenet121", "capacity_cnn_1", "mlp_300_100_100")


def _setting(name, width=0.125):
    gray = name.startswith(("capacity", "mlp"))
    size, channels = (28, 1) if gray else (16, 3)
    model = sr.build_model(name, 4, 1.0 if gray else width, in_channels=channels, image_size=size)
    x = torch.rand(8, channels, size, size, generator=torch.Generator().manual_seed(0))
    return model, sr.images_from_tensors(x, torch.arange(8) % 4)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n == "densenet121" else []) for n in _NAMES]
)
def test_a_smaller_network_has_less_work_and_comes_back_from_its_weights(name):
    model, images = _setting(name)
    x = images.all()[0]
    with untouched(model):
        small = Channels(macs=0.5, steps=_STEPS)(model, images)
    work, before = (sum(macs_by_module(m, x[:1]).values()) for m in (small, model))
    assert 0.3 * before < work <= 0.5 * before
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in model.parameters())
    assert small(x).shape == model(x).shape and small.state_dict().keys() == model.state_dict().keys()
    back = resized(_setting(name)[0], small.state_dict())
    assert torch.equal(back.eval()(x), small(x))
    sr.Training(objective=sr.Adversarial(), attack=sr.FGSM(sr.Linf(0.05)), epochs=1, batch_size=4)(
        small, images
    )


def test_dead_channels_go_first_and_nobody_misses_them():
    """Every second filter between the convolutions of each block is 0, and so is its batch norm: without them
    all logits stay.
    """
    model, images = _setting("resnet18", width=0.25)
    x = images.all()[0]
    dead = 0
    for name, module in model.named_modules():
        if (name.endswith("conv1") and "layer" in name) or name.endswith(".conv1"):
            norm = model.get_submodule(name.replace("conv1", "bn1"))
            with torch.no_grad():
                for tensor in (module.weight, norm.weight, norm.bias):
                    tensor[::2] = 0
            dead += module.weight.shape[0] // 2
    assert dead
    aim = 0.85
    small = Channels(macs=aim, steps=200)(model, images)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in model.parameters())
    torch.testing.assert_close(small(x), model(x), rtol=1e-4, atol=1e-5)


def test_favoured_layers_keep_more():
    model, images = _setting("vgg19", width=0.25)
    attack, favours = sr.FGSM(sr.Linf(0.05)), ("none", "high", "low")
    layered = [Layered(measure="gradient-norm", favour=f, strength=100.0, examples=8) for f in favours]
    plain, high, low = (
        Channels(macs=0.5, saliency=s, steps=_STEPS)(model, images, attack, seed=1) for s in layered
    )
    layers, (x, y) = sr.layer_map(model, images.all()[0][:1]), images.all()
    x_adv = attack.in_batches(model, x, y, seed=as_seed(0))
    found = GradientNorm().scores(MeasureContext(model, layers, x, y, x_adv, attack, as_seed(0)))[0]
    names = [
        f"{layers.at(found.indices[i]).name}.weight"
        for i in found.values.argsort()[::-1]
        if found.indices[i] < len(layers)
    ]
    most, least = (sum(m.get_parameter(n).shape[0] for n in names[:3]) for m in (high, low))
    assert most > sum(plain.get_parameter(n).shape[0] for n in names[:3]) > least


def test_a_saliency_decides_and_repeats_itself():
    model, images = _setting("vgg19")
    attack, gradient = sr.FGSM(sr.Linf(0.05)), Gradient(examples=8)
    one, again, other = (
        Channels(saliency=s)(model, images, attack, seed=1) for s in (gradient, gradient, Magnitude())
    )
    same = [
        torch.equal(a, b) for a, b in zip(one.state_dict().values(), again.state_dict().values(), strict=True)
    ]
    assert all(same) and any(
        a.shape != b.shape for a, b in zip(one.parameters(), other.parameters(), strict=True)
    )


def test_depthwise_convolutions_come_back_too():
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, groups=16),
        nn.ReLU(),
        nn.Conv2d(16, 24, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(24, 4),
    ).eval()
    x = torch.rand(8, 3, 12, 12)
    small = Channels(macs=0.6)(model, sr.images_from_tensors(x, torch.arange(8) % 4))
    torch.testing.assert_close(resized(model, small.state_dict()).eval()(x), small(x))


def test_no_layer_loses_more_than_it_may():
    """39 of 40 filters are dead, and half of them stay all the same."""
    model = nn.Sequential(
        nn.Conv2d(3, 40, 3),
        nn.ReLU(),
        nn.Conv2d(40, 40, 3),
        nn.ReLU(),
        nn.Conv2d(40, 40, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(40, 4),
    ).eval()
    with torch.no_grad():
        model[2].weight[:39] = 0
        model[2].bias[:39] = 0
    images = sr.images_from_tensors(torch.rand(8, 3, 12, 12), torch.arange(8) % 4)
    small = Channels(macs=0.7, min_fraction=0.5)(model, images)
    assert small[2].out_channels >= 20


def test_convolutions_of_any_dimension_are_counted_and_cut():
    parts = (nn.Conv1d(3, 8, 3), nn.ReLU(), nn.Conv1d(8, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 6, 4))
    one = nn.Sequential(nn.Flatten(2), *parts).eval()
    x = torch.rand(8, 3, 2, 5, generator=torch.Generator().manual_seed(0))
    assert macs_by_module(one, x) == {"1": 8 * 8 * 9, "3": 6 * 6 * 24, "6": 36 * 4}
    assert macs_by_module(nn.Sequential(nn.ConvTranspose2d(3, 5, 2, stride=2)), torch.rand(2, 3, 4, 4)) == {
        "0": 16 * 3 * 5 * 4
    }
    small = Channels(macs=0.5)(one, sr.images_from_tensors(x, torch.arange(8) % 4))
    assert sum(macs_by_module(small, x).values()) <= 0.5 * sum(macs_by_module(one, x).values())
    assert torch.equal(resized(one, small.state_dict()).eval()(x), small(x))


def test_what_it_refuses():
    tied = nn.Sequential(
        nn.Conv2d(3, 3, 3), nn.ReLU(), nn.Conv2d(3, 3, 3), nn.Flatten(), nn.Linear(3 * 16, 4)
    ).eval()
    _, images8 = _setting("resnet18")
    x = images8.all()[0][:, :, :8, :8]
    eight = sr.images_from_tensors(x, torch.arange(8) % 4)
    tied[2].weight = tied[0].weight
    with pytest.raises(InputError, match="one tensor"):
        Channels()(tied, eight)
    normed = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 4)).eval()
    nn.utils.parametrizations.weight_norm(normed[0])
    with pytest.raises(InputError, match="no parameter of its own"):
        Channels()(normed, eight)
    back = nn.Sequential(nn.ConvTranspose2d(3, 4, 3), nn.Flatten(), nn.Linear(400, 4)).eval()
    with pytest.raises(InputError, match=r"transposed|channels cannot be removed"):
        Channels()(back, eight)
    with pytest.raises(InputError, match="x: "):
        Channels()(normed, sr.images_from_tensors(x[:, :1], torch.arange(8) % 4))
    model, images = _setting("vgg19")
    with pytest.raises(InputError, match="cannot be reached"):
        Channels(macs=0.001)(model, images)
    with pytest.raises(InputError, match="macs"):
        Channels(macs=0)
    small = Channels(macs=0.5)(model, images)
    with pytest.raises(InputError, match="no removal of channels"):
        resized(small, model.state_dict())
    with pytest.raises(InputError, match="same architecture"):
        resized(model, nn.Linear(2, 2).state_dict())
    other = copy.deepcopy(model.state_dict())
    first = next(name for name, tensor in other.items() if tensor.dim() == 4)
    other[first] = other[first][..., :1, :1]
    with pytest.raises(InputError, match="kernel"):
        resized(model, other)
