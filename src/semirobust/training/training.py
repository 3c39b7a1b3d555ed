"""The one training loop."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lightning_fabric import Fabric
from torch import Tensor, nn

from semirobust.attacks import AbstractAttack
from semirobust.attacks.base.attack import AbstractBallAttack
from semirobust.augment import augmentation
from semirobust.core.errors import InputError
from semirobust.core.processes import Processes
from semirobust.core.progress import Progress, silent
from semirobust.core.seed import Seed, as_seed
from semirobust.core.settings import setting
from semirobust.data.base.images import Images
from semirobust.fast.policy import Fast, check_fast
from semirobust.objectives import AbstractObjective
from semirobust.objectives.adversarial import Adversarial
from semirobust.training.engine import Run, Validate
from semirobust.training.hooks.awp import AWP
from semirobust.training.schedules import schedule
from semirobust.training.state import EpochLog, TrainState, digest, kept, settle, store
from semirobust.training.trainable import AbstractTrainable, All

__all__ = ["Trained", "Training", "Validate"]

_ADVERSARIAL, _EVERYTHING = Adversarial(), All()


@dataclass(frozen=True)
class Trained:
    """What a run leaves.

    Attributes:
        model: the trained module, in eval mode, at its last epoch.
        best: the weights of the epoch that validated best; of the last one without validation.
        best_epoch: that epoch, from 1; 0 for the weights it started from.
        logs: one entry an epoch.
        stopped: why it ended early; empty if it did not.
        notes: what else a reader should know.
    """

    model: nn.Module = field(repr=False)
    best: Mapping[str, Tensor] = field(repr=False)
    best_epoch: int
    logs: tuple[EpochLog, ...]
    stopped: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Training:
    """Inner maximisation x outer objective x which layers train x schedule, by stochastic gradient descent.

    Args:
        objective: the two losses.
        attack: the inner maximisation, such as ``pgd-10``; None only for an objective without one.
        trainable: which layers train.
        epochs: passes over the training images.
        batch_size: images in a step, over all processes together.
        learning_rate: at factor 1 of the schedule.
        schedule: its course (``semirobust.training.schedules``).
        momentum, weight_decay, nesterov: of the descent; only what trains has a momentum or decays.
        augment: the augmentation by name.
        best_by: the validation score that decides which epoch was best; None for the objective's own.
        start: where the attack starts: at its own ``random`` point, or where it ended on the same image in
            the epoch before, ``stored`` (:class:`semirobust.training.hooks.warm_start.Stored`); or, in the
            attack's threat model, no attack at all but the gradients that train the weights, ``free``
            (:class:`semirobust.training.hooks.free_at.Free`).
        replays: steps in a row on each batch, each with a perturbation of its own; an epoch costs so many
            times more.
        awp: radius of the adversarial weight perturbation (:class:`semirobust.training.hooks.awp.AWP`); 0 for
            none.
        awp_warm_up: epochs before it begins.
        average: judge and keep averaged weights (:class:`semirobust.training.hooks.averaging.Average`):
            ``ema`` over steps, ``swa`` over the ends of epochs.
        average_decay: of the average ``ema``.
        average_from: where the average ``swa`` begins, as a fraction of all epochs.
        fast: what the attack searches (:class:`semirobust.fast.policy.FastFollower`): ``auto`` is a faster
            copy where it agrees with the network, ``off`` the network itself.
        until: stop as soon as that score is so high.
        collapse: stop when the validation score ``clean`` falls below this share of its highest value; 0 for
            never.
    """

    objective: AbstractObjective = _ADVERSARIAL
    attack: AbstractAttack | None = field(default=None, metadata=setting(name="pgd-10"))
    trainable: AbstractTrainable = field(default=_EVERYTHING, metadata=setting(recipe=False))
    epochs: int = 30
    batch_size: int = 128
    learning_rate: float = field(default=0.1, metadata=setting(flag="--lr"))
    schedule: str = "cosine"
    momentum: float = 0.9
    weight_decay: float = 5e-4
    nesterov: bool = False
    augment: str = "none"
    best_by: str | None = None
    start: Literal["random", "stored", "free"] = "random"
    replays: int = 1
    awp: float = 0.0
    awp_warm_up: int = 0
    average: Literal["none", "ema", "swa"] = "none"
    average_decay: float = 0.999
    average_from: float = 0.0
    fast: Fast = "auto"
    until: float = field(default=math.inf, metadata=setting(recipe=False))
    collapse: float = 0.0

    def __post_init__(self) -> None:
        schedule(self.schedule)
        augmentation(self.augment)
        AWP(self.awp, self.awp_warm_up)
        if self.average not in ("none", "ema", "swa"):
            raise InputError(f"average: expected none, ema or swa; got {self.average!r}")
        if not (0 <= self.average_decay < 1 and 0 <= self.average_from < 1):
            found = f"{self.average_decay} and {self.average_from}"
            raise InputError(f"average_decay and average_from: expected from 0 to below 1, got {found}")
        check_fast(self.fast)
        if self.start not in ("random", "stored", "free"):
            raise InputError(f"start: expected random, stored or free; got {self.start!r}")
        if self.replays < 1:
            raise InputError(f"replays: expected at least 1, got {self.replays}")
        if self.start == "free" and not isinstance(self.attack, AbstractBallAttack):
            raise InputError("start: expected an attack within a norm ball, whose radius free training takes")
        if self.start == "stored":
            if not isinstance(self.attack, AbstractBallAttack):
                raise InputError("start: expected an attack within a norm ball to store perturbations of")
            if type(self.attack).go_on is AbstractAttack.go_on:
                raise InputError(
                    f"start: {self.attack.name} cannot start from stored perturbations; expected one such as"
                    " pgd-4"
                )
            if (augment := augmentation(self.augment)) is not None and not augment.only_moves:
                raise InputError(
                    "augment: expected one that only moves pixels beside stored perturbations, got"
                    f" {self.augment}"
                )
        if self.epochs < 0 or self.batch_size < 1:
            raise InputError(
                f"epochs and batch_size: expected at least 0 and 1, got {self.epochs} and {self.batch_size}"
            )
        if self.nesterov and not self.momentum > 0:
            raise InputError(f"nesterov: expected a momentum above 0, got {self.momentum}")
        if not (0 <= self.momentum < 1 and self.weight_decay >= 0):
            found = f"{self.momentum} and {self.weight_decay}"
            raise InputError(f"momentum and weight_decay: expected below 1, and at least 0; got {found}")
        if not self.learning_rate > 0:
            raise InputError(f"learning_rate: expected a positive number, got {self.learning_rate}")

    def __call__(
        self,
        model: nn.Module,
        images: Images,
        *,
        seed: int | Seed = 0,
        validate: Validate | None = None,
        fabric: Fabric | None = None,
        state_file: Path | None = None,
        keep_every: float = 600.0,
        key: str = "",
        on_step: Progress = silent,
        on_epoch: Callable[[EpochLog, TrainState], None] | None = None,
    ) -> Trained:
        """Train ``model`` in place.

        Args:
            model: gives logits (N, C) for pixels in [0, 1].
            images: the training images; validation images are not among them.
            seed: of order, augmentation, attack and dropout; each epoch and step has its own stream, so a
                resumed run equals an uninterrupted one bit for bit on a CPU.
            validate: scores after each epoch.
            fabric: devices, precision and processes; one CPU process where None.
            state_file: where the state is kept after each epoch, and within one; a file already there is
                resumed.
            keep_every: seconds within an epoch after which a single process keeps it again.
            key: what must be equal for a state to be resumed, such as a hash of the settings; the initial
                weights and the training images must be equal in any case.
            on_step: told of every step.
            on_epoch: told of every epoch.
        """
        if validate is None and (self.until < math.inf or self.best_by is not None):
            raise InputError("until and best_by: expected a validation whose scores they are about, got none")
        if state_file is not None:
            key = f"{key}/{digest(model.state_dict(), images)}"

        def keep(run: Run) -> None:
            if state_file is not None and run.fabric.is_global_zero:
                store(state_file, run.state, run.groups(), key)

        where = fabric or Fabric(accelerator="cpu", devices=1)
        run = Run(self, model, images, as_seed(seed), where, on_step, keep, keep_every)
        note = run.resume(state_file, key) if state_file is not None and kept(state_file) else ""
        if state_file is not None:
            Processes(where).check_equal(
                f"{run.state.epoch} epochs", "state: expected a folder that all processes share"
            )
        while run.state.epoch < self.epochs and not run.state.stopped and run.state.best < self.until:
            log = run.epoch(validate)
            if log is not None and on_epoch is not None:
                on_epoch(log, run.state)
            keep(run)
        run.model.eval()
        if state_file is not None and run.fabric.is_global_zero:
            settle(state_file)
        return Trained(
            run.model,
            run.best,
            run.state.best_epoch,
            tuple(run.state.logs),
            run.state.stopped,
            (note,) if note else (),
        )
