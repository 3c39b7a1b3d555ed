"""Training a suffix: what moves, what does not, and what it costs."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import semirobust as sr
from semirobust.core.errors import InputError


def _setting():
    x = torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    images = sr.images_from_tensors(x, (x.mean((1, 2, 3)) * 60).long() % 3)
    return sr.build_model("resnet8", num_classes=3, width=0.125, image_size=8), images


@pytest.mark.parametrize("count", [1, 3, 7])
def test_only_the_suffix_moves(count):
    model, images = _setting()
    before = copy.deepcopy(model.state_dict())
    layers = sr.layer_map(model, images.all()[0])
    suffix = {name for index in layers.indices[-count:] for name in layers.at(index).modules}
    sr.harden(
        model,
        images,
        "suffix",
        threat=sr.Linf(0.05),
        epochs=2,
        batch_size=20,
        learning_rate=0.1,
        layers=count,
    )
    for name, value in model.state_dict().items():
        moved = not torch.equal(value, before[name])
        assert moved == (name.rpartition(".")[0] in suffix), name


def test_the_gradient_stops_at_the_cut():
    """Behind a frozen prefix the backward pass of training reaches no layer of it."""
    model, images = _setting()
    x, _ = images.all()
    layers = sr.layer_map(model, x)
    with sr.only_trainable(model, layers, layers.indices[-3:]), sr.features(model, layers, at="conv") as tape:
        model(x)
        assert [tape[i].requires_grad for i in layers.indices] == [False] * (len(layers) - 3) + [True] * 3


def test_bad_counts():
    model, images = _setting()
    for count in (0, 8, [1, 2]):
        with pytest.raises(InputError, match="how many layers from the output"):
            sr.harden(model, images, "suffix", threat=sr.Linf(0.05), layers=count)


def test_a_transplant_takes_whole_layers_and_nothing_else():
    model, images = _setting()
    donor = sr.build_model("resnet8", num_classes=3, width=0.125, image_size=8, seed=1)
    for module in donor.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.fill_(3.0)
    layers = sr.layer_map(model, images.all()[0])
    before, given = copy.deepcopy(model.state_dict()), copy.deepcopy(donor.state_dict())
    sr.transplant(model, donor, layers, layers.indices[-4:])
    owners = set(layers.modules(layers.indices[-4:]))
    for name, value in model.state_dict().items():
        assert torch.equal(value, (given if name.rpartition(".")[0] in owners else before)[name]), name
    with pytest.raises(InputError, match="found one of shape"):
        sr.transplant(model, sr.build_model("resnet8", num_classes=3, width=0.25, image_size=8), layers, [8])


class _Mixed(nn.Module):
    """A layer whose weight is a parameter of the network itself, which a function takes, between two others."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.stem, self.head = nn.Conv2d(3, 6, 3), nn.Linear(6, 3)
        self.raw = nn.Parameter(torch.randn(6, 6))
        self.norm = nn.BatchNorm1d(6)

    def forward(self, x):
        h = F.linear(self.stem(x).relu().mean((2, 3)), self.raw)
        return self.head(self.norm(h).relu())


@pytest.mark.parametrize(
    ("index", "names"),
    [(1, {"stem.weight", "stem.bias"}), (2, {"raw"}), (3, {"head.weight", "head.bias"})],
)
def test_a_transplant_of_a_layer_that_a_function_computes(index, names):
    model, donor = _Mixed(0).eval(), _Mixed(1).eval()
    with torch.no_grad():
        for tensor in (*donor.norm.parameters(), *donor.norm.buffers()):
            tensor += 1
    layers = sr.layer_map(model, torch.rand(2, 3, 8, 8))
    before, given = copy.deepcopy(model.state_dict()), donor.state_dict()
    sr.transplant(model, donor, layers, [index])
    taken = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    norm = {name for name in before if name.startswith("norm.")} if index == 2 else set()
    assert taken == names | norm
    assert all(torch.equal(value, given[name]) for name, value in model.state_dict().items() if name in taken)
