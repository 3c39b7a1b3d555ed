"""What every training hook must do."""

import contextlib
import copy
import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from semirobust.attacks.pgd import PGD
from semirobust.core.seed import Seed, as_seed
from semirobust.objectives.adversarial import Adversarial
from semirobust.testing.base.check import Subject, demanded, require
from semirobust.testing.base.network import SmallResidual, small_images
from semirobust.threats.linf import Linf
from semirobust.training.hooks import AbstractHook
from semirobust.training.training import Training

__all__: list[str] = []


class _Killed(Exception):
    pass


def _model() -> nn.Module:
    with as_seed(3).globally():
        return SmallResidual()


def _validate(model: nn.Module, seed: Seed) -> dict[str, float]:
    x, y = small_images(30, 6).all()
    with torch.no_grad():
        logits = model(x)
    return {"clean": float((logits.argmax(1) == y).float().mean()), "robust": float(logits.sum())}


def _training(hook: AbstractHook) -> Training:
    attack = PGD(Linf(0.03), steps=2)
    return Training(
        objective=Adversarial(), attack=attack, epochs=3, batch_size=10, learning_rate=0.05, hooks=(hook,)
    )


@demanded("hooks")
def a_resumed_run_equals_an_uninterrupted_one(subject: Subject) -> None:
    """Give the same weights when the run is interrupted, in an epoch or between two, and goes on."""
    images, training = small_images(30, 6), _training(subject.make())
    whole = training(_model(), images, seed=1, validate=_validate)
    for after in (2, 3, 7):

        def kill(task: str, done: int, total: int, after: int = after) -> None:
            if done > after:
                raise _Killed

        with tempfile.TemporaryDirectory() as folder:
            given: Any = {"seed": 1, "validate": _validate, "state_file": Path(folder) / "state.safetensors"}
            with contextlib.suppress(_Killed):
                training(_model(), images, **given, save_every=0, on_step=kill)
            resumed = training(_model(), images, **given)
        same = all(torch.equal(whole.best[key], resumed.best[key]) for key in whole.best)
        logs = [[(log.loss, log.metrics) for log in run.logs] for run in (whole, resumed)]
        require(logs[0] == logs[1], f"a run that was interrupted after {after} steps has other losses")
        require(same, f"a run that was interrupted after {after} steps ends with other weights")


@demanded("hooks")
def it_serves_many_runs(subject: Subject) -> None:
    """Keep no state of a run in the hook itself, which is frozen: a second run equals the first."""
    hook = subject.make()
    before = copy.deepcopy(hook)
    first, second = (_training(hook)(_model(), small_images(30, 6), seed=1) for _ in range(2))
    require(all(torch.equal(first.best[k], second.best[k]) for k in first.best), "the second run differs")
    require(hook == before, "the hook has changed")
    try:
        hook.something = 1
    except dataclasses.FrozenInstanceError:
        return
    raise AssertionError("the hook is no frozen dataclass")
