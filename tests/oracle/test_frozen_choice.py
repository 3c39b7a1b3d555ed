"""Which layers may be chosen where some of a network is frozen."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import semirobust as sr

X, Y = torch.rand(12, 3, 6, 6, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3


class Scaled(nn.Module):
    """The root has a scale, or the weight of a layer that a function computes; the first layer is frozen."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.stem, self.norm = nn.Conv2d(3, 4, 2, 2), nn.BatchNorm2d(4)
        self.b, self.head = nn.Linear(4, 4), nn.Linear(4, 3)
        self.raw = nn.Parameter(torch.randn(4, 4) / 2 if kind == "matrix" else torch.ones(()))
        self.stem.requires_grad_(False)

    def forward(self, x):
        h = self.b(self.norm(self.stem(x)).relu().mean((2, 3))).relu()
        return self.head(F.linear(h, self.raw).relu() if self.kind == "matrix" else self.raw * h)


def _chosen(model, method, **options):
    """The layers that trained, and the names of the parameters that moved."""
    before = copy.deepcopy(dict(model.named_parameters()))
    trained = sr.harden(
        model,
        sr.images_from_tensors(X, Y),
        method,
        threat=sr.Linf(0.03),
        epochs=1,
        learning_rate=0.1,
        **options,
    )
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    return trained.logs[-1].layers, moved


@pytest.mark.parametrize("method", ["selected", "clat"])
@pytest.mark.parametrize("kind", ["scale", "matrix"])
def test_a_parameter_beside_a_frozen_layer_lets_nobody_choose_it(kind, method):
    """The classifier is never chosen; of the others the frozen one is left out, at either end."""
    torch.manual_seed(0)
    model = Scaled(kind).eval()
    layers = sr.layer_map(model, X)
    first = layers.at(1)
    assert first.name == "stem" and ("raw" in first.parameters) == (kind == "scale")
    for selection in ("top", "bottom"):
        chosen, moved = _chosen(copy.deepcopy(model), method, k=len(layers) - 2, selection=selection)
        assert chosen == layers.indices[1:-1]
        assert not moved & {"stem.weight", "stem.bias", "norm.weight", "norm.bias"}
        assert "b.weight" in moved and ("raw" in moved) == (kind == "matrix")


def test_where_norms_alone_train_their_layers_are_chosen():
    torch.manual_seed(0)
    model = Scaled("scale").requires_grad_(False).eval()
    model.norm.requires_grad_(True)
    chosen, moved = _chosen(model, "selected", k=1, selection="bottom")
    assert chosen == (1,) and moved == {"norm.weight", "norm.bias"}


def test_a_bias_that_trains_beside_a_frozen_weight_is_enough():
    torch.manual_seed(0)
    model = Scaled("scale").eval()
    for layer in (model.b, model.head):
        layer.requires_grad_(False)
    model.b.bias.requires_grad_(True)
    chosen, moved = _chosen(model, "selected", k=1)
    assert chosen == (2,) and moved == {"b.bias"}
