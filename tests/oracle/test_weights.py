"""Adversarial weight perturbation and averages, against plain independent implementations."""

import copy
import dataclasses

import pytest
import torch
from lightning_fabric import Fabric
from torch.nn import functional as F

import semirobust as sr
from semirobust.attacks.pgd import PGD
from semirobust.core.errors import InputError
from semirobust.objectives.adversarial import Adversarial
from semirobust.objectives.standard import Standard
from semirobust.training.hooks import HOOKS
from semirobust.training.hooks.awp import AWP
from semirobust.training.hooks.ema import EMA
from semirobust.training.hooks.swa import SWA
from semirobust.training.training import Training
from tests.helpers import SmallResidual


def _setting(n=40):
    x = torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return sr.images_from_tensors(x, (x.mean((1, 2, 3)) * 60).long() % 3), sr.build_model(
        "resnet8", 3, 0.125, image_size=8
    )


def _plain_offsets(model, x, y, gamma):
    """The authors' way: a copy takes one step of SGD up the loss, and the difference is scaled to the
    weight's norm.
    """
    proxy = copy.deepcopy(model).train()
    optimiser = torch.optim.SGD(proxy.parameters(), lr=0.01)
    loss = -F.cross_entropy(proxy(x), y)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    old, new = model.state_dict(), proxy.state_dict()
    found = {}
    for name, weight in old.items():
        if weight.dim() > 1 and "weight" in name:
            difference = new[name] - weight
            found[name] = gamma * difference * weight.norm() / (difference.norm() + 1e-20)
    return found


def test_the_perturbation_is_its_authors():
    torch.manual_seed(0)
    model, x, y = SmallResidual().double().train(), torch.rand(6, 3, 5, 5).double(), torch.randint(0, 3, (6,))
    model.drop.p = 0.0
    before = copy.deepcopy(model.state_dict())
    mine = AWP(0.01).offsets(model, sr.layer_map(model, x[:1]), lambda: F.cross_entropy(model(x), y))
    theirs = _plain_offsets(model, x, y, 0.01)
    assert mine.keys() == theirs.keys()
    for name, offset in mine.items():
        torch.testing.assert_close(offset, theirs[name], rtol=1e-6, atol=1e-12)
        torch.testing.assert_close(offset.norm(), 0.01 * before[name].norm())
    assert all(
        torch.equal(value, before[name]) for name, value in model.state_dict().items()
    )  # batch statistics too


def test_a_step_with_awp_is_the_plain_one():
    """perturb, loss, step, take back; against the same written out."""
    images, model = _setting()
    theirs = copy.deepcopy(model)
    Training(
        objective=Standard(),
        epochs=1,
        batch_size=40,
        learning_rate=0.1,
        schedule="constant",
        hooks=(AWP(0.02),),
    )(model, images, seed=3)
    order = next(iter(images.batches(40, seed=_seed())))
    x, y = images.batch(order)
    offsets = _plain_offsets(theirs, x, y, 0.02)
    theirs.train()
    optimiser = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    named = dict(theirs.named_parameters())
    with torch.no_grad():
        for name, offset in offsets.items():
            named[name] += offset
    F.cross_entropy(theirs(x), y).backward()
    optimiser.step()
    with torch.no_grad():
        for name, offset in offsets.items():
            named[name] -= offset
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, theirs.state_dict()[name], rtol=1e-4, atol=1e-5)


def _seed():
    from semirobust.core.seed import as_seed

    return as_seed(3) / "epoch" / 0 / "order"


def test_no_radius_is_no_perturbation_and_frozen_weights_stay():
    images, model = _setting()
    plain, other = copy.deepcopy(model), copy.deepcopy(model)
    base = Training(objective=Adversarial(), attack=PGD(sr.Linf(0.03), steps=1), epochs=1, batch_size=20)
    base(plain, images)
    dataclasses.replace(base, hooks=(AWP(0.05, warm_up=1),))(other, images)
    assert all(torch.equal(v, other.state_dict()[n]) for n, v in plain.state_dict().items())
    before = copy.deepcopy(model.state_dict())
    layers = sr.layer_map(model, images.all()[0])
    sr.harden(model, images, "suffix", layers=2, threat=sr.Linf(0.03), epochs=1, hooks=(AWP(0.05),))
    owners = layers.modules(layers.indices[-2:])
    assert all(
        torch.equal(v, before[n]) for n, v in model.state_dict().items() if n.rpartition(".")[0] not in owners
    )


def test_the_exponential_average_is_the_plain_recursion():
    images, model = _setting()
    seen = []
    training = Training(
        objective=Standard(),
        epochs=3,
        batch_size=40,
        learning_rate=0.1,
        hooks=(EMA(0.6),),
        schedule="constant",
    )
    expected = None
    trained = training(
        model,
        images,
        validate=lambda m, s: seen.append(copy.deepcopy(m.state_dict())) or {"clean": float(len(seen))},
    )
    plain = _setting()[1]
    dataclasses.replace(training, hooks=())(plain, images, validate=_collect(expected_list := []))
    for state in expected_list:
        if expected is None:  # the first update takes the weights as they are
            expected = {n: v.clone() for n, v in state.items()}
        else:
            expected = {
                n: 0.6 * expected[n] + 0.4 * v if v.is_floating_point() else v for n, v in state.items()
            }
    names = [n for n, _ in plain.named_parameters()]
    for name in names:
        torch.testing.assert_close(seen[-1][name], expected[name], rtol=1e-4, atol=1e-5)
        assert torch.equal(trained.best[name], seen[-1][name])


def test_the_average_that_warms_up_is_the_plain_recursion(tmp_path):
    """decay_n = min(decay, (1 + n) / (10 + n)), also over an interruption."""
    images, model = _setting()
    hooks = (EMA(0.3, warm_up=True),)
    training = Training(objective=Standard(), epochs=4, batch_size=40, learning_rate=0.1, schedule="constant")
    seen, plain = [], []
    training(_setting()[1], images, validate=_collect(plain))
    dataclasses.replace(training, hooks=hooks)(_setting()[1], images, validate=_collect(seen))
    parts, kept = {"state_file": tmp_path / "state.safetensors"}, []
    for epochs in (2, 4):
        model = _setting()[1]
        again = dataclasses.replace(training, hooks=hooks, epochs=epochs)(
            model, images, validate=_collect(kept), **parts
        )
    name = next(n for n, _ in model.named_parameters())
    expected = plain[0][name]
    for n, state in enumerate(plain[1:], 1):
        decay = min(0.3, (1 + n) / (10 + n))  # 2 / 11, 3 / 12, 0.3
        expected = decay * expected + (1 - decay) * state[name]
        torch.testing.assert_close(seen[n][name], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(again.best[name], expected, rtol=1e-4, atol=1e-5)


def _collect(kept):
    def validate(model, seed):
        kept.append(copy.deepcopy(model.state_dict()))
        return {"clean": float(len(kept))}

    return validate


def test_the_mean_of_epochs_has_statistics_of_its_own():
    images, model = _setting()
    averaged, raw = [], []
    base = Training(objective=Standard(), epochs=4, batch_size=40, learning_rate=0.1, schedule="constant")
    dataclasses.replace(base, hooks=(SWA(0.5),))(model, images, validate=_collect(averaged))
    base(_setting()[1], images, validate=_collect(raw))
    name = (
        "network.conv1.weight"
        if "network.conv1.weight" in raw[0]
        else next(n for n in raw[0] if n.endswith("weight"))
    )
    torch.testing.assert_close(averaged[1][name], raw[1][name])  # not begun
    torch.testing.assert_close(averaged[3][name], (raw[2][name] + raw[3][name]) / 2, rtol=1e-4, atol=1e-6)
    assert all(bool(torch.isfinite(v).all()) for v in averaged[3].values() if v.is_floating_point())
    mean = next(n for n in raw[0] if n.endswith("running_mean"))
    assert not torch.equal(averaged[3][mean], raw[3][mean])


def test_an_averaged_run_goes_on_as_if_it_had_not_stopped(tmp_path):
    images, _ = _setting()
    training = Training(objective=Standard(), epochs=3, batch_size=20, learning_rate=0.05, hooks=(EMA(0.5),))
    score = lambda m, s: {"clean": float(m.state_dict()[next(iter(m.state_dict()))].sum())}  # noqa: E731
    whole = training(_setting()[1], images, validate=score)

    def interrupt(log, state):
        if log.epoch == 2:
            raise KeyboardInterrupt

    file = tmp_path / "state.safetensors"
    with pytest.raises(KeyboardInterrupt):
        training(_setting()[1], images, validate=score, state_file=file, on_epoch=interrupt)
    resumed = training(_setting()[1], images, validate=score, state_file=file)
    assert [log.metrics for log in resumed.logs] == [log.metrics for log in whole.logs]


def test_bad_settings_are_refused():
    with pytest.raises(InputError, match="gamma"):
        Training(objective=Standard(), hooks=(AWP(-1.0),))
    with pytest.raises(
        InputError,
        match="hook: expected one of awp, ema, free, lap, latter-awp, latter-rate, sam, stored-starts, swa",
    ):
        HOOKS.make("mean")
    with pytest.raises(InputError, match="decay"):
        Training(objective=Standard(), hooks=(EMA(1.0),))
    with pytest.raises(InputError, match="hooks: expected a tuple with each item one such as EMA"):
        Training(objective=Standard(), hooks=("ema",))
    with pytest.raises(InputError, match="hooks: expected each once, got AWP twice"):
        Training(objective=Standard(), hooks=(AWP(), AWP(0.02)))
    with pytest.raises(
        InputError, match="at most one that gives the network that is validated, got EMA and SWA"
    ):
        Training(objective=Standard(), hooks=(EMA(), SWA()))


def test_the_perturbed_weights_are_seen_in_half_precision_too():
    """Autocast keeps its casts of the weights; the loss at w + v must not be computed from those of w."""
    losses = {}
    for precision in ("32-true", "bf16-mixed"):
        for gamma in (0.0, 0.5):
            images, model = _setting()
            fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
            training = Training(
                objective=Standard(), epochs=1, batch_size=40, learning_rate=0.1, hooks=(AWP(gamma),)
            )
            losses[precision, gamma] = training(model, images, fabric=fabric).logs[0].loss
    for gamma in (0.0, 0.5):
        assert losses["bf16-mixed", gamma] == pytest.approx(losses["32-true", gamma], rel=0.03)
    assert losses["bf16-mixed", 0.5] > losses["bf16-mixed", 0.0] + 0.1
