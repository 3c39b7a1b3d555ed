"""``semirobust evaluate``: accuracy of a model, clean and under attack."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from semirobust.attacks import AbstractAttack
from semirobust.attacks.apgd import APGD
from semirobust.attacks.base.attack import AbstractBallAttack
from semirobust.attacks.fgsm import FGSM
from semirobust.attacks.pgd import PGD
from semirobust.core.errors import InputError
from semirobust.core.files import delete
from semirobust.core.outputs import noting
from semirobust.core.processes import ALONE, Processes
from semirobust.core.progress import Progress, begins, silent
from semirobust.core.seed import Seed, as_seed
from semirobust.data.base.images import Images, Splits
from semirobust.evaluation.accuracy import Evaluation, evaluate
from semirobust.evaluation.check import Check
from semirobust.evaluation.proportion import Accuracy, Proportion, Summary
from semirobust.evaluation.resume import without_damaged
from semirobust.evaluation.sanity import sanity_checks
from semirobust.evaluation.sweep import Sweep, sweep
from semirobust.evaluation.transfer import Transfer, transfer
from semirobust.experiments import build
from semirobust.experiments.folder import keep_network, write_stage
from semirobust.experiments.identity import WEIGHTS, check_same_network
from semirobust.experiments.pictures import example_pictures
from semirobust.experiments.provenance import data_notes, notes_on, origin_of, settings_record
from semirobust.experiments.recipe import Recipe
from semirobust.experiments.run_lock import claims_out
from semirobust.experiments.subject import Subject, check_fits
from semirobust.fast.policy import Fast
from semirobust.layers.quiet import device_of
from semirobust.records.schema import About, Finding, Number, Origin, Quantity, Topic
from semirobust.records.store import AnyRecord

__all__ = [
    "Evaluated",
    "accuracy_records",
    "attacks_of",
    "curve_records",
    "evaluate_subject",
    "evaluation_records",
]


_UNCHECKED = "no sanity checks were run, so nothing speaks for the attacks but their numbers"


@dataclass(frozen=True)
class Evaluated:
    """What ``semirobust evaluate`` found.

    Attributes:
        accuracies: clean, under each attack, and under all together.
        threats: attack -> what it was allowed to do.
        checks: of the evaluation itself.
        notes: what a reader must know of the numbers.
        sweep: the security curve, where radii were asked for.
        transfer: the matrix over the models, where others were given.
    """

    accuracies: Sequence[Accuracy]
    threats: Mapping[str, str]
    checks: list[Check]
    sweep: Sweep | None = None
    transfer: Transfer | None = None
    notes: tuple[str, ...] = ()


@claims_out
def evaluate_subject(
    subject: Subject,
    out: Path | None,
    *,
    others: Mapping[str, nn.Module] | None = None,
    devices: build.Devices = build.Devices(),
    progress: Progress = silent,
) -> Evaluated:
    """Evaluate on the first test images of the recipe's data, and check the evaluation; writes records where
    ``out`` is given.

    There an interrupted evaluation is also taken up again. ``others`` are models for a transfer matrix with
    this one, by name."""
    recipe = subject.recipe
    splits = subject.inputs.splits
    test = splits.test.first(recipe.evaluate.examples)
    fabric = build.make_fabric(devices, "32-true")
    build.launch(fabric)
    model = subject.model.to(fabric.device)
    at = origin_of(recipe, "evaluate", device=fabric.device)
    seed = as_seed(recipe.seed) / "evaluate"
    attacks = attacks_of(recipe)
    own = subject.folder.name if subject.folder else recipe.model.name
    models = {"this" if own in (others or {}) else own: model}
    models |= {name: other.to(fabric.device) for name, other in (others or {}).items()}
    plan = _Plan.of(recipe, attacks, models, splits)  # what cannot be done is said before any work
    weights = {} if out is None else {WEIGHTS: check_same_network(out, model, recipe.model.name)}
    state = None if out is None else out / f"evaluate-{at.config}.safetensors"
    damaged = without_damaged(state) if state is not None and fabric.is_global_zero else []
    fabric.barrier()
    begins("evaluate")
    with noting():  # whether clean accuracy is plausible has been looked at
        result = evaluate(
            model,
            *test.all(),
            attacks,
            seed=seed,
            fast=recipe.evaluate.fast,
            worst_case=not recipe.evaluate.each,
            state=state,
            processes=Processes(fabric),
            progress=progress,
        )
    new = (note for note in result.notes if note not in subject.notes)
    unchecked = [] if recipe.evaluate.checks else [_UNCHECKED]
    found = Evaluated(
        result.accuracies(),
        result.threats,
        _checked(model, test, recipe, result, seed, progress),
        plan.sweep(model, test, recipe, seed, progress),
        plan.transfer(models, test, seed, progress),
        (*_rejections(result), *new, *damaged, *unchecked),
    )
    if out is not None and fabric.is_global_zero:
        notes = [
            *data_notes(splits, at),
            *notes_on([note for note in subject.notes if note not in result.notes], at),
            *notes_on([*damaged, *unchecked], at),
            Finding(topic=Topic.INFERENCE, text=f"searched with the model {result.inference}", origin=at),
        ]
        pictures = example_pictures(model, test, attacks[-1], recipe.evaluate.pictures, at, seed=seed)
        records = [*evaluation_records(result, at), *curve_records(found, at)]
        settings = settings_record(recipe, "evaluate", at, **weights, outputs=len(test.classes))
        said = write_stage(out, "3-evaluate", [settings, *records, *pictures, *notes])
        keep_network(out, model, subject.spec, recipe, "evaluate", subject.trained)
        found = replace(found, notes=(*found.notes, said) if said else found.notes)
    if state is not None:
        fabric.barrier()
        for file in state.parent.glob(f"{state.stem}*{state.suffix}"):
            delete(file)
    return found


@dataclass(frozen=True)
class _Plan:
    """The attacks of the security curve and of the transfer matrix; none where there is nothing to draw."""

    balls: list[AbstractBallAttack]
    made: AbstractAttack | None

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        attacks: Sequence[AbstractAttack],
        models: Mapping[str, nn.Module],
        splits: Splits,
    ) -> "_Plan":
        balls = (
            [attack for attack in attacks if isinstance(attack, AbstractBallAttack)]
            if recipe.evaluate.sweep
            else []
        )
        if recipe.evaluate.sweep and not (balls and any(recipe.evaluate.sweep)):
            raise InputError(
                "sweep: expected a radius above 0, and an attack within a norm ball, such as pgd-20"
            )
        for radius in recipe.evaluate.sweep:  # refused where it holds every image
            replace(recipe.threat, epsilon=radius)
        if len(models) < 2:
            return cls(balls, None)
        for other in models.values():
            check_fits(other, splits)
        # Ensembles and searches for the smallest change stop at the boundary, and transfer badly.
        strong: list[AbstractAttack] = [attack for attack in attacks if isinstance(attack, FGSM | PGD | APGD)]
        single = strong or [attack for attack in attacks if len(attack.parts) == 1]
        if not single:
            raise InputError(
                "transfer: expected a single attack among --attacks, such as pgd-20; got only ensembles"
            )
        return cls(balls, max(single, key=lambda attack: attack.cost))

    def sweep(
        self, model: nn.Module, test: Images, recipe: Recipe, seed: Seed, progress: Progress
    ) -> Sweep | None:
        if not self.balls:
            return None
        x, y = test.all()
        fast = recipe.evaluate.fast
        return sweep(model, x, y, self.balls, recipe.evaluate.sweep, seed=seed, fast=fast, progress=progress)

    def transfer(
        self, models: Mapping[str, nn.Module], test: Images, seed: Seed, progress: Progress
    ) -> Transfer | None:
        if self.made is None:
            return None
        return transfer(models, *test.all(), self.made, seed=seed / "transfer", progress=progress)


def curve_records(found: Evaluated, at: Origin) -> list[AnyRecord]:
    """The checks, the security curve and the transfer matrix as records."""
    records: list[AnyRecord] = [_finding(check, at) for check in found.checks]
    if found.sweep is not None:
        under = About(attack=" and ".join(found.sweep.attacks), norm=found.sweep.norm)
        curve = zip(found.sweep.epsilons, found.sweep.accuracies, found.sweep.left_open, strict=True)
        for epsilon, share, left in curve:
            here = replace(under, epsilon=epsilon)
            records.append(_number(Quantity.ACCURACY_BY_EPSILON, share, here, at))
            if left:
                records.append(_number(Quantity.UNDECIDED_BY_EPSILON, Proportion(left, share.n), here, at))
    if found.transfer is not None:
        for source, target in found.transfer.correct:
            here = About(attack=found.transfer.attack, source=source, target=target)
            share = found.transfer.accuracy(source, target)
            records.append(_number(Quantity.TRANSFER_ACCURACY, share, here, at))
            if left := found.transfer.left_open(source, target):
                records.append(_number(Quantity.UNDECIDED_TRANSFER, Proportion(left, share.n), here, at))
    return records


def _number(quantity: Quantity, share: Proportion, about: About, at: Origin) -> Number:
    return Number(
        quantity=quantity,
        value=float(share),
        n=share.n,
        low=share.low,
        high=share.high,
        about=about,
        origin=at,
    )


def _checked(
    model: nn.Module, test: Images, recipe: Recipe, found: Evaluation, seed: Seed, progress: Progress
) -> list[Check]:
    if recipe.evaluate.checks == 0:
        return []
    device = device_of(model, torch.device("cpu"))
    x, y = test.first(min(recipe.evaluate.checks, len(test))).all(device)
    given: dict[str, Any] = {"evaluation": found, "seed": seed / "sanity", "progress": progress}
    return sanity_checks(model, x, y, recipe.threat.ball, **given)


def _finding(check: Check, at: Origin) -> Finding:
    return Finding(
        topic=Topic.CHECK,
        text=check.text,
        level="warning" if check.passed is None else "good" if check.passed else "error",
        about=About(check=check.name),
        origin=at,
    )


def attacks_of(recipe: Recipe) -> list[AbstractAttack]:
    """The attacks that a recipe evaluates with."""
    return list(recipe.evaluate.attacks)


def accuracy_records(
    model: nn.Module,
    images: Images,
    attacks: Sequence[AbstractAttack],
    at: Origin,
    *,
    seed: Seed,
    about: About = About(),
    fast: Fast = "auto",
    processes: Processes = ALONE,
    progress: Progress = silent,
) -> tuple[list[AnyRecord], Summary]:
    """Evaluate and put each accuracy with its interval into a record."""
    x, y = images.all()
    with noting():
        result = evaluate(model, x, y, attacks, seed=seed, fast=fast, processes=processes, progress=progress)
    return evaluation_records(result, at, about), result.summary()


def evaluation_records(result: Evaluation, at: Origin, about: About = About()) -> list[AnyRecord]:
    """Each accuracy of an evaluation with its interval, and what failed the final check."""
    records: list[AnyRecord] = []
    for found in result.accuracies():
        here = replace(
            about,
            attack=found.attack,
            cumulative=found.cumulative or None,
            threat=found.threat or None,
        )
        records.append(_number(Quantity.ACCURACY, found.value, here, at))
        if found.undecided:
            share = Proportion(found.undecided, found.value.n)
            records.append(_number(Quantity.UNDECIDED, share, here, at))
    records += [
        Finding(topic=Topic.REJECTED, text=text, level="warning", about=about, origin=at)
        for text in _rejections(result)
    ]
    records += [
        Finding(topic=Topic.NOTE, text=note, level="warning", about=about, origin=at) for note in result.notes
    ]
    return records


def _rejections(result: Evaluation) -> list[str]:
    """A sentence for each attack that left what it was allowed."""
    return [
        f"{count} perturbations by {name} failed the final check and decide nothing"
        for name, count in result.rejected.items()
        if count
    ]
