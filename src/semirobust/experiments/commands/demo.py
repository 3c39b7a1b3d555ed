"""``semirobust demo``: the whole job on small real data."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import nn

from semirobust.core.checks import check_counts, check_counts_given
from semirobust.core.files import make_folder
from semirobust.core.progress import Progress, begins, silent
from semirobust.core.seed import as_seed
from semirobust.experiments import build
from semirobust.experiments.commands.evaluate import accuracy_records, attacks_of
from semirobust.experiments.commands.profile import layer_scores, score_records
from semirobust.experiments.comparison import Budget, Trial, controls_of, run_arms
from semirobust.experiments.folder import prepare_folder, save_run, write_stage
from semirobust.experiments.inputs import Inputs
from semirobust.experiments.model_spec import fresh_spec
from semirobust.experiments.parallel import for_each_seed
from semirobust.experiments.pictures import example_pictures
from semirobust.experiments.provenance import layer_entries, origin_of, settings_record
from semirobust.experiments.recipe import Recipe, read_recipe
from semirobust.experiments.run_files import REPORT_FILE
from semirobust.experiments.run_lock import claims_out
from semirobust.experiments.verdict import verdict
from semirobust.measures.criticality import Criticality
from semirobust.models.checkpoint import save_model
from semirobust.records.schema import About, Number, Quantity
from semirobust.records.store import AnyRecord
from semirobust.reports.page import write_report

__all__ = ["DEMO", "demo"]

# Short enough for a coffee. The attack of training has 5 steps; the one that judges has 20 and two restarts.
DEMO = {
    "data.source": "digits",
    "data.train": 900,
    "data.validation": 300,
    "model.name": "resnet8",
    "threat.epsilon": 0.15,
    "train.epochs": 6,
    "train.batch_size": 64,
    "train.attack": "pgd-5",
    "train.schedule": "constant",
    "harden.epochs": 8,
    "harden.batch_size": 64,
    "harden.schedule": "constant",
    "harden.attack": "pgd-5",
    "harden.learning_rate": 0.1,
    "harden.controls": True,
    "harden.options": {"weight": 0.2, "every": 4, "examples": 256},
    "evaluate.examples": 500,
    "evaluate.attacks": ["fgsm", "pgd-20x2"],
    "profile.examples": 500,
}


@claims_out
def demo(
    out: Path,
    *,
    seeds: int = 4,
    changes: Mapping[str, object] | None = None,
    workers: int | None = None,
    progress: Progress = silent,
) -> list[AnyRecord]:
    """Train a small residual network robustly, profile its layers, harden the critical one, compare with the
    controls.

    Everything is done once for each seed, so each number comes with its spread.

    Args:
        out: the run folder.
        seeds: how many times.
        changes: recipe entries to change.
        workers: processes; one for each core where None.
        progress: told of every step.

    Returns:
        the records, which are also written to ``out`` with the report and the checkpoints.
    """
    recipe = read_recipe(changes={**DEMO, **(changes or {})})
    check_counts(1, seeds=seeds)
    check_counts_given(1, workers=workers)
    prepare_folder(out, "demo")
    begins("demo")
    at = origin_of(recipe, "train", "harden", "evaluate")
    records: list[AnyRecord] = [settings_record(recipe, "demo", at, seeds=seeds)]
    for found in for_each_seed(partial(_seed, recipe, out), seeds, progress, workers):
        records += found
    trained = [r for r in records if isinstance(r, Number) and r.quantity is Quantity.BEST_EPOCH]
    arms = dict.fromkeys(str(record.about.arm) for record in trained)
    others = ["start", *(name for name in arms if name not in ("clat", "train"))]
    records += verdict(records, "clat", others, attacks_of(recipe)[-1].name, at)
    write_stage(out, "1-demo", records)
    write_report([out], out / REPORT_FILE, title="semirobust demo")
    return records


def _seed(recipe: Recipe, out: Path, number: int, progress: Progress) -> list[AnyRecord]:
    """One seed: its own initial weights, order of images and attacks; the images held out are the same for
    all.
    """
    inputs, settings = Inputs.of(recipe), recipe.train
    images, held_out = inputs.train, inputs.held_out
    seed = as_seed(recipe.seed + number)
    at = origin_of(recipe, "train", "harden", "evaluate", seed=seed)
    budget = Budget(
        images=images,
        training=replace(recipe.harden.training, attack=settings.training.attack),
        validate=settings.validation.on(held_out, settings.training.attack),
        validation_images=len(held_out),
        test=inputs.test.first(recipe.evaluate.examples),
        attacks=attacks_of(recipe),
    )
    spec = fresh_spec(recipe.model, inputs.splits)
    trained = settings.training(
        spec.build(recipe.seed + number),
        images,
        seed=seed / "train",
        validate=budget.validate,
        on_step=lambda task, i, n: progress(f"seed {number + 1}: adversarial training", i, n),
    )
    start = build.load_best(trained)
    records = build.log_records(trained, at, len(held_out), About(arm="train", seed=number))
    records += _profile(start, budget, recipe, number)
    trial = Trial(seed / "harden", number, seed / "evaluate", at)
    before, _ = accuracy_records(
        start,
        budget.test,
        budget.attacks,
        at,
        seed=trial.evaluation,
        about=About(arm="start", seed=number),
    )
    records += before
    arms = controls_of("clat", recipe.harden.method)
    found, models = run_arms(
        start, arms, budget, trial, progress=lambda task, i, n: progress(f"seed {number + 1}: {task}", i, n)
    )
    records += found
    make_folder(out / "checkpoints")
    save_model(start, out / "checkpoints" / f"start-{number}.safetensors")
    save_model(models["clat"], out / "checkpoints" / f"clat-{number}.safetensors")
    if number == 0:
        save_run(out, models["clat"], spec, recipe, "demo")
        records += example_pictures(
            models["clat"],
            budget.test,
            budget.attacks[-1],
            recipe.evaluate.pictures,
            at,
            seed=trial.evaluation,
        )
    return records


def _profile(start: nn.Module, budget: Budget, recipe: Recipe, number: int) -> list[AnyRecord]:
    seed = as_seed(recipe.seed + number)
    at = origin_of(recipe, "train", "profile", seed=seed)
    images = budget.test.first(recipe.profile.examples)
    layers, scores = layer_scores(start, images, [Criticality()], budget.attack, seed=seed / "profile")
    entries = layer_entries(start, layers, at) if number == 0 else []
    return [*entries, *score_records(scores, at, About(arm="start", seed=number))]
