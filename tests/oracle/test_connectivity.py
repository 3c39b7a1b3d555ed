"""Connectivity against features taken by hand, and what it says of classes and layers that cannot be
measured.
"""

import pytest
import torch
from torch import nn

import semirobust as sr
from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.measures import MeasureContext
from semirobust.measures.connectivity import Connectivity
from tests.helpers import SmallResidual, untouched
from tests.kinds import kind


def _setting(n=120, classes=3):
    torch.manual_seed(0)
    model = SmallResidual(classes=classes).eval()
    x = torch.rand(n, 3, 6, 6)
    return model, x, torch.arange(n) % classes


@pytest.mark.parametrize(
    "measure", [sr.EDGE(version="4.3.1", permutations=4), sr.CKA(permutations=4), sr.KSG(permutations=4)]
)
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


def test_every_later_layer_against_the_last_one_of_a_prefix():
    model, x, y = _setting()
    layers, measure = sr.layer_map(model, x), sr.HSIC(normalized=True, permutations=4)
    found = sr.connectivity(model, x, y, dependence=measure, at="input", against=2)
    with torch.no_grad(), sr.features(model, layers) as tape:
        model(x)
    assert found.indices == layers.indices[2:] and set(found.before) == {2}
    for j, estimate in zip(found.indices, found.estimates, strict=True):
        direct = measure(tape[2], tape[j], given=y)
        assert estimate.value == pytest.approx(direct.value, abs=1e-6)
    assert not [note for note in found.notes if "no layer before" in note]
    for wrong in (len(layers), 99):
        with pytest.raises(InputError, match="against: expected a layer that is measured"):
            sr.connectivity(model, x, y, dependence=measure, against=wrong)
    with pytest.raises(InputError, match="against: expected a whole number"):
        Connectivity(against=0)


def test_adversarial_inputs_and_given_ones():
    model, x, y = _setting()
    clean, attacked = sr.connectivity(model, x, y), sr.connectivity(model, x, y, threat=sr.Linf(0.1))
    assert [e.value for e in clean.estimates] != [e.value for e in attacked.estimates]
    given = sr.connectivity(model, x, y, x_adv=x)
    assert [e.value for e in given.estimates] == [e.value for e in clean.estimates]
    wrapped = Connectivity(inputs="clean").scores(
        MeasureContext(model, sr.layer_map(model, x), x, y, 1 - x, sr.FGSM(sr.Linf(0.1)), Seed(("0",)))
    )
    assert [s.name for s in wrapped] == ["connectivity", "connectivity.null", "connectivity.excess"]
    assert wrapped[0].unit == "bits" and tuple(wrapped[0].values) == tuple(e.value for e in clean.estimates)


@kind(
    "a layer whose output is the same for all images but for rounding",
    "it has no connectivity, and a note says why",
    about="measures",
)
@pytest.mark.parametrize("measure", [sr.CKA(), sr.EDGE(), sr.HSIC(), sr.DistanceCorrelation()])
def test_a_query_that_no_image_reaches_depends_on_nothing_however_it_is_rounded(measure):
    class Queried(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.token = nn.Conv2d(3, 48, 2, 2), nn.Parameter(torch.randn(48))
            self.query, self.key, self.head = nn.Linear(48, 48), nn.Linear(48, 48), nn.Linear(48, 3)

        def forward(self, x):
            h = self.embed(x).flatten(2).transpose(1, 2)
            h = torch.cat([self.token.expand(len(x), 1, -1), h], 1)
            # Rounded in another way in another place of the batch.
            q = self.query(h[:, 0]) * (1 + 1e-7 * (torch.arange(len(x)) % 3))[:, None]
            return self.head(((self.key(h) @ q[:, :, None]).softmax(1) * h).sum(1))

    torch.manual_seed(0)
    model, x = Queried().eval(), torch.rand(60, 3, 6, 6)
    layers, y = sr.layer_map(model, x), torch.zeros(60).long()
    found = sr.connectivity(model, x, y, dependence=measure, layers=layers)
    assert {layers.at(j).name for j in found.indices} == {"key", "head"}
    assert any("the layer is the same for all images" in note for note in found.notes)


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
    assert "class 2 left out (fewer than the 20 examples that EDGE needs)" in text
    assert (
        "classes 0–1 left out in layer 3 (the layer is the same for all images)" in text
        and "in layer 4 (the layer before is the same for all images)" in text
    )
    assert "nothing could be measured in layers 3–4" in text
    nothing = sr.connectivity(model, x[:30], torch.arange(30) % 3)
    assert (
        nothing.indices == ()
        and "layers 2–4" in nothing.notes[-1]
        and {len(s) for s in nothing.scores()} == {0}
    )


def test_bad_input():
    model, x, y = _setting()
    for change, text in (
        ({"y": y[:3]}, "labels"),
        ({"x": 2 * x}, "pixels"),
        ({"model": SmallResidual()}, "eval mode"),
    ):
        with pytest.raises(InputError, match=text):
            sr.connectivity(**({"model": model, "x": x, "y": y} | change))
    for more, text in (({"at": "here"}, "at: "), ({"batch_size": 0}, "batch_size"), ({"dependence": "cka"}, "dependence: expected one such as EDGE"),
                       ({"x_adv": x[:, :1]}, "cannot run"), ({"x_adv": x, "threat": sr.Linf(0.1)}, "none beside x_adv")):  # fmt: skip
        with pytest.raises(InputError, match=text):
            sr.connectivity(model, x, y, **more)
    for settings in (
        {"at": "here"},
        {"inputs": "none"},
        {"batch_size": 0},
        {"dependence": "mi"},
        {"settings": {"version": "9"}},
    ):
        with pytest.raises(InputError):
            Connectivity(**settings)


def test_few_permutations_are_said_and_leave_no_holes():
    model, x, y = _setting()
    for permutations in (0, 1):
        found = sr.connectivity(model, x, y, dependence=sr.CKA(permutations=permutations))
        assert "CKA is not tested in layers 2–4; that takes 19 permutations or more" in found.notes[0]
        assert [s.name for s in found.scores()] == ["connectivity"]


def test_ends_of_blocks_are_measured_against_the_end_before():
    model, x = sr.build_model("resnet8", width=0.125, image_size=8), torch.rand(60, 3, 8, 8)
    found = sr.connectivity(model, x, torch.arange(60) % 2, dependence=sr.CKA(), at="block")
    ends = sr.layer_map(model, x).block_ends
    assert len(ends) < 8 and found.indices == ends[1:] and found.before == ends[:-1]
    assert found.scores()[0].details["on"] == ends[:-1]


def test_any_module_of_one_layer_has_no_pairs():
    found = sr.connectivity(
        nn.Sequential(nn.Flatten(), nn.Linear(12, 2)).eval(), torch.rand(50, 3, 2, 2), torch.arange(50) % 2
    )
    assert found.indices == ()
