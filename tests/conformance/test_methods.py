"""What every method of hardening must keep to, whichever file it comes from."""

import copy

import pytest
import torch
from torch import nn

import semirobust as sr
from semirobust.attacks.pgd import PGD
from semirobust.data.base.images import Images
from semirobust.evaluation.accuracy import evaluate
from semirobust.methods import METHODS

_SMALL = {
    "suffix": {"layers": 2},
    "clat": {"examples": 30},
    "selected": {"examples": 30},
    "rift": {"layers": [2]},
}
_THREAT = sr.Linf(8 / 255)


@pytest.fixture(scope="module")
def images() -> Images:
    x = torch.rand(60, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return sr.images_from_tensors(x, (x.mean((1, 2, 3)) * 60).long() % 3)


def _model(name: str = "resnet8") -> nn.Module:
    return sr.build_model(name, 3, 0.125, image_size=8)


def _hardened(name: str, images: Images, model: nn.Module, epochs: int = 2, **more):
    x, y = images.all()

    def validate(network, seed):
        shares = evaluate(network, x, y, {"robust": PGD(_THREAT, steps=1)}, seed=seed).summary()
        return {key: float(value) for key, value in shares.items()}

    method = METHODS.make(name, _SMALL.get(name, {}))
    options = {
        "epochs": epochs,
        "learning_rate": 0.05,
        "batch_size": 20,
        "validate": validate,
        "seed": 3,
        **more,
    }
    return sr.harden(model, images, method, threat=_THREAT, **options)


@pytest.mark.parametrize("name", METHODS.names())
def test_the_model_stays_what_it_is(name, images):
    """Same modules and weights by name, finite, moved somewhere; layers that never trained have not moved,
    statistics included.
    """
    model, kinds = _model(), [type(m) for m in _model().modules()]
    before = copy.deepcopy(model.state_dict())
    trained = _hardened(name, images, model)
    assert trained.model is model and [type(m) for m in model.modules()] == kinds and not model.training
    assert trained.best.keys() == before.keys() == model.state_dict().keys()
    assert all(torch.isfinite(t).all() for t in trained.best.values() if t.is_floating_point())
    assert any(not torch.equal(model.state_dict()[n], before[n]) for n, _ in model.named_parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
    if all(log.layers is not None for log in trained.logs):
        layers = sr.layer_map(model, images.all()[0][:1])
        moving = set(layers.modules(sorted({i for log in trained.logs for i in log.layers})))
        for key, tensor in before.items():
            if not any(key.startswith(f"{module}.") for module in moving):
                assert torch.equal(model.state_dict()[key], tensor), key


@pytest.mark.parametrize("name", METHODS.names())
def test_equal_seeds_give_equal_weights(name, images):
    one, other = (_hardened(name, images, _model()) for _ in range(2))
    assert all(torch.equal(one.best[key], other.best[key]) for key in one.best)
    different = _hardened(name, images, _model(), seed=4)
    assert any(
        not torch.equal(one.model.state_dict()[key], different.model.state_dict()[key]) for key in one.best
    )


@pytest.mark.parametrize("name", METHODS.names())
def test_it_works_on_a_transformer(name, images):
    trained = _hardened(name, images, sr.build_model("vit_small", 3, 0.125, image_size=8), epochs=1)
    assert trained.logs or trained.stopped
