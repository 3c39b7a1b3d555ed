"""``semirobust recover``: how small may the robust prefix be for the whole to be robust after a little
training of the rest?
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from semirobust.core.errors import InputError
from semirobust.core.progress import Progress, begins, silent
from semirobust.experiments import build
from semirobust.experiments.folder import prepare_folder, save_run, write_stage
from semirobust.experiments.loggers import make_loggers
from semirobust.experiments.provenance import layer_entries, notes_on, settings_record
from semirobust.experiments.recipe import Recipe
from semirobust.experiments.recover_job import RecoverJob
from semirobust.experiments.recovered import smallest_prefix
from semirobust.experiments.run_lock import claims_out
from semirobust.experiments.started import names_settings, note_start
from semirobust.experiments.subject import Subject, check_split
from semirobust.procedures.harden import hardening
from semirobust.records.schema import About
from semirobust.records.store import AnyRecord

__all__ = ["Part", "recover_subject", "recover_trial"]

Part = Literal["references", "trials", "controls"]


@claims_out
@names_settings
def recover_subject(
    robust: Subject,
    normal: Subject,
    out: Path,
    *,
    parts: Sequence[Part] | None = None,
    devices: build.Devices = build.Devices(),
    progress: Progress = silent,
) -> list[AnyRecord]:
    """Run algorithm 1 at each cut of the recipe of ``robust`` and write a run folder.

    Args:
        robust, normal: f* and F.
        out: the folder.
        parts: ``references`` tests both, ``trials`` runs algorithm 1, ``controls`` its controls; None for the
            first two, and the third where the recipe asks for it.
        devices: where to compute.
        progress: told of every step.

    Returns:
        the records written: accuracies of F, f*, each semirobust network before and after, every epoch's
        accuracy, loss and rho_j, thresholds, bounds, seconds, and the smallest prefix that recovers.

    Raises:
        InputError: the two networks are not of one build, or a setting does not fit.
    """
    recipe = robust.recipe
    if normal.spec != robust.spec:
        raise InputError(
            "normal: expected a network of the same build as the robust one, and trained on the same data"
        )
    check_split(robust)
    check_split(
        replace(normal, recipe=recipe)
    )  # held out for both, or the normal suffix would know the images that decide
    settings = recipe.recover
    loggers = make_loggers(settings.log, out, recipe.plain())
    fabric = build.make_fabric(devices, settings.numerics.precision, loggers)
    build.launch(fabric)
    job = RecoverJob.of(robust, normal, recipe, fabric, out, progress)
    named = job.sizes
    sizes = tuple(named)
    for size in sizes or (1,):  # what does not fit is said before any work
        recovery = job.recovery(size)
        recovery.suffix(job.layers)
        hardening(job.robust, job.images, recovery.method.of(size), recovery.training)
    prepare_folder(out, "recover")
    note_start(out, recipe)
    begins("recover")
    parts = parts or ("references", "trials", *(("controls",) if recipe.recover.controls else ()))
    records: list[AnyRecord] = [
        settings_record(recipe, "recover", job.at),
        *layer_entries(job.robust, job.layers, job.at),
        *notes_on(_counted(named, recipe), job.at),
    ]
    if "references" in parts:
        records += job.tested(job.normal, About(arm="normal")) + job.tested(
            job.robust, About(arm="robust"), rho=True
        )
    if "trials" in parts:
        found, more = job.all_cuts(sizes)
        examples, classes = len(job.judging or job.deciding), len(job.deciding.classes)
        records += [
            *more,
            *smallest_prefix(found, len(job.layers), recipe, job.at, examples=examples, classes=classes),
        ]
        sizes = sizes or tuple(found)
    if "controls" in parts:
        records += job.controls(sizes)
    if fabric.is_global_zero:
        save_run(out, job.best or job.robust, robust.spec, recipe, "recover")
        write_stage(out, "1-recover", records)
    fabric.barrier()
    return records


def recover_trial(
    robust: Subject,
    normal: Subject,
    out: Path,
    size: int,
    number: int,
    *,
    devices: build.Devices = build.Devices(),
    progress: Progress = silent,
) -> None:
    """One trial at one cut, which :func:`recover_subject` then finds done."""
    recipe = robust.recipe
    loggers = make_loggers(recipe.recover.log, out, recipe.plain())
    fabric = build.make_fabric(devices, recipe.recover.numerics.precision, loggers)
    job = RecoverJob.of(robust, normal, recipe, fabric, out, progress)
    job.trial(next(own for own, name in job.sizes.items() if name == size), number)


def _counted(named: Mapping[int, int], recipe: Recipe) -> list[str]:
    """What the sizes of suffixes mean where projections count as layers."""
    if not recipe.recover.recovery.count_projections:
        return []
    return [
        f"a suffix of {name} layers, projections counted as the paper's code counts them, is one of {own}"
        f" {'layer' if own == 1 else 'layers'} with their projections"
        for own, name in named.items()
    ]
