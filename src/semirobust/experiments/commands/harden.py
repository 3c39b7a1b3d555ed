"""``semirobust harden``: make a trained model more robust by training the part that matters."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from semirobust.core.errors import InputError
from semirobust.core.files import make_folder
from semirobust.core.progress import Progress, begins, silent
from semirobust.core.seed import as_seed
from semirobust.evaluation.proportion import Summary
from semirobust.experiments import build
from semirobust.experiments.commands.evaluate import accuracy_records
from semirobust.experiments.commands.profile import layer_scores, score_records
from semirobust.experiments.commands.train import train
from semirobust.experiments.comparison import (
    Arm,
    Budget,
    Trial,
    budget_of,
    controls_of,
    run_arms,
    without_control,
)
from semirobust.experiments.folder import prepare_folder, save_run, write_stage
from semirobust.experiments.kept_weights import keep_arm
from semirobust.experiments.loggers import make_loggers
from semirobust.experiments.model_spec import named_again
from semirobust.experiments.pictures import example_pictures
from semirobust.experiments.provenance import layer_entries, notes_on, origin_of, settings_record
from semirobust.experiments.recipe import Recipe, read_recipe
from semirobust.experiments.run_files import LAST_FILE
from semirobust.experiments.run_lock import claims_out
from semirobust.experiments.started import check_method, names_settings, note_start
from semirobust.experiments.subject import (
    Subject,
    build_subject,
    check_out,
    check_same_classes,
    check_split,
)
from semirobust.experiments.verdict import verdict
from semirobust.layers.map import layer_map
from semirobust.layers.quiet import device_of
from semirobust.layers.transplant import transplant
from semirobust.methods import METHODS
from semirobust.methods.clat import CriticalFineTuning
from semirobust.methods.suffix import SuffixAdversarial
from semirobust.procedures.harden import hardening
from semirobust.records.schema import About, Finding, Origin, Topic
from semirobust.records.store import AnyRecord
from semirobust.zoo.base.named import from_zoo, source_of

__all__ = ["handed_over", "harden_seed", "harden_subject", "train_base"]

_NEXT_TO_NOTHING = 0.1  # of the images, the upper end of the interval


@claims_out
@names_settings
def harden_subject(
    subject: Subject,
    out: Path,
    *,
    seeds: int = 1,
    devices: build.Devices = build.Devices(),
    progress: Progress = silent,
    say: Callable[[str], None] = lambda text: None,
) -> list[AnyRecord]:
    """Profile a model, harden it, and evaluate it before and after; with controls at equal budget where the
    recipe asks.

    The weights of the method's best epoch (of the first seed) become the model of the run folder ``out``.

    Args:
        say: is told before any training what speaks against it.

    Returns:
        the records written.

    Raises:
        InputError: ``out`` is the folder of the model itself, or a setting does not fit.
    """
    recipe = subject.recipe
    check_out(subject, out, "harden")
    if seeds < 1:
        raise InputError(f"seeds: expected at least 1, got {seeds}")
    check_split(subject)
    fabric = build.make_fabric(
        devices, recipe.harden.numerics.precision, make_loggers(recipe.harden.log, out, recipe.plain())
    )
    build.launch(fabric)
    start = copy.deepcopy(subject.model).to(fabric.device)
    at = origin_of(recipe, "harden", device=fabric.device)
    budget = budget_of(recipe, subject.inputs, fabric)
    _take_suffix(start, subject, budget)
    arms = _arms(recipe, start, budget)
    check_method(out, recipe)
    prepare_folder(out, "harden")
    note_start(out, recipe)
    begins("harden")
    records: list[AnyRecord] = [
        settings_record(
            recipe, "harden", at, start=subject.folder.name if subject.folder else subject.spec.name
        ),
        *([Finding(topic=Topic.DATA, text=budget.note, origin=at)] if budget.note else []),
        *notes_on(subject.notes, at),
        *notes_on(_missing_controls(recipe), at),
        *_profile(start, budget, recipe, at, progress),
    ]
    attacks, evaluation = budget.attacks, as_seed(recipe.seed) / "evaluate"
    before, summary = accuracy_records(
        start, budget.test, attacks, at, seed=evaluation, processes=budget.processes, progress=progress
    )
    for text in (doubts := _of_standard(recipe, summary)):
        say(text)
    records += notes_on(doubts, at)
    for number in range(seeds):
        records += [_of_start(record, number) for record in before]
        found, models = run_arms(
            start, arms, budget, _trial(recipe, at, number, seeds, out), progress=progress
        )
        records += found
        if fabric.is_global_zero:
            for name, model in models.items():
                if (name, number) != (arms[0].name, 0):  # which is the network of the run
                    keep_arm(out, model, name, number, at.config)
        if number == 0 and fabric.is_global_zero:
            save_run(out, models[arms[0].name], subject.spec, recipe, "harden")
            records += example_pictures(
                models[arms[0].name], budget.test, attacks[-1], recipe.evaluate.pictures, at, seed=evaluation
            )
    records += verdict(
        records, arms[0].name, ["start", *(arm.name for arm in arms[1:])], attacks[-1].name, at
    )
    if fabric.is_global_zero:
        write_stage(out, "1-harden", records)
    return records


def _trial(recipe: Recipe, at: Origin, number: int, seeds: int, out: Path) -> Trial:
    """One seed of a call, and the folder of what it keeps."""
    seed, folder = as_seed(recipe.seed + number), out / f"seed-{number}"
    make_folder(folder)
    at = at.model_copy(update={"seed": str(seed)})
    return Trial(seed / "harden", number, as_seed(recipe.seed) / "evaluate", at, folder, seeds)


def harden_seed(
    subject: Subject,
    out: Path,
    number: int,
    *,
    seeds: int = 1,
    devices: build.Devices = build.Devices(),
    progress: Progress = silent,
) -> None:
    """The trainings and evaluations of one seed, which :func:`harden_subject` then finds done."""
    recipe = subject.recipe
    loggers = make_loggers(recipe.harden.log, out, recipe.plain())
    fabric = build.make_fabric(devices, recipe.harden.numerics.precision, loggers)
    start = copy.deepcopy(subject.model).to(fabric.device)
    budget = budget_of(recipe, subject.inputs, fabric)
    _take_suffix(start, subject, budget)
    at = origin_of(recipe, "harden", device=fabric.device)
    run_arms(
        start, _arms(recipe, start, budget), budget, _trial(recipe, at, number, seeds, out), progress=progress
    )


@claims_out
def train_base(
    recipe_file: Path,
    changes: Mapping[str, Any],
    out: Path,
    *,
    devices: build.Devices = build.Devices(),
    progress: Progress = silent,
) -> Path:
    """Train what is to be hardened by the section ``train`` of a recipe, into the folder ``base`` of ``out``;
    gives that folder.

    A base that is there already, or was interrupted, is taken up again.
    """
    recipe = read_recipe(recipe_file, changes)
    if from_zoo(recipe.model.name) and not source_of(recipe.model.name)[0].has_weights:
        raise InputError(
            "model: a factory's model is trained with `semirobust train` first, then named with --from and"
            " --model"
        )
    prepare_folder(out, "harden")
    make_folder(out / "base")
    trained = train(recipe, out / "base", devices=devices, progress=progress)
    if trained.stopped:
        raise InputError(f"base: {trained.stopped}")
    return out / "base"


def handed_over(subject: Subject) -> Path | None:
    """The last epoch of a base that ends in the middle of a schedule which goes on; None where none does.

    Raises:
        InputError: the base was not trained as a part of that schedule.
    """
    recipe, base, folder = subject.recipe, subject.trained, subject.folder
    if not recipe.harden.one_schedule:
        return None
    if base is None or folder is None or not (folder / LAST_FILE).is_file():
        raise InputError(
            "harden.one_schedule: expected a run folder that `semirobust train` left, whose last epoch goes"
            " on; got none"
        )
    if base.train.training != recipe.train.training:
        first = recipe.train.training.epochs
        raise InputError(
            f"harden.one_schedule: {folder} was not trained as the first {first} of"
            f" {first + recipe.harden.training.epochs} epochs of one schedule; train it again with the same"
            " recipe and --set harden.one_schedule=true"
        )
    return folder / LAST_FILE


def _of_standard(recipe: Recipe, before: Summary) -> tuple[str, ...]:
    """What to say of CLAT where it starts from a network that withstands next to nothing."""
    name, robust = list(before.items())[-1]
    if not isinstance(recipe.harden.method, CriticalFineTuning) or robust.high >= _NEXT_TO_NOTHING:
        return ()
    return (
        f"before hardening {robust:.1%} withstand {name}; CLAT is made for adversarially trained networks and"
        " adds little to others: train it so first (semirobust train), or use the method adversarial",
    )


def _take_suffix(start: nn.Module, subject: Subject, budget: Budget) -> None:
    """Put the last layers of another network into ``start`` where the recipe says so (algorithm 1, step
    2).
    """
    recipe = subject.recipe
    if not recipe.harden.suffix_from:
        return
    method = recipe.harden.method
    if not isinstance(method, SuffixAdversarial):
        name = METHODS.name_of(method)
        raise InputError(f"harden.suffix_from: expected with the method suffix, got {name}")
    named, changes = named_again(subject.spec)
    changes = {**changes, "data.root": recipe.data.root}
    donor = build_subject(recipe.harden.suffix_from, named, None, None, changes)
    check_same_classes(subject, donor, "harden.suffix_from")
    x, _ = budget.images.batch(torch.tensor([0]), device_of(start, torch.device("cpu")))
    layers = layer_map(start, x)
    transplant(start, donor.model, layers, method.suffix(layers))


def _arms(recipe: Recipe, start: nn.Module, budget: Budget) -> Sequence[Arm]:
    """The method and its controls, planned once so that a layer or k out of range is refused before any
    work.
    """
    method, name = recipe.harden.method, METHODS.name_of(recipe.harden.method)
    arms = controls_of(name, method) if recipe.harden.controls else [Arm(name, method)]
    for arm in arms:
        if arm.method is not None:
            hardening(start, budget.images, arm.method, budget.training)
    return arms


def _missing_controls(recipe: Recipe) -> list[str]:
    """What the reader should know of controls that were asked for and cannot be."""
    method = recipe.harden.method
    said = without_control(METHODS.name_of(method), method) if recipe.harden.controls else ""
    return [said] if said else []


def _profile(
    start: nn.Module, budget: Budget, recipe: Recipe, at: Origin, progress: Progress
) -> list[AnyRecord]:
    images, seed = budget.test.first(recipe.profile.examples), as_seed(recipe.seed) / "profile"
    measures, processes = recipe.profile.measures, budget.processes
    layers, scores = layer_scores(
        start, images, measures, budget.attack, seed=seed, processes=processes, progress=progress
    )
    return [*layer_entries(start, layers, at), *score_records(scores, at, About(arm="start"))]


def _of_start(record: AnyRecord, seed: int) -> AnyRecord:
    """The record of the start as one of a seed, so that each seed has what it is compared with."""
    return record.model_copy(update={"about": replace(record.about, arm="start", seed=seed)})
