"""RiFT: module robust criticality and interpolation, against plain implementations."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import semirobust as sr
from semirobust.core.errors import InputError
from semirobust.core.seed import as_seed
from semirobust.measures import MeasureContext
from semirobust.measures.gradient_norm import GradientNorm
from semirobust.measures.weight_criticality import WeightCriticality
from semirobust.methods.base.interpolation import interpolated
from semirobust.methods.base.layer_choice import LayerChoice
from semirobust.methods.rift import RiFT
from semirobust.training.trainable import Fixed
from semirobust.training.training import Training
from tests.helpers import SmallResidual, untouched


def _plain_mrc(model, name, x_adv, y, radius, passes, rate):
    """As RiFT's code does it: SGD up the loss on one weight tensor, projected after each pass; one batch a
    pass.
    """
    other = copy.deepcopy(model).eval()
    for parameter in other.parameters():
        parameter.requires_grad = False
    weight = dict(other.named_parameters())[name]
    weight.requires_grad = True
    start = weight.detach().clone()
    optimiser = torch.optim.SGD([weight], lr=rate)
    with torch.no_grad():
        base = F.cross_entropy(other(x_adv), y).item()
    worst = -1e9
    for _ in range(passes):
        optimiser.zero_grad()
        (-F.cross_entropy(other(x_adv), y)).backward()
        optimiser.step()
        with torch.no_grad():
            away = weight - start
            if away.norm() > radius * start.norm():
                weight.copy_(start + away * (radius * start.norm() / away.norm()))
            worst = max(worst, F.cross_entropy(other(x_adv), y).item())
    return worst - base


def test_module_robust_criticality_is_its_authors():
    torch.manual_seed(0)
    model, x, y = SmallResidual().eval(), torch.rand(20, 3, 6, 6), torch.arange(20) % 3
    layers, x_adv = sr.layer_map(model, x), (x + 0.05 * torch.randn_like(x)).clamp(0, 1)
    with untouched(model):
        (found,) = WeightCriticality(passes=4, rate=1.0).scores(
            MeasureContext(model, layers, x, y, x_adv, sr.PGD(sr.Linf(0.05)), as_seed(0))
        )
    theirs = [_plain_mrc(model, f"{layer.name}.weight", x_adv, y, 0.1, 4, 1.0) for layer in layers]
    np.testing.assert_allclose(found.values, theirs, rtol=1e-4, atol=1e-6)
    assert (found.values > 0).all() and found.unit == "nats" and (found.low < found.values).all()
    (wider,) = WeightCriticality(passes=4, radius=0.5).scores(
        MeasureContext(model, layers, x, y, x_adv, sr.PGD(sr.Linf(0.05)), as_seed(0))
    )
    assert (wider.values >= found.values - 1e-6).all()


def test_interpolation_has_its_ends():
    start, end = (
        {"w": torch.tensor([1.0, 2]), "n": torch.tensor(3)},
        {"w": torch.tensor([3.0, 6]), "n": torch.tensor(7)},
    )
    assert torch.equal(interpolated(start, end, 0.0)["w"], start["w"]) and torch.equal(
        interpolated(start, end, 1.0)["w"], end["w"]
    )
    assert (
        torch.equal(interpolated(start, end, 0.5)["w"], torch.tensor([2.0, 4.0]))
        and int(interpolated(start, end, 0.5)["n"]) == 7
    )


def _setting():
    x = torch.rand(60, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return sr.images_from_tensors(x, (x.mean((1, 2, 3)) * 60).long() % 3), sr.build_model(
        "resnet8", 3, 0.125, image_size=8
    )


def test_it_goes_back_as_far_as_robustness_asks():
    """Clean accuracy grows with alpha and robust accuracy falls from 0.6 on: with no tolerance 0.6 is
    kept.
    """
    images, model = _setting()
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    plain = Training(objective=sr.Standard(), trainable=Fixed((3,)), epochs=1, learning_rate=0.05)
    end = plain(copy.deepcopy(model), images, seed=1).best
    length = max(float((end[n] - start[n]).abs().max()) for n in start if start[n].is_floating_point())

    def validate(network, seed):
        now = network.state_dict()
        far = (
            max(float((now[n] - start[n]).abs().max()) for n in start if start[n].is_floating_point())
            / length
        )
        return {"clean": 0.5 + 0.3 * far, "robust": 0.4 if far < 0.65 else 0.4 - 0.1 * far}

    trained = sr.harden(
        model,
        images,
        RiFT(LayerChoice(layers=[3])),
        validate=validate,
        threat=sr.Linf(4 / 255),
        epochs=1,
        learning_rate=0.05,
        seed=1,
    )
    assert trained.notes and trained.notes[0].startswith("alpha 0.6 ")
    expected = interpolated(start, end, 0.6)
    for name, tensor in trained.best.items():
        torch.testing.assert_close(tensor, expected[name])
    layer = set(sr.layer_map(model, images.batch(torch.tensor([0]))[0]).parameters([3]))
    assert all(torch.equal(trained.best[n], start[n]) for n, _ in model.named_parameters() if n not in layer)


def test_interpolation_after_training_everything_takes_the_most_robust_point():
    """Robust accuracy is highest 0.3 of the way; the weights kept are w0 + 0.3 (w1 - w0) of a plain PGD-AT
    run.
    """
    images, model = _setting()
    start, options = (
        {n: t.clone() for n, t in model.state_dict().items()},
        {"epochs": 1, "learning_rate": 0.05, "seed": 1},
    )
    end = sr.harden(copy.deepcopy(model), images, "adversarial", threat=sr.Linf(4 / 255), **options).best
    name = next(n for n, t in start.items() if t.dim() == 4)
    length = float((end[name] - start[name]).abs().max())

    def validate(network, seed):
        far = float((network.state_dict()[name] - start[name]).abs().max()) / length
        return {"clean": 0.5, "robust": 0.4 - abs(far - 0.3)}

    trained = sr.harden(model, images, "wise", threat=sr.Linf(4 / 255), validate=validate, **options)
    assert trained.notes[0].startswith("alpha 0.3 ")
    for key, tensor in interpolated(start, end, 0.3).items():
        torch.testing.assert_close(trained.best[key], tensor)
    with pytest.raises(InputError, match="held-out images"):
        sr.harden(model, images, "wise", threat=sr.Linf(4 / 255), epochs=1)


def test_what_rift_refuses():
    images, model = _setting()
    with pytest.raises(InputError, match="expected held-out images"):
        sr.harden(model, images, RiFT(LayerChoice(layers=[3])), threat=sr.Linf(4 / 255), epochs=1)
    with pytest.raises(InputError, match="steps and tolerance"):
        sr.harden(model, images, RiFT(steps=0), threat=sr.Linf(4 / 255), epochs=1)
    with pytest.raises(InputError, match="radius, passes, rate"):
        WeightCriticality(radius=0)


def test_any_measure_may_choose_the_layers():
    images, model = _setting()
    chosen = {}
    for criterion in ("criticality", "weight-criticality", "gradient-norm"):
        trained = sr.harden(
            copy.deepcopy(model),
            images,
            "clat",
            threat=sr.Linf(4 / 255),
            epochs=1,
            criterion=criterion,
            examples=30,
        )
        chosen[criterion] = trained.logs[0].layers
    assert all(len(layers) == 1 for layers in chosen.values())
    with pytest.raises(InputError, match="criterion: expected one of gradient-norm"):
        sr.harden(
            model,
            images,
            "clat",
            threat=sr.Linf(4 / 255),
            epochs=1,
            criterion="gradient-norm.excess",
            examples=30,
        )


def test_gradient_norm_is_that_of_a_plain_backward_pass():
    torch.manual_seed(0)
    model, x, y = SmallResidual().eval(), torch.rand(30, 3, 6, 6), torch.arange(30) % 3
    layers, x_adv = sr.layer_map(model, x), (x + 0.05 * torch.randn_like(x)).clamp(0, 1)
    with untouched(model):
        (found,) = GradientNorm().scores(
            MeasureContext(model, layers, x, y, x_adv, sr.PGD(sr.Linf(0.05)), as_seed(0))
        )
    plain = copy.deepcopy(model)
    plain.zero_grad()
    F.cross_entropy(plain(x_adv), y).backward()
    weights = [plain.get_parameter(f"{layer.name}.weight") for layer in layers]
    theirs = [float(w.grad.norm() / w.detach().norm()) for w in weights]
    np.testing.assert_allclose(found.values, theirs, rtol=1e-4)
    assert (found.low <= found.values).all() and (found.high > found.low).all()
    with pytest.raises(InputError, match="parts and resamples"):
        GradientNorm(parts=0)
