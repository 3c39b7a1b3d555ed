"""Several ways to go on from one model, at equal budget."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from semirobust.attacks import AbstractAttack
from semirobust.core.errors import InputError
from semirobust.core.own_code import code_of
from semirobust.core.processes import Processes
from semirobust.core.progress import Progress, silent
from semirobust.core.seed import Seed
from semirobust.core.text import slug
from semirobust.data.base.images import Images
from semirobust.experiments import build
from semirobust.experiments.commands.evaluate import accuracy_records, attacks_of
from semirobust.experiments.inputs import Inputs
from semirobust.experiments.kept_accuracy import KeptAccuracy
from semirobust.experiments.recipe import Recipe
from semirobust.layers.freeze import Part
from semirobust.methods import METHODS, AbstractMethod
from semirobust.objectives.adversarial import Adversarial
from semirobust.procedures.harden import carry_out, planned
from semirobust.records.schema import About, Finding, Origin, Topic
from semirobust.records.store import AnyRecord
from semirobust.training.trainable import Replayed
from semirobust.training.training import Trained, Training, Validate

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = [
    "Arm",
    "Budget",
    "Trial",
    "budget_of",
    "controls_of",
    "labelled",
    "run_arms",
    "without_control",
]


@dataclass(frozen=True)
class Arm:
    """One way to go on.

    Attributes:
        name: as it stands in tables.
        method: the method; None repeats the layers of ``same_as`` under plain PGD-AT.
        same_as: name of an earlier arm whose layers this one trains.
        about: what else its records say of it, beside its name and the seed.
    """

    name: str
    method: AbstractMethod | None
    same_as: str = ""
    about: About = field(default_factory=About)


@dataclass(frozen=True)
class Budget:
    """What all arms have in common.

    Attributes:
        images: the training images.
        training: which gives the attack and the budget; the objective and the layers are the method's.
        validate: the validation that chooses the best epoch, and on how many images.
        test: the images to evaluate on, under ``attacks``.
        fabric: devices, precision and processes; one CPU process where None.
        note: what a reader of numbers on these images should know.
    """

    images: Images = field(repr=False)
    training: Training
    validate: Validate | None
    validation_images: int
    test: Images = field(repr=False)
    attacks: Sequence[AbstractAttack]
    fabric: "Fabric | None" = field(default=None, repr=False)
    note: str = ""

    @property
    def attack(self) -> AbstractAttack:
        """The inner maximisation."""
        attack = self.training.attack
        assert attack is not None
        return attack

    @property
    def processes(self) -> Processes:
        """What this process does of an evaluation."""
        return Processes(self.fabric)


@dataclass(frozen=True)
class Trial:
    """One seed of a comparison.

    Attributes:
        seed: of training.
        number: the seed's number in the records.
        evaluation: the seed of the attacks that evaluate; equal for all arms.
        at: the origin of its records.
        folder: where interrupted arms are kept; None keeps nothing.
        seeds: how many there are in all.
    """

    seed: Seed
    number: int
    evaluation: Seed
    at: Origin
    folder: Path | None = None
    seeds: int = 1


def budget_of(recipe: Recipe, inputs: Inputs | None = None, fabric: "Fabric | None" = None) -> Budget:
    """What the section ``harden`` of a recipe gives to every arm."""
    inputs = inputs or Inputs.of(recipe)
    settings, note = recipe.harden, inputs.splits.note
    images, held_out = inputs.train, inputs.held_out
    return Budget(
        images=images,
        training=settings.training,
        validate=settings.validation.on(held_out, settings.training.attack, fabric),
        validation_images=min(len(held_out), settings.validation.validation_examples),
        test=inputs.test.first(recipe.evaluate.examples),
        attacks=attacks_of(recipe),
        fabric=fabric,
        note=f"{inputs.splits.name}: {note}" if note else "",
    )


def labelled(name: str, number: int, seeds: int) -> str:
    """What progress calls a training: the seed is said where there are several."""
    return name if seeds == 1 else f"seed {number + 1}: {name}"


def controls_of(name: str, method: AbstractMethod) -> list[Arm]:
    """The method and what tells its gain's worth: PGD-AT of everything; of the same layers, where these are
    not all; the method on random layers.
    """
    arms = [Arm(name, method), Arm("PGD-AT continued", METHODS.make("adversarial"))]
    if (random := method.with_random_layers()) is not None:
        if not method.trains_all:
            arms.append(Arm(f"PGD-AT of {name}'s layers", None, same_as=name))
        arms.append(Arm(f"{name}, random layers", random))
    return arms


def without_control(name: str, method: AbstractMethod) -> str:
    """A sentence where a method has no control with random layers; empty where it has one."""
    if method.with_random_layers() is not None:
        return ""
    return (
        f"there are no controls of the layers that {name} trains, since it does not choose them by a measure"
    )


def run_arms(
    start: nn.Module, arms: Sequence[Arm], budget: Budget, trial: Trial, *, progress: Progress = silent
) -> tuple[list[AnyRecord], dict[str, nn.Module]]:
    """Run each arm from a copy of ``start`` and evaluate its best epoch; order and attack have equal seeds in
    all arms.

    Returns:
        the records, and each arm's model at its best epoch.
    """
    records: list[AnyRecord] = []
    models: dict[str, nn.Module] = {}
    done: dict[str, Trained] = {}
    methods = {arm.name: arm.method for arm in arms}
    for arm in arms:
        about = replace(arm.about, arm=arm.name, seed=trial.number)
        if arm.method is None and arm.same_as in done and not done[arm.same_as].logs:
            text = f"{arm.name} was not run, because {arm.same_as} stopped in its first epoch"
            records.append(
                Finding(topic=Topic.SKIPPED, text=text, level="warning", about=about, origin=trial.at)
            )
            continue
        if arm.method is None and arm.same_as not in done:
            raise InputError(
                f"arm {arm.name!r}: expected an earlier arm {arm.same_as!r} to repeat the layers of"
            )
        same = (done[arm.same_as], methods[arm.same_as]) if arm.method is None else None
        done[arm.name] = trained = _train(copy.deepcopy(start), arm, budget, trial, same, progress)
        models[arm.name] = build.load_best(trained)
        records += build.log_records(trained, trial.at, budget.validation_images, about)
        records += _tested(models[arm.name], about, budget, trial, progress)
    return records, models


def _tested(
    model: nn.Module, about: About, budget: Budget, trial: Trial, progress: Progress
) -> list[AnyRecord]:
    """The accuracies of an arm; those that an earlier call has kept are not measured again."""
    kept = None
    if trial.folder is not None:
        file, attacks = trial.folder / f"{slug(about.arm or '')}-accuracy.jsonl", budget.attacks
        more = (trial.evaluation, list(attacks), len(budget.test), code_of(*attacks, model))
        kept = KeptAccuracy(file, model, trial.at, *more)
        if (found := kept.read()) is not None:
            return found
    found, _ = accuracy_records(
        model, budget.test, budget.attacks, trial.at,
        seed=trial.evaluation, about=about, processes=budget.processes, progress=progress,
    )  # fmt: skip
    if kept is not None and (budget.fabric is None or budget.fabric.is_global_zero):
        kept.write(found)
    return found


def _train(
    model: nn.Module,
    arm: Arm,
    budget: Budget,
    trial: Trial,
    same: tuple[Trained, AbstractMethod | None] | None,
    progress: Progress,
) -> Trained:
    """``same`` is the run whose layers an arm without a method repeats, and the method of that."""
    method = arm.method or METHODS.make("adversarial")
    training, plan = planned(model, budget.images, method, budget.training)
    if same is not None:
        trained, like = same
        part: Part = "layer"
        if like is not None:
            part = planned(model, budget.images, like, training)[1].trainable.part
        layers = Replayed(tuple(log.layers for log in trained.logs), part)
        training = replace(training, objective=Adversarial(), trainable=layers)
    name = slug(arm.name)
    return carry_out(
        training,
        plan,
        model,
        budget.images,
        seed=trial.seed,
        validate=budget.validate,
        fabric=budget.fabric,
        state_file=trial.folder / f"{name}.state.safetensors" if trial.folder else None,
        key=f"{trial.at.config}/{trial.number}",
        name=f"{name}-seed-{trial.number}",
        on_step=lambda task, i, n: progress(labelled(arm.name, trial.number, trial.seeds), i, n),
    )
