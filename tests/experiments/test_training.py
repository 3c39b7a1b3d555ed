"""The training loop: resume bit for bit, frozen layers, a changing set of layers, and what stops it."""

import copy
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import semirobust as sr
from semirobust.core.errors import InputError
from semirobust.layers.scores import LayerScores
from semirobust.selection import SELECTIONS
from semirobust.training.hooks.awp import AWP
from semirobust.training.hooks.ema import EMA
from semirobust.training.hooks.free import Free
from semirobust.training.hooks.stored_starts import StoredStarts
from semirobust.training.hooks.swa import SWA
from semirobust.training.schedules import SCHEDULES, schedule
from semirobust.training.trainable import AbstractTrainable, All, Choice, Fixed, Replayed, Reselected
from semirobust.training.training import Training
from tests.helpers import SmallResidual


def _images(n=48):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(n, 3, 6, 6, generator=generator)
    return sr.images_from_tensors(x, (x.mean((1, 2, 3)) * 60).long() % 3)


def _model():
    torch.manual_seed(3)
    return SmallResidual()


def _training(**changes):
    attack = sr.PGD(sr.Linf(0.03), steps=2)
    given = {
        "objective": sr.Adversarial(),
        "attack": attack,
        "epochs": 4,
        "batch_size": 20,
        "learning_rate": 0.05,
    }
    return Training(**{**given, **changes})


class _Wandering(AbstractTrainable):
    """Layers (1, 2), then (2,), then (2, 4)."""

    def __call__(self, epoch, model, seed):
        return {0: Choice((1, 2)), 1: Choice((2,)), 3: Choice((2, 4))}.get(epoch)


def _validate(model, seed):
    x, y = _images().all()
    return {"clean": float((model(x).argmax(1) == y).float().mean()), "robust": 0.5}


def _equal(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


@pytest.mark.parametrize("trainable", [All(), _Wandering()])
@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path, trainable, stop_after):
    training = _training(
        trainable=trainable, objective=sr.CLAT(0.5) if isinstance(trainable, _Wandering) else sr.Adversarial()
    )
    whole = training(_model(), _images(), seed=1, validate=_validate)
    state = tmp_path / "state.safetensors"

    class Killed(Exception):
        pass

    def kill(log, now):
        if log.epoch == stop_after + 1:
            raise Killed

    with pytest.raises(Killed):
        training(_model(), _images(), seed=1, validate=_validate, state_file=state, key="k", on_epoch=kill)
    torch.rand(100)  # whatever else ran in between
    resumed = training(_model(), _images(), seed=1, validate=_validate, state_file=state, key="k")
    assert _equal(whole.model, resumed.model)
    assert whole.best_epoch == resumed.best_epoch and all(
        torch.equal(whole.best[k], resumed.best[k]) for k in whole.best
    )
    assert [(log.loss, log.layers) for log in whole.logs] == [(log.loss, log.layers) for log in resumed.logs]


@pytest.mark.parametrize(
    "options",
    [
        {"trainable": _Wandering(), "objective": sr.CLAT(0.5)},
        {"hooks": (StoredStarts(), EMA(), AWP(0.01))},
        {"hooks": (Free(replays=2),)},
        {"hooks": (SWA(),), "fast": "off"},
    ],
)
@pytest.mark.parametrize("stop_after", [2, 7, 11])
def test_a_run_resumed_within_an_epoch_equals_an_uninterrupted_one(tmp_path, options, stop_after):
    training = _training(batch_size=10, **{"objective": sr.Adversarial(), **options})
    whole = training(_model(), _images(), seed=1, validate=_validate)
    state = tmp_path / "state.safetensors"

    def kill(task, done, total):
        if done == stop_after + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training(
            _model(),
            _images(),
            seed=1,
            validate=_validate,
            state_file=state,
            key="k",
            save_every=0,
            on_step=kill,
        )
    left = 20 - stop_after
    steps = []
    resumed = training(
        _model(),
        _images(),
        seed=1,
        validate=_validate,
        state_file=state,
        key="k",
        on_step=lambda *at: steps.append(at),
    )
    assert len(steps) == left, "steps that were done are not done again"
    assert _equal(whole.model, resumed.model)
    assert whole.best_epoch == resumed.best_epoch and all(
        torch.equal(whole.best[k], resumed.best[k]) for k in whole.best
    )
    assert [(log.loss, log.layers, log.selected) for log in whole.logs] == [
        (log.loss, log.layers, log.selected) for log in resumed.logs
    ]


def test_a_state_of_other_settings_is_refused(tmp_path):
    state = tmp_path / "state.safetensors"
    _training(epochs=1)(_model(), _images(), seed=1, state_file=state, key="one")
    before = state.read_bytes()
    with pytest.raises(InputError, match="other settings"):
        _training(epochs=2)(_model(), _images(), seed=1, state_file=state, key="two")
    state.write_bytes(before[:-20])
    with pytest.raises(InputError, match="damaged, and there is no whole state before it"):
        _training(epochs=2)(_model(), _images(), seed=1, state_file=state, key="one")


@pytest.mark.parametrize("harm", ["cut", "empty", "one bit", "gone"])
def test_a_damaged_state_is_noticed_and_the_one_before_it_taken(tmp_path, harm):
    state = tmp_path / "state.safetensors"
    whole = _training(epochs=4)(_model(), _images(), seed=1)

    def stop(log, now):
        if log.epoch == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _training(epochs=4)(_model(), _images(), seed=1, state_file=state, key="k", on_epoch=stop)
    content = bytearray(state.read_bytes())  # of epoch 3; that of epoch 2 is beside it
    if harm == "gone":
        state.unlink()
    else:
        content[len(content) // 2] ^= 1
        state.write_bytes({"cut": bytes(content[:-30]), "empty": b"", "one bit": bytes(content)}[harm])
    resumed = _training(epochs=4)(_model(), _images(), seed=1, state_file=state, key="k")
    assert _equal(whole.model, resumed.model) and len(resumed.logs) == 4
    said = "state.safetensors is damaged; the run continued from the state before it, epoch 2"
    assert resumed.notes == (() if harm == "gone" else (said,))
    assert {p.name for p in tmp_path.iterdir()} == {"state.safetensors"}


def test_only_the_chosen_layers_move():
    model = _model()
    before = copy.deepcopy(model.state_dict())
    layers = sr.layer_map(model, _images().all()[0])
    trained = _training(trainable=Fixed((2,)), momentum=0.9, weight_decay=0.1)(model, _images(), seed=0)
    owned = tuple(layers[1].modules)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]) == (not name.startswith(owned)), name
    assert trained.logs[0].layers == (2,)
    assert trained.logs[0].trained_parameters == sum(before[p].numel() for p in layers[1].parameters)
    assert all(p.requires_grad for p in model.parameters()) and not model.training


def test_what_trained_before_keeps_its_momentum_and_the_rest_has_none():
    """Against a plain loop with one optimiser that skips parameters without gradient."""
    training = _training(
        objective=sr.Standard(), attack=None, trainable=_Wandering(), schedule="constant", weight_decay=0.0
    )
    ours, images = _model(), _images()
    ours.drop.p = 0.0
    plain = copy.deepcopy(ours)
    training(ours, images, seed=1)
    layers = sr.layer_map(plain, images.all()[0])
    named, momentum = dict(plain.named_parameters()), {}
    seed = sr.Seed(("1",))
    current: tuple[int, ...] = ()
    for epoch in range(4):
        choice = _Wandering()(epoch, plain, seed)
        if choice is not None:
            current = choice.layers
            momentum = {k: v for k, v in momentum.items() if k in layers.parameters(current)}
        with sr.only_trainable(plain, layers, current):
            for rows in images.batches(20, seed=seed / "epoch" / epoch / "order"):
                plain.train()
                x, y = images.batch(rows)
                plain.zero_grad()
                nn.functional.cross_entropy(plain(x), y).backward()
                with torch.no_grad():
                    for name in layers.parameters(current):
                        slope = named[name].grad
                        momentum[name] = slope if name not in momentum else 0.9 * momentum[name] + slope
                        named[name] -= 0.05 * momentum[name]
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], tensor, rtol=1e-4, atol=1e-6)


def test_reselection_every_few_epochs_and_its_replay():
    calls = []

    def score(model, seed):
        calls.append(str(seed))
        values = np.array([1.0, 2, 3, 9]) if len(calls) < 2 else np.array([5.0, 2, 3, 9])
        return LayerScores.without_interval("test", values, indices=(1, 2, 3, 4), examples=1, layers=4)

    trainable = Reselected(score, SELECTIONS.make("top", {"k": 1}), every=2)
    trained = _training(objective=sr.CLAT(), trainable=trainable, epochs=5)(_model(), _images(), seed=0)
    chosen = [log.layers for log in trained.logs]
    assert chosen == [(3,), (3,), (1,), (1,), (1,)] and len(calls) == 3
    assert [log.selected for log in trained.logs] == [True, False, True, False, True]
    again = _training(trainable=Replayed(tuple(chosen)), epochs=5)(_model(), _images(), seed=0)
    assert [log.layers for log in again.logs] == chosen


def test_standard_training_equals_a_plain_loop():
    ours, images, seed = _model(), _images(), sr.Seed(("4",))
    ours.drop.p = 0.0
    plain = copy.deepcopy(ours)
    _training(objective=sr.Standard(), attack=None, epochs=2, schedule="cosine")(ours, images, seed=4)
    optimiser = torch.optim.SGD(plain.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)
    plain.train()
    for step in range(6):
        if step % 3 == 0:
            batches = list(images.batches(20, seed=seed / "epoch" / (step // 3) / "order"))
        x, y = images.batch(batches[step % 3])
        optimiser.param_groups[0]["lr"] = 0.05 * (1 + np.cos(np.pi * step / 6)) / 2
        optimiser.zero_grad()
        nn.functional.cross_entropy(plain(x), y).backward()
        optimiser.step()
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], tensor)


def test_training_at_epsilon_zero_is_training_on_clean_images():
    clean, adversarial = _model(), _model()
    _training(objective=sr.Standard(), attack=None)(clean, _images(), seed=1)
    _training(attack=sr.PGD(sr.Linf(0.0), steps=1, step_size=0.1))(adversarial, _images(), seed=1)
    assert _equal(clean, adversarial)


def test_adversarial_training_makes_robust():
    splits = sr.load_data("digits")
    threat, images = sr.Linf(0.15), splits.train.first(600)
    x, y = splits.test.first(200).all()
    robust = {}
    for name, objective in (("standard", sr.Standard()), ("adversarial", sr.Adversarial())):
        model = sr.build_model("resnet8", width=0.5, in_channels=1, image_size=8)
        attack = sr.PGD(threat, steps=3)
        Training(objective=objective, attack=attack, epochs=6, batch_size=50, schedule="constant")(
            model, images, seed=0
        )
        robust[name] = float(sr.evaluate(model, x, y, [sr.PGD(threat, steps=10)]).summary()["pgd-10"])
    assert robust["adversarial"] > robust["standard"] + 0.15


def test_nan_stops_with_its_cause_named_and_the_best_weights_kept():
    model = _model()
    trained = _training(learning_rate=1e30, objective=sr.Standard(), attack=None)(model, _images(), seed=0)
    assert (
        "stopped at epoch 1, step" in trained.stopped
        and "learning rate is probably too high" in trained.stopped
    )
    assert all(torch.isfinite(p).all() for p in model.parameters())

    class Broken(SmallResidual):
        def forward(self, x):
            return super().forward(x) * (float("nan") if self.training else 1.0)

    trained = _training(objective=sr.Standard(), attack=None)(Broken(), _images(), seed=0)
    assert "stopped at epoch 1, step 1: the loss is nan" in trained.stopped


def test_collapse_stops():
    scores = iter([0.8, 0.9, 0.3, 0.9])
    trained = _training(collapse=0.5)(
        _model(), _images(), seed=0, validate=lambda m, s: {"clean": next(scores), "robust": 0.1}
    )
    assert (
        "epoch 3: validation accuracy collapsed from 90.0% to 30.0%" in trained.stopped
        and len(trained.logs) == 3
    )


def test_the_best_epoch_is_the_one_that_validated_best():
    scores = iter([0.1, 0.7, 0.3, 0.5])
    kept = []
    trained = _training()(
        _model(),
        _images(),
        validate=lambda m, s: {"robust": next(scores)},
        on_epoch=lambda log, state: kept.append(copy.deepcopy(dict(state.__dict__))),
    )
    assert trained.best_epoch == 2 and kept[2]["best"] == 0.7


def test_schedules():
    assert schedule("cosine")(0.5) == pytest.approx(0.5) and schedule("cosine")(1.0) == pytest.approx(0)
    assert [schedule("step")(p) for p in (0, 0.49, 0.5, 0.75)] == [1, 1, 0.1, 0.01]
    assert schedule("cyclic")(0) == 0 and schedule("cyclic")(0.4) == 1 and schedule("cyclic")(1) == 0
    assert all(0 <= f(p / 10) <= 1 for f in SCHEDULES.values() for p in range(11))
    with pytest.raises(InputError, match="schedule: expected one of"):
        schedule("nope")


def test_augmentation_moves_whole_images_and_mirrors():
    from semirobust.augment.crop_flip import CropFlip
    from semirobust.core.seed import Seed

    x = torch.arange(5 * 5, dtype=torch.float).view(1, 1, 5, 5).repeat(200, 1, 1, 1) + 1
    out = CropFlip(1, flip=True)(x, Seed(("a",)))
    padded = torch.nn.functional.pad(x[0, 0], (1, 1, 1, 1))
    possible = [p[i : i + 5, j : j + 5] for i in range(3) for j in range(3) for p in (padded,)]
    possible += [padded[i : i + 5, j : j + 5].flip(1) for i in range(3) for j in range(3)]
    flipped = torch.nn.functional.pad(x[0, 0].flip(1), (1, 1, 1, 1))
    possible += [flipped[i : i + 5, j : j + 5] for i in range(3) for j in range(3)]
    assert all(any(torch.equal(image[0], p) for p in possible) for image in out)
    assert len({tuple(image.flatten().tolist()) for image in out}) == 18
    assert torch.equal(CropFlip(1, flip=True)(x, Seed(("a",))), out)


@pytest.mark.parametrize("method", ["clat", "selected", "adversarial"])
def test_hardening_in_one_call(method):
    model = _model().eval()
    trained = sr.harden(model, _images(), method, threat=sr.Linf(0.03), epochs=2, batch_size=24)
    assert len(trained.logs) == 2
    assert (trained.logs[0].layers is None) == (method == "adversarial")
    with pytest.raises(InputError, match="threat"):
        sr.harden(model, _images(), method)


def test_bad_settings_are_one_sentence():
    with pytest.raises(InputError, match="batch_size: expected a whole number from 1 on"):
        _training(batch_size=0)
    with pytest.raises(InputError, match="learning_rate"):
        _training(learning_rate=0)
    with pytest.raises(InputError, match="attack: Adversarial needs one"):
        _training(attack=None)(_model(), _images())
    with pytest.raises(InputError, match="layer: expected an index from 1 to 4, got 7"):
        _training(trainable=Fixed((7,)))(_model(), _images())


def test_narrow_strided_convolutions_get_a_layout_that_does_no_harm():
    """In a process of its own, because without it that process crashes: oneDNN writes past its memory."""
    work = """
import torch, semirobust as sr
from semirobust.fast.layout import safe_layouts

def work():
    x = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    images = sr.images_from_tensors(x, torch.arange(8) % 4)
    model = sr.build_model("resnet8", 4, 0.5, image_size=64)
    sr.Training(objective=sr.Adversarial(), attack=sr.FGSM(sr.Linf(0.01)), epochs=2, batch_size=4)(model, images)
    assert not any(m._forward_pre_hooks for m in model.modules())
    plain, odd = torch.nn.Conv2d(4, 8, 1, 2, bias=False), torch.nn.Conv2d(4, 8, 1, 2, bias=False)
    odd.load_state_dict(plain.state_dict())
    y = torch.rand(4, 4, 64, 64)
    plain(y).square().sum().backward()
    with safe_layouts(odd):
        odd(y.contiguous(memory_format=torch.channels_last)).square().sum().backward()
    torch.testing.assert_close(plain.weight.grad, odd.weight.grad)

torch.set_num_threads(1)
for _ in range(3):
    work()
print("well")
"""
    done = subprocess.run([sys.executable, "-c", work], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "well", done.stderr
