"""Training: its settings, and what a run gives."""

import hashlib
import itertools
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from semirobust.attacks import AbstractAttack
from semirobust.augment import AUGMENTATIONS, augmentation
from semirobust.core.checks import check_counts
from semirobust.core.classifiers import on_classifiers
from semirobust.core.errors import InputError
from semirobust.core.given import kind_of
from semirobust.core.links import given_out
from semirobust.core.outputs import note, notes
from semirobust.core.own_code import code_of, settings_text
from semirobust.core.plain import anywhere
from semirobust.core.progress import Progress, silent
from semirobust.core.seed import Seed, as_seed
from semirobust.core.settings import setting
from semirobust.core.shown import AbstractResult
from semirobust.core.table import Table
from semirobust.core.typed import Typed
from semirobust.data.base.given import given_images
from semirobust.data.base.images import Images
from semirobust.fast.policy import Fast, check_fast
from semirobust.layers.quiet import device_of
from semirobust.objectives import AbstractObjective
from semirobust.objectives.adversarial import Adversarial
from semirobust.records.conditions import Conditions, spoken
from semirobust.training import engine
from semirobust.training.alone import Alone, processes_of
from semirobust.training.callbacks import Audience, Listener
from semirobust.training.hooks import AbstractHook
from semirobust.training.log import drawn_log, log_table
from semirobust.training.run import Run
from semirobust.training.schedules import schedule
from semirobust.training.state import EpochLog, TrainState, digest
from semirobust.training.state_file import delete_previous, has_state, write_state
from semirobust.training.trainable import AbstractTrainable, All
from semirobust.training.validation import Validate

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from matplotlib.figure import Figure

__all__ = ["Trained", "Training", "Validate"]

_ADVERSARIAL, _EVERYTHING = Adversarial(), All()
_LOGGER = logging.getLogger("semirobust.training")


@dataclass(frozen=True, eq=False, repr=False)
class Trained(AbstractResult):
    """The result of a run.

    Attributes:
        model: the trained module, in eval mode, at its last epoch.
        best: the weights of the epoch that validated best; of the last one without validation.
        best_epoch: that epoch, from 1; 0 for the weights it started from.
        logs: one entry an epoch.
        stopped: why it ended early; empty if it did not.
        notes: what else a reader should know.
    """

    model: nn.Module
    best: Mapping[str, Tensor]
    best_epoch: int
    logs: tuple[EpochLog, ...]
    stopped: str
    notes: tuple[str, ...] = ()

    @property
    def conditions(self) -> tuple[Conditions, ...]:
        """Those under which its epochs were computed, each once."""
        return tuple(dict.fromkeys(each for log in self.logs for each in log.conditions))

    def table(self) -> Table:
        return log_table(self.logs, self.best_epoch, self.stopped, self.notes)

    @staticmethod
    def drawn(table: Table) -> "Figure":
        return drawn_log(table)


@dataclass(frozen=True, kw_only=True)
class Training(Typed):
    """Inner maximisation x outer objective x which layers train x schedule, by stochastic gradient descent.

    Args:
        objective: what is minimised, and what the attack maximises.
        attack: the inner maximisation, such as ``pgd-10``; None only for an objective without one.
        trainable: which layers train.
        epochs: passes over the training images.
        batch_size: images in a step, over all processes together.
        learning_rate: the learning rate at factor 1 of the schedule.
        schedule: how the learning rate changes: ``constant``, ``step``, ``cosine``, ``cyclic``, or
            ``drops-50-75``, which divides it by ten after those percentages of the epochs.
        epochs_before, epochs_after: epochs of the same schedule that went before, and that come after this
            training: one cosine over 50 epochs of a base and 50 of a method is ``epochs_after=50`` in the one
            and ``epochs_before=50`` in the other. Momentum begins anew.
        momentum: momentum of the gradient descent; only what trains has one.
        weight_decay: weight decay of the gradient descent; only what trains decays.
        nesterov: use Nesterov's momentum.
        augment: the augmentation of the training images, or several with + between their names.
        best_by: the validation score that decides which epoch was best; None for the objective's own.
        hooks: what takes part in each step, in the order given, such as weight perturbation or an average of
            the weights.
        fast: what the attack searches: with ``auto``, and here with ``graphs`` and ``onnx`` too, a faster
            copy where it agrees with the network, with ``off`` the network itself.
        until: stop as soon as that score is so high.
        collapse: stop when the validation score ``clean`` falls below this fraction of its highest value; 0
            for never.
    """

    like: ClassVar[str] = "Training(epochs=5)"

    objective: AbstractObjective = _ADVERSARIAL
    attack: AbstractAttack | None = field(default=None, metadata=setting(name="pgd-10"))
    trainable: AbstractTrainable = field(default=_EVERYTHING, metadata=setting(recipe=False))
    epochs: int = 30
    batch_size: int = 128
    learning_rate: float = field(default=0.1, metadata=setting(flag="--lr"))
    schedule: str = "cosine"
    epochs_before: int = field(default=0, metadata=setting(recipe=False))
    epochs_after: int = field(default=0, metadata=setting(recipe=False))
    momentum: float = 0.9
    weight_decay: float = 5e-4
    nesterov: bool = False
    augment: str = field(default="none", metadata=setting(names=AUGMENTATIONS))
    best_by: str | None = None
    hooks: tuple[AbstractHook, ...] = ()
    fast: Fast = "auto"
    until: float = field(default=math.inf, metadata=setting(recipe=False))
    collapse: float = 0.0

    def __post_init__(self) -> None:
        schedule(self.schedule)
        self._check_augment()
        check_fast(self.fast)
        check_counts(1, batch_size=self.batch_size)
        counts = {"epochs_before": self.epochs_before, "epochs_after": self.epochs_after}
        check_counts(0, epochs=self.epochs, **counts)
        if self.nesterov and not self.momentum > 0:
            raise InputError(f"nesterov: expected a momentum above 0, got {self.momentum}")
        if not (0 <= self.momentum < 1 and self.weight_decay >= 0):
            values = f"{self.momentum} and {self.weight_decay}"
            raise InputError(f"momentum and weight_decay: expected below 1, and at least 0; got {values}")
        if not self.learning_rate > 0:
            raise InputError(f"learning_rate: expected a positive number, got {self.learning_rate}")
        if not 0 <= self.collapse <= 1:
            raise InputError(f"collapse: expected from 0 to 1, got {self.collapse}")
        self._check_hooks()

    def _check_augment(self) -> None:
        augment, why = augmentation(self.augment), self.objective.needs_one_label
        if augment is not None and augment.mixes and why:
            raise InputError(
                f"augment: expected one that mixes no images beside {type(self.objective).__name__}, since"
                f" {why}; got {self.augment}"
            )

    def _check_hooks(self) -> None:
        for i, hook in enumerate(self.hooks):
            hook.check(self)
            for other in self.hooks[:i]:
                if hook.name == other.name:
                    raise InputError(f"hooks: expected each once, got {hook.name} twice")
                if hook.role and hook.role == other.role:
                    raise InputError(
                        f"hooks: expected at most one that {hook.role}, got {other.name} and {hook.name}"
                    )

    @anywhere
    @on_classifiers("model", layers=True)
    def __call__(
        self,
        model: nn.Module,
        images: Images | Any,
        *,
        seed: int | Seed = 0,
        validate: Validate | None = None,
        fabric: "Fabric | None" = None,
        state_file: Path | None = None,
        save_every: float = 600.0,
        key: str = "",
        on_step: Progress = silent,
        on_epoch: Callable[[EpochLog, TrainState], None] | None = None,
        callbacks: Sequence[Listener] = (),
        name: str = "",
    ) -> Trained:
        """Train ``model`` in place.

        Args:
            model: gives logits (N, C) for pixels in [0, 1].
            images: the training images, or what makes some (:func:`semirobust.harden`); validation images
                are not among them.
            seed: of order, augmentation, attack and dropout; each epoch and step has its own stream, so a
                resumed run equals an uninterrupted one bit for bit on a CPU.
            validate: scores after each epoch.
            fabric: devices, precision and processes, and loggers that get the numbers of every epoch; where
                None one process on the device the model is on.
            state_file: where the state is saved after each epoch, and within one; a run whose file is already
                there continues from it.
            save_every: seconds within an epoch after which a single process saves it again.
            key: what must be equal for a state to be resumed, such as a hash of more settings; this
                training, the seed, the initial weights and the training images must be equal in any case.
                Another version, other threads, another processor or code of your own that was edited is
                said in the notes, and noted with each epoch.
            on_step: told of every step.
            on_epoch: told of every epoch, with the state of the run.
            callbacks: told of the start, of every epoch and of the end (:class:`semirobust.Callback`); also
                functions of the log of an epoch such as ``print``, and loggers of Lightning. One that fails
                ends the training, and what was trained is kept.
            name: in front of what loggers get, to tell several trainings apart.
        """
        if validate is not None and not callable(validate):
            raise InputError(
                f"validate: expected a function (model, seed) -> scores by name, got {kind_of(validate)}"
            )
        if validate is None and (self.until < math.inf or self.best_by is not None):
            raise InputError("until and best_by: expected a validation whose scores they are about, got none")
        if validate is None and (needy := [hook.name for hook in self.hooks if hook.needs_validation]):
            raise InputError(f"{needy[0]}: expected a validation on held-out images, which decides; got none")
        images, devices = given_images(images), _devices(model, fabric)
        told, ended = Audience(callbacks, devices, name), ""
        if state_file is not None:
            state_file = given_out(state_file)
            names = ",".join(hook.name for hook in self.hooks)
            key = f"{key}/{names}/{digest(model.state_dict(), images)}/{_hash(self, as_seed(seed))}"

        def save(run: Run) -> None:
            if state_file is not None and devices.is_global_zero:
                write_state(state_file, run.state, engine.tensors(run), key)

        run = engine.begin(self, model, images, as_seed(seed), devices, code_of(self, validate, model))
        went_on = ""
        if state_file is not None:
            went_on = engine.resume(run, state_file, key) if has_state(state_file) else ""
            processes_of(devices).check_equal(
                f"{run.state.epoch} epochs", "state: expected a folder that all processes share"
            )
        during = engine.Callbacks(on_step, save, save_every)
        ended = told.start(run)
        while not ended and self._goes_on(run):
            log = engine.run_epoch(run, validate, during)
            if log is not None and devices.is_global_zero:
                _LOGGER.info(
                    "epoch %d of %d: %s", log.epoch, self.epochs, log.line, extra={"epoch": log.epoch}
                )
            if log is not None and on_epoch is not None:
                on_epoch(log, run.state)
            save(run)
            ended = ended if log is None else told.epoch(log)
        run.model.eval()
        if state_file is not None and devices.is_global_zero:
            delete_previous(state_file)
        for sentence in run.said.get(run.state.best_epoch, ()):
            note(sentence)
        trained = Trained(
            run.model,
            run.best,
            run.state.best_epoch,
            tuple(run.state.logs),
            run.state.stopped or (ended and f"stopped after epoch {run.state.epoch}: {ended}"),
            ((went_on,) if went_on else ()) + _changed(run.state.logs) + notes(),
        )
        failed = told.end(trained)
        return replace(trained, notes=(*trained.notes, failed)) if failed else trained

    def _goes_on(self, run: Run) -> bool:
        return run.state.epoch < self.epochs and not run.state.stopped and run.state.best < self.until


def _hash(training: Training, seed: Seed) -> str:
    """The settings of a training that differ from the defaults, and its seed: a setting that a later version
    adds changes nothing. Under a constant learning rate a run may go on for more epochs.
    """
    if training.schedule == "constant":
        training = replace(training, epochs=0)
    return hashlib.sha256(f"{settings_text(training)} {seed}".encode()).hexdigest()[:12]


def _changed(logs: Sequence[EpochLog]) -> tuple[str, ...]:
    """A sentence where epochs were computed under several conditions."""
    parts: list[tuple[str, Conditions]] = []
    for same, group in itertools.groupby(logs, lambda log: log.conditions):
        numbers = [log.epoch for log in group]
        epochs = f"epoch {numbers[0]}" if len(numbers) == 1 else f"epochs {numbers[0]} to {numbers[-1]}"
        parts += [(f"part of {epochs}" if len(same) > 1 else epochs, each) for each in same]
    said = spoken(parts)
    return (f"this run was {said}",) if said else ()


def _devices(model: nn.Module, fabric: "Fabric | None") -> "Fabric | Alone":
    """The fabric, or one process where the model is; that a fabric moves a model is noted."""
    if fabric is None:
        return _where_it_is(model)
    before = device_of(model, fabric.device)
    if before.type != fabric.device.type:
        note(f"the network was on {before} and is on {fabric.device} now, where the fabric is")
    return fabric


def _where_it_is(model: nn.Module) -> Alone:
    """One process on the device of the model."""
    device = device_of(model, torch.device("cpu"))
    found = sorted({str(tensor.device) for tensor in (*model.parameters(), *model.buffers())})
    if len(found) > 1:
        raise InputError(
            f"model: expected all of its weights on one device, got some on {' and some on '.join(found)};"
            " bring them together by model.to(...), or give a fabric"
        )
    if device.type == "meta":
        raise InputError("model: expected weights with values, got some on the device meta; load them first")
    return Alone(device)
