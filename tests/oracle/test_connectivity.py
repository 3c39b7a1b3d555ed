"""Connectivity against features taken by hand, and what it says of classes and layers that cannot be measured."""

import pytest
import torch
from torch import nn

import semirobust as sr
from semirobust.errors import InputError
from semirobust.measures.connectivity import Connectivity
from semirobust.seed import Seed
from tests.helpers import SmallResidual, untouched


def _setting(n=120, classes=3):
    torch.manual_seed(0)
    model = SmallResidual(classes=classes).eval()
    x = torch.rand(n, 3, 6, 6)
    return model, x, torch.arange(n) % classes


@pytest.mark.parametrize("measure", [sr.EDGE(version="4.3.1", permutations=4), sr.CKA(permutations=4), sr.KSG(permutations=4)])
@pytest.mark.parametrize("at", ["input", "conv", "block"])
def test_is_the_dependence_of_recorded_features(measure, at):
    model, x, y = _setting()
    model, x = model.double(), x.double()  # in float32, rounding moves examples over the edges of buckets
    layers = sr.layer_map(model, x)
    with untouched(model):
        found = sr.connectivity(model, x, y, dependence=measure, at=at, batch_size=17)
    indices = layers.block_ends if at == "block" else layers.indices
    with torch.no_grad(), sr.features(model, layers, at=at) as tape:
        model(x)
    assert found.indices == indices[1:]
    for before, j, estimate in zip(indices[:-1], indices[1:], found.estimates, strict=True):
        direct = measure(tape[before], tape[j], given=y)
        assert estimate.value == pytest.approx(direct.value, abs=1e-6)
        assert estimate.n == 120 and set(estimate.classes) == {0, 1, 2}


def test_adversarial_inputs_and_given_ones():
    model, x, y = _setting()
    clean, attacked = sr.connectivity(model, x, y), sr.connectivity(model, x, y, threat=sr.Linf(0.1))
    assert [e.value for e in clean.estimates] != [e.value for e in attacked.estimates]
    given = sr.connectivity(model, x, y, x_adv=x)
    assert [e.value for e in given.estimates] == [e.value for e in clean.estimates]
    wrapped = Connectivity(inputs="clean").scores(model, sr.layer_map(model, x), x, y, 1 - x, seed=Seed(("0",)))
    assert [s.measure for s in wrapped] == ["connectivity", "connectivity.null", "connectivity.excess"]
    assert wrapped[0].unit == "bits" and tuple(wrapped[0].values) == tuple(e.value for e in clean.estimates)


def test_small_classes_and_dead_layers_are_said_not_raised():
    model, x, _ = _setting()
    y = torch.tensor([0] * 60 + [1] * 48 + [2] * 12)
    with torch.no_grad():
        model.block.conv3.weight.zero_()
        model.block.conv3.bias.zero_()
    found = sr.connectivity(model, x, y)
    assert found.indices == (2,)
    assert set(found.estimates[0].left_out) == {2} and found.estimates[0].n == 108
    text = " ".join(found.notes)
    assert "class 2 left out (12 examples, and EDGE needs 20)" in text and "nothing could be measured in layers 3–4" in text
    nothing = sr.connectivity(model, x[:30], torch.arange(30) % 3)
    assert nothing.indices == () and "layers 2–4" in nothing.notes[-1] and [len(s) for s in nothing.scores()] == [0, 0, 0]


def test_bad_input():
    model, x, y = _setting()
    for change, text in (({"y": y[:3]}, "labels"), ({"x": 2 * x}, "pixels"), ({"model": SmallResidual()}, "eval mode")):
        with pytest.raises(InputError, match=text):
            sr.connectivity(**({"model": model, "x": x, "y": y} | change))
    for settings in ({"at": "here"}, {"inputs": "none"}, {"batch_size": 0}, {"dependence": "mi"}, {"settings": {"version": "9"}}):
        with pytest.raises(InputError):
            Connectivity(**settings)


def test_any_module_of_one_layer_has_no_pairs():
    found = sr.connectivity(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)).eval(), torch.rand(50, 3, 2, 2), torch.arange(50) % 2)
    assert found.indices == ()
