"""Cuts of a network that calls other functions in train mode than in eval mode, or works in place."""

import gc
import weakref

import pytest
import torch
from torch import nn

import semirobust as sr
from semirobust.errors import InputError
from semirobust.objectives.base.objective import Step
from semirobust.objectives.latent import Latent

X, Y = torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3


class _Modes(nn.Module):
    """In train mode it has one more call, ``before`` the feature of its first layer or behind it."""

    def __init__(self, more):
        super().__init__()
        torch.manual_seed(1)
        self.more = more
        self.one, self.two = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        if self.training and self.more == "before":
            x = x * 1.0
        if self.training and self.more == "before, of another shape":
            x.amax()
        return self.behind(self.one(x).relu())

    def behind(self, feature):
        h = feature + self.two(feature)
        if self.training and self.more == "behind":
            h = h * 1.0
        return self.head(h.relu().mean((2, 3)))


def _logits(more, cut_in, run_in):
    """Those of another feature after the first layer, and what they should be."""
    model = _Modes(more).eval()
    prefix, suffix = sr.split(model, sr.layer_map(model, X), 1)
    cut = prefix(X) if model.train(cut_in == "train") else None
    other = cut.feature.detach() + 1
    model.train(run_in == "train")
    return suffix(cut, other), model.behind(other)


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("more", ["", "before", "before, of another shape", "behind"])
def test_cut_and_suffix_in_one_mode(more, mode):
    found, expected = _logits(more, mode, mode)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("more", ["", "behind"])
def test_a_call_behind_the_cut_may_come_in_one_mode_alone(more):
    found, expected = _logits(more, "eval", "train")
    assert torch.equal(found, expected)


def test_a_dropout_that_gave_the_feature_is_no_other_call():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(4, 3, 6), nn.Flatten())
    prefix, suffix = sr.split(model.eval(), sr.layer_map(model, X), 1)
    cut = prefix(X)
    model.train()
    assert torch.equal(suffix(cut, cut.feature + 1), model[3:](cut.feature + 1))


@pytest.mark.parametrize("more", ["before", "before, of another shape"])
def test_a_call_before_the_cut_in_one_mode_alone_is_refused(more):
    for modes in (("eval", "train"), ("train", "eval")):
        with pytest.raises(InputError, match="layer 1: expected the calls in front of its feature"):
            _logits(more, *modes)


def test_lat_refuses_such_a_layer_and_no_other():
    def trained(more, layer):
        model = _Modes(more)
        settings = {"layers": [layer], "steps": 2, "epochs": 1, "seed": 0}
        sr.harden(model, (X, Y), "lat", attack=sr.PGD(sr.Linf(0.05), steps=1), **settings)
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    assert torch.equal(trained("behind", 1), trained("", 1))
    with pytest.raises(InputError, match="layer 1: expected the calls in front of its feature"):
        trained("before", 1)


class _InPlace(nn.Module):
    """Its feature comes from an activation in place, and goes into a layer and around it."""

    def __init__(self, in_place):
        super().__init__()
        torch.manual_seed(1)
        self.one, self.two = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.activation, self.head = nn.ReLU(in_place), nn.Linear(4, 3)

    def forward(self, x):
        return self.behind(self.activation(self.one(x)))

    def behind(self, feature):
        return self.head((feature + self.two(feature)).mean((2, 3)))


@pytest.mark.parametrize("in_place", [False, True])
def test_another_feature_goes_wherever_that_of_a_module_in_place_goes(in_place):
    model = _InPlace(in_place).eval()
    prefix, suffix = sr.split(model, sr.layer_map(model, X), 1)
    cut = prefix(X)
    assert torch.equal(suffix(cut), model(X))
    assert torch.equal(suffix(cut, cut.feature + 1), model.behind(cut.feature + 1))


def test_a_step_of_lat_keeps_no_activation_of_its_passes():
    """The exception that ends a prefix and the frames it passes may refer to each other. Then reference counts
    do not free the activations of a step, and there are gigabytes before Python looks for cycles.
    """
    model, kept = _InPlace(in_place=False).train(), []

    def activation(module, args, output):
        kept.append(weakref.ref(output))

    step = Step(model, sr.layer_map(model, X), X, Y, (1,))
    for module in (model.one, model.activation, model.two):
        module.register_forward_hook(activation)
    gc.collect()
    gc.disable()
    try:
        Latent(steps=2).outer(step, X).backward()
        assert len(kept) > 3 and all(ref() is None for ref in kept)
    finally:
        gc.enable()
