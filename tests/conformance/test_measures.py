"""What every registered measure by layer must do."""

import dataclasses

import numpy as np
import pytest
import torch

import semirobust as sr
from semirobust.core.seed import Seed
from semirobust.core.tensor_files import write_tensors
from semirobust.layers.map import layer_map
from semirobust.layers.scores import LayerScores
from semirobust.measures import MEASURES, MeasureContext
from semirobust.measures.base.profile_cache import ProfileCache
from tests.helpers import untouched

_QUICK = {"semirobustness": {"layers": [2, 4], "rounds": 1, "decays": [0.1], "resamples": 50}}

EVERY = pytest.mark.parametrize("name", MEASURES.names())


def _model():
    torch.manual_seed(0)
    return sr.build_model("resnet8", 10, 0.125, in_channels=1, image_size=8).eval()


def _measured(name, network):
    """Scores on some digits, as a profile takes them."""
    x, y = sr.load_data("digits").train.first(300).all()
    attack = sr.PGD(sr.Linf(0.1), steps=2)
    x_adv = attack.in_batches(network, x, y, seed=Seed(("attack",)))
    return MEASURES.make(name, _QUICK.get(name, {})).scores(
        MeasureContext(network, layer_map(network, x), x, y, x_adv, attack, Seed((name,)))
    )


def _same(one: LayerScores, other: LayerScores) -> None:
    for field in dataclasses.fields(LayerScores):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray):
            np.testing.assert_array_equal(a, b)
        elif field.name == "features":
            assert list(a) == list(b)
            for layer in a:
                np.testing.assert_array_equal(a[layer], b[layer])
        elif field.name == "details":
            assert {k: [str(v) for v in values] for k, values in a.items()} == {
                k: [str(v) for v in vs] for k, vs in b.items()
            }
        else:
            assert a == b, field.name


@EVERY
def test_it_is_kept_and_read_again_to_the_last_bit(name, tmp_path):
    model = _model()
    with untouched(model):
        found = _measured(name, model)
    for scores in found:
        assert len(scores.values) == len(scores.low) == len(scores.high) == len(scores.indices)
        known = np.isfinite(scores.low) & np.isfinite(scores.high)
        assert (scores.low[known] <= scores.high[known]).all()
    ledger = ProfileCache(tmp_path / "profile", "key")
    ledger.scores(name, lambda: found)
    again = ledger.scores(name, lambda: pytest.fail("done twice"))
    for one, other in zip(found, again, strict=True):
        _same(one, other)
    for one, other in zip(found, _measured(name, _model()), strict=True):
        _same(one, other)


def test_what_is_of_others_or_damaged_is_made_again(tmp_path):
    ledger = ProfileCache(tmp_path / "profile", "key")
    image = torch.rand(2, 1, 4, 4)
    assert torch.equal(ledger.images(lambda: image), image)
    assert torch.equal(ledger.images(lambda: pytest.fail("done twice")), image)
    assert torch.equal(ProfileCache(tmp_path / "profile", "other").images(lambda: image + 1), image + 1)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-5])
    assert torch.equal(ledger.images(lambda: image), image)
    write_tensors(tmp_path / "profile-of-others.safetensors", {"x": image})
    ledger.forget()
    assert [p.name for p in tmp_path.iterdir()] == ["profile-of-others.safetensors"]
