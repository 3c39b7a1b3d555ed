"""What every training hook promises, and that a hook from outside the package takes part like any other."""

import copy
import dataclasses
from collections.abc import Mapping

import pytest
import torch

import semirobust as sr
from semirobust.core.errors import InputError
from semirobust.core.tensor_files import read_metadata
from semirobust.training.hooks import HOOKS, AbstractHook
from semirobust.training.hooks.base.hook import AbstractHookState
from semirobust.training.state_file import read_state
from semirobust.training.training import Training
from tests.helpers import SmallResidual


def _images(n=30):
    x = torch.rand(n, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    return sr.images_from_tensors(x, torch.arange(n) % 3)


def _model():
    torch.manual_seed(3)
    return SmallResidual()


def _training(*hooks, **changes):
    given = {"objective": sr.Adversarial(), "attack": sr.PGD(sr.Linf(0.03), steps=2), "epochs": 3}
    return Training(**{**given, "batch_size": 10, "learning_rate": 0.05, **changes}, hooks=hooks)


def _validate(model, seed):
    x, y = _images().all()
    return {
        "clean": float((model(x).argmax(1) == y).float().mean()),
        "robust": float(model(x).detach().sum()),
    }


def _equal(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(value, b[name]) for name, value in a.items())


def _interrupted(training, state, after):
    """Train until ``after`` steps are saved, and then fail."""

    def kill(task, done, total):
        if done > after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training(
            _model(), _images(), seed=1, validate=_validate, state_file=state, save_every=0, on_step=kill
        )


def test_a_state_of_other_hooks_is_refused(tmp_path):
    state = tmp_path / "state.safetensors"
    _interrupted(_training(HOOKS.make("ema")), state, 2)
    for hooks in ((), (HOOKS.make("swa"),), (HOOKS.make("ema"), HOOKS.make("awp"))):
        with pytest.raises(InputError, match="holds a run with other settings"):
            _training(*hooks)(_model(), _images(), seed=1, state_file=state)


def test_only_one_hook_finds_the_perturbation():
    with pytest.raises(InputError, match="at most one that finds the perturbation .*Free and StoredStarts"):
        _training(HOOKS.make("free"), HOOKS.make("stored-starts"))


@dataclasses.dataclass(frozen=True)
class Watching(AbstractHook):
    """A hook of this test: at every point it notes that it was called; it counts steps over resumed runs.

    Args:
        share: of the first weight, by which the weights are moved for the outer loss.
        calls: where it notes.
    """

    share: float = 0.0
    calls: list = dataclasses.field(default_factory=list, compare=False, repr=False)

    def check(self, training):
        if training.batch_size == 13:
            raise InputError("watching: expected another batch size")

    def begin(self, run):
        self.calls.append("begin")
        return _Watching(self, run)


class _Watching(AbstractHookState):
    replays = 2

    def __init__(self, hook, run):
        self.hook, self.run, self.steps = hook, run, torch.zeros((), dtype=torch.int64)

    def perturbed(self, batch, seed):
        self.hook.calls.append("perturbed")

    def start(self, batch):
        self.hook.calls.append("start")
        return batch.x.clone()

    def after_attack(self, batch, x_adv):
        assert x_adv.shape == batch.x.shape and (x_adv - batch.x).abs().max() <= 0.03 + 1e-6
        self.hook.calls.append("after_attack")

    def before_loss(self, loss):
        assert loss().dim() == 0
        self.hook.calls.append("before_loss")
        self.offset = self.hook.share * next(self.run.model.parameters()).detach()
        self._move(1)

    def after_optimiser(self):
        self.hook.calls.append("after_optimiser")
        self._move(-1)

    def after_step(self, batch, x_adv):
        self.hook.calls.append("after_step")
        self.steps += 1

    def after_epoch(self):
        self.hook.calls.append("after_epoch")

    def network(self, seed):
        self.hook.calls.append("network")
        other = copy.deepcopy(self.run.model)
        with torch.no_grad():
            next(other.parameters()).zero_()
        return other.eval()

    def tensors(self):
        return {"steps": self.steps}

    def load(self, tensors):
        self.hook.calls.append(f"load {int(tensors['steps'])}")
        self.steps = tensors["steps"]

    def _move(self, sign):
        with torch.no_grad():
            next(self.run.model.parameters()).add_(self.offset, alpha=sign)


_STEP = 2 * [
    "perturbed",
    "start",
    "after_attack",
    "before_loss",
    "after_optimiser",
    "after_step",
]
_EPOCH = [*3 * _STEP, "after_epoch", "network"]


def test_a_hook_from_outside_is_called_at_its_points():
    hook = Watching()
    seen = []
    trained = _training(hook, epochs=2)(
        _model(),
        _images(),
        validate=lambda m, s: (
            seen.append(float(next(m.parameters()).detach().abs().sum())) or {"robust": len(seen)}
        ),
    )
    assert hook.calls == ["begin", *2 * _EPOCH]
    assert seen == [0.0, 0.0], "the network that it gave is validated"
    assert float(next(iter(trained.best.values())).abs().sum()) == 0, "and kept"
    assert float(next(trained.model.parameters()).detach().abs().sum()) > 0
    with pytest.raises(InputError, match="watching: expected another batch size"):
        _training(hook, batch_size=13)


def test_a_hook_from_outside_perturbs_the_weights_for_the_loss_alone():
    """With a step too small to move anything the weights are those of before; the loss is another."""
    before = _model().state_dict()
    trained = {
        share: _training(Watching(share), epochs=1, learning_rate=1e-12, weight_decay=0.0)(
            _model(), _images()
        )
        for share in (0.0, 1.0)
    }
    for run in trained.values():
        for name, parameter in run.model.named_parameters():
            torch.testing.assert_close(parameter, before[name])
    assert trained[0.0].logs[0].loss != pytest.approx(trained[1.0].logs[0].loss, rel=1e-3)


@pytest.mark.parametrize("after", [2, 3])
def test_the_state_of_a_hook_from_outside_is_kept_and_resumed(tmp_path, after):
    training = _training(Watching(0.1), HOOKS.make("awp"))
    whole = training(_model(), _images(), seed=1, validate=_validate)
    state = tmp_path / "state.safetensors"
    _interrupted(training, state, after)
    training.hooks[0].calls.clear()
    resumed = training(_model(), _images(), seed=1, validate=_validate, state_file=state)
    assert training.hooks[0].calls[:2] == ["begin", f"load {2 * after}"]
    assert _equal(whole.model.state_dict(), resumed.model.state_dict())
    assert _equal(whole.best, resumed.best)
    groups = read_state(state, read_metadata(state)["key"])[1]
    assert int(groups["Watching"]["steps"]) == 2 * 9
