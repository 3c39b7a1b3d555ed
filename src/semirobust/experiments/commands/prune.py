"""``semirobust prune``: how many of the weights can go?"""

from dataclasses import replace
from pathlib import Path

from semirobust.core.progress import Progress, silent
from semirobust.experiments import build
from semirobust.experiments.comparison import labelled
from semirobust.experiments.inputs import Inputs
from semirobust.experiments.model_spec import at_its_size, fresh_spec
from semirobust.experiments.provenance import notes_on
from semirobust.experiments.prune_job import PruneJob
from semirobust.experiments.recipe import Recipe
from semirobust.experiments.run_lock import claims_out
from semirobust.experiments.started import names_settings
from semirobust.experiments.subject import Subject, check_fits, check_out, check_split
from semirobust.records.store import AnyRecord

__all__ = ["prune_fresh", "prune_part", "prune_subject"]


@claims_out
@names_settings
def prune_fresh(
    recipe: Recipe,
    out: Path,
    *,
    seeds: int = 1,
    inputs: Inputs | None = None,
    devices: build.Devices = build.Devices(),
    progress: Progress = silent,
) -> list[AnyRecord]:
    """As :func:`prune_subject`, from scratch; ``inputs`` are the recipe's images, if loaded already."""
    recipe = at_its_size(recipe)
    inputs = inputs.under(recipe) if inputs is not None else Inputs.of(recipe)
    spec = fresh_spec(recipe.model, inputs.splits)
    check_fits(model := spec.build(recipe.seed), inputs.splits)
    return PruneJob.of(recipe, spec, None, inputs.fitting(model), out, devices, progress).run(seeds)


@claims_out
@names_settings
def prune_subject(
    subject: Subject,
    out: Path,
    *,
    seeds: int = 1,
    devices: build.Devices = build.Devices(),
    progress: Progress = silent,
) -> list[AnyRecord]:
    """Prune a trained model level by level and evaluate each; the sparsest that is robust enough becomes the
    run's model.

    Returns:
        the records written: for each level its density, accuracies and epochs.

    Raises:
        InputError: ``out`` is the folder of the model itself, or a setting does not fit.
    """
    check_out(subject, out, "prune")
    check_split(subject)
    job = PruneJob.of(subject.recipe, subject.spec, subject.model, subject.inputs, out, devices, progress)
    job = replace(job, notes=[*job.notes, *notes_on(subject.notes, job.at)])
    return job.run(seeds)


def prune_part(
    recipe: Recipe,
    out: Path,
    number: int,
    arm: str,
    *,
    subject: Subject | None = None,
    seeds: int = 1,
    devices: build.Devices = build.Devices(),
    progress: Progress = silent,
) -> None:
    """All levels of one arm and seed, which the other two then find done; without ``subject`` anew."""
    if subject is None:
        recipe = at_its_size(recipe)
        inputs = Inputs.of(recipe)
        spec = fresh_spec(recipe.model, inputs.splits)
        inputs, model = inputs.fitting(spec.build(recipe.seed)), None
    else:
        inputs, spec, model = subject.inputs, subject.spec, subject.model
    job = PruneJob.of(recipe, spec, model, inputs, out, devices, progress)
    job.levels(arm, job.arms()[arm], number, labelled(arm, number, seeds))
