"""What a member of another package gives back is looked at before it is used."""

from dataclasses import dataclass

import pytest
import torch

import semirobust as sr
from semirobust.core.seed import Seed
from semirobust.errors import InputError
from semirobust.measures import AbstractLayerMeasure, MeasureContext
from semirobust.models import MODELS
from semirobust.pruning.saliencies import AbstractSaliency
from semirobust.selection import AbstractLayerSelection
from tests.kinds import kind

_SEED = Seed(("check",))


def _network():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(12, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3)
    )


def _images():
    x = torch.rand(6, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    return sr.images_from_tensors(x, torch.arange(6) % 3)


def _measured(given):
    class Own(AbstractLayerMeasure):
        def scores(self, context):
            return given

    model, (x, y) = _network().eval(), _images().all()
    return Own()(MeasureContext(model, sr.layer_map(model, x), x, y, x, sr.PGD(sr.Linf(0.1)), _SEED))


def _chosen(given):
    @dataclass(frozen=True)
    class Own(AbstractLayerSelection):
        def pick(self, scores, candidates, seed, layers):
            return given

    model, (x, y) = _network().eval(), _images().all()
    scores = sr.criticality(model, x, y, threat=sr.Linf(0.1)).scores()
    return Own()(scores, _SEED, sr.layer_map(model, x))


def _pruned(given):
    class Own(AbstractSaliency):
        def __call__(self, model, weights, images, attack, seed):
            return given

    training = sr.Training(epochs=1, attack=sr.PGD(sr.Linf(0.1), steps=1), batch_size=3)
    lottery = sr.Lottery(levels=1, fraction=0.5, saliency=Own(), rewind="initial")
    return lottery(_network(), _images(), training=training)


def _built(given):
    name = f"own-{type(given).__name__}"
    MODELS._members[name] = lambda num_classes: given
    try:
        return sr.build_model(name)
    finally:
        del MODELS._members[name]


@kind(
    "a measure, selection, saliency or architecture of another package that gives something else than it should",
    "one sentence that names the class and what was expected of it",
    about="measures",
)
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: _measured(None),
            "Own: expected it to return a tuple with each item an instance of LayerScores",
        ),
        (lambda: _measured([torch.rand(3)]), "Own: expected it to return .* got"),
        (lambda: _measured([]), "Own: expected scores by layer, got none"),
        (lambda: _chosen(None), "Own: expected it to return a tuple with each item a whole number, got None"),
        (lambda: _chosen(1), "Own: expected it to return a tuple"),
        (lambda: _chosen(["0"]), "Own: expected it to return a tuple"),
        (lambda: _chosen((99,)), "Own: expected a choice among the 1 layers that have a score .* got 99"),
        (
            lambda: _pruned(None),
            "Own: expected it to return a dictionary with each value a torch.Tensor, got None",
        ),
        (lambda: _pruned({"1.weight": 3}), "Own: .* a dictionary with each value a torch.Tensor, got"),
        (
            lambda: _pruned({"1.weight": torch.rand(2)}),
            r"Own: expected scores of shape \(4, 12\).*got \(2,\)",
        ),
        (lambda: _pruned({"x": torch.rand(2)}), "Own: expected scores of the weights alone, got x"),
        (lambda: _built(3), "expected it to return a torch.nn.Module, got 3"),
    ],
)
def test_what_is_wrong_is_said_with_the_name_of_the_class(call, words):
    with pytest.raises(InputError, match=words):
        call()
