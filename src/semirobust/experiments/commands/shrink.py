"""``semirobust prune --macs``: a network that is really smaller, trained again, and what that cost and
gained.
"""

import copy
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from semirobust.core.errors import InputError
from semirobust.core.processes import Processes
from semirobust.core.progress import Progress, begins, silent
from semirobust.core.seed import as_seed
from semirobust.cost.time import costs
from semirobust.data.base.images import Images
from semirobust.experiments import build
from semirobust.experiments.commands.evaluate import accuracy_records, attacks_of
from semirobust.experiments.folder import prepare_folder, save_run, write_stage
from semirobust.experiments.loggers import make_loggers
from semirobust.experiments.provenance import data_notes, origin_of, settings_record
from semirobust.experiments.run_lock import claims_out
from semirobust.experiments.started import names_settings, note_start
from semirobust.experiments.subject import Subject, check_out, check_split
from semirobust.layers.quiet import quiet
from semirobust.pruning.channels import listed
from semirobust.pruning.resize import resized
from semirobust.records.schema import About, Finding, Number, Origin, Quantity, Topic
from semirobust.records.store import AnyRecord
from semirobust.training.state_file import delete_state

__all__ = ["shrink_subject"]

_TIMED = 64  # images in the batch that is timed
_BEFORE, _CUT, _AFTER = "before", "channels removed", "trained again"


@claims_out
@names_settings
def shrink_subject(
    subject: Subject, out: Path, *, devices: build.Devices = build.Devices(), progress: Progress = silent
) -> list[AnyRecord]:
    """Remove channels until the recipe's fraction of MACs is left, train what remains, and compare.

    The smaller network becomes the model of the run folder ``out``.

    Returns:
        the records written: accuracies before, after the cut and after training; seconds, MACs,
            parameters, megabytes.

    Raises:
        InputError: ``out`` is the folder of the model itself, or a setting does not fit.
    """
    recipe, settings = subject.recipe, subject.recipe.prune
    check_out(subject, out, "prune")
    if settings.macs is None:
        raise InputError("prune.macs: expected the fraction of MACs that is to be left, got none")
    check_split(subject)
    fabric = build.make_fabric(
        devices, settings.numerics.precision, make_loggers(settings.log, out, recipe.plain())
    )
    build.launch(fabric)
    inputs, at, seed = subject.inputs, origin_of(recipe, "prune", device=fabric.device), as_seed(recipe.seed)
    images, held_out = inputs.train, inputs.held_out
    test, training = inputs.test.first(recipe.evaluate.examples), settings.training
    before = subject.model.to(fabric.device)
    channels = replace(settings.channels, macs=settings.macs, saliency=settings.lottery.saliency)
    kept: dict[str, str] = {}
    begins("prune")
    small = channels(before, images, training.attack, seed=seed / "channels", on_kept=kept.update)
    _check_returns(subject, small, test)
    prepare_folder(out, "prune")
    note_start(out, recipe)
    cut = copy.deepcopy(small)
    trained = training(
        small,
        images,
        seed=seed / "prune",
        validate=settings.validation.on(held_out, training.attack, fabric),
        fabric=fabric,
        state_file=out / "state.safetensors",
        key=at.config,
        on_step=progress,
    )
    small = build.load_best(trained)
    records: list[AnyRecord] = [settings_record(recipe, "prune", at), *data_notes(inputs.splits, at)]
    if kept:
        text = f"{listed(kept)} kept their widths, so the others lost more"
        records.append(Finding(topic=Topic.NOTE, text=text, origin=at))
    records += build.log_records(
        trained, at, min(len(held_out), settings.validation.validation_examples), About(arm=_AFTER, seed=0)
    )
    for name, model in ((_BEFORE, before), (_CUT, cut), (_AFTER, small)):
        records += accuracy_records(
            model,
            test,
            attacks_of(recipe),
            at,
            seed=seed / "evaluate",
            about=About(arm=name, seed=0),
            processes=Processes(fabric),
            progress=progress,
        )[0]
    records += _cost_records(before, small, test.first(_TIMED).all(fabric.device)[0], at)
    if fabric.is_global_zero:
        save_run(out, small, replace(subject.spec, smaller=True), recipe, "prune")
        write_stage(out, "1-prune", records)
        delete_state(out / "state.safetensors")
    fabric.barrier()  # what comes next may read these files
    return records


def _cost_records(before: nn.Module, small: nn.Module, x: Tensor, at: Origin) -> list[AnyRecord]:
    """What each of the two takes and holds; of the time's ratio also the least and the most of all turns."""
    found: list[AnyRecord] = []
    for name, cost in costs({_BEFORE: before, _AFTER: small}, x).items():
        values = {
            Quantity.INFERENCE_SECONDS: cost.seconds,
            Quantity.INFERENCE_RATIO: cost.ratio,
            Quantity.INFERENCE_RATIO_MIN: cost.low,
            Quantity.INFERENCE_RATIO_MAX: cost.high,
            Quantity.MACS: cost.macs,
            Quantity.PARAMETERS: cost.parameters,
            Quantity.MEGABYTES: cost.megabytes,
        }
        about = About(arm=name, batch=len(x))
        found += [Number(quantity=q, value=v, about=about, origin=at) for q, v in values.items()]
    return found


def _check_returns(subject: Subject, small: nn.Module, test: Images) -> None:
    """Before any training: the smaller network must come back from its weights, or its run folder could not
    be read.
    """
    x, _ = test.first(2).all(next(small.parameters()).device)
    with quiet(small), torch.no_grad():
        try:
            again = resized(subject.model, small.state_dict()).eval()
            same = torch.allclose(again(x), small(x), rtol=1e-4, atol=1e-5)
        except (RuntimeError, ValueError):
            same = False
    if not same:
        raise InputError(
            "model: once smaller it cannot be built again from its weights (layers that are cut in other"
            " ways)"
        )
