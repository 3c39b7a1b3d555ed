"""``semirobust train``: a model from scratch."""

from pathlib import Path

import torch

from semirobust.core.errors import InputError
from semirobust.core.progress import Progress, begins, silent
from semirobust.core.seed import as_seed
from semirobust.experiments import build
from semirobust.experiments.folder import prepare_folder, save_run, write_stage
from semirobust.experiments.inputs import Inputs
from semirobust.experiments.loggers import make_loggers
from semirobust.experiments.model_spec import at_its_size, fresh_spec, has_own_weights
from semirobust.experiments.provenance import data_notes, layer_entries, origin_of, settings_record
from semirobust.experiments.recipe import Recipe
from semirobust.experiments.run_files import LAST_FILE
from semirobust.experiments.run_lock import claims_out
from semirobust.experiments.started import names_settings, note_start
from semirobust.experiments.subject import check_fits
from semirobust.layers.map import layer_map
from semirobust.models.checkpoint import save_model
from semirobust.records.schema import About, Number, Quantity
from semirobust.records.store import AnyRecord
from semirobust.training.training import Trained

__all__ = ["train"]


@claims_out
@names_settings
def train(
    recipe: Recipe,
    out: Path,
    *,
    inputs: Inputs | None = None,
    devices: build.Devices = build.Devices(),
    progress: Progress = silent,
) -> Trained:
    """Train the model of a recipe and write its run folder; a run that was interrupted there goes on.

    ``inputs`` are the recipe's images, where they are loaded already.

    ``model.safetensors`` holds the epoch that validated best, ``last.safetensors`` the last one.
    """
    if recipe.model.checkpoint_key:
        raise InputError("model.checkpoint_key: train reads no file of weights; leave it out")
    recipe = at_its_size(recipe)
    inputs = inputs.under(recipe) if inputs is not None else Inputs.of(recipe)
    settings, seed = recipe.train, as_seed(recipe.seed)
    names = (*settings.log, *(["tensorboard"] if settings.tensorboard else []))
    loggers = make_loggers(names, out, recipe.plain())
    fabric = build.make_fabric(devices, settings.numerics.precision, loggers)
    build.launch(fabric)
    spec = fresh_spec(recipe.model, inputs.splits)
    model = spec.build(recipe.seed, own_weights=has_own_weights(recipe.model, default=False))
    at = origin_of(recipe, "train", device=fabric.device)
    check_fits(model, inputs.splits)
    inputs = inputs.fitting(model)
    images, held_out = inputs.train, inputs.held_out
    prepare_folder(out, "train")
    note_start(out, recipe)
    begins("train")
    trained = settings.training(
        model,
        images,
        seed=seed / "train",
        validate=settings.validation.on(held_out, settings.training.attack, fabric),
        fabric=fabric,
        state_file=out / "state.safetensors",
        key=at.config,
        on_step=progress,
    )
    if fabric.is_global_zero:
        save_model(trained.model, out / LAST_FILE, {"stage": "train"})
        model = build.load_best(trained)
        save_run(out, model, spec, recipe, "train")
        x, _ = images.batch(torch.tensor([0]), fabric.device)
        records: list[AnyRecord] = [
            settings_record(recipe, "train", at, images=len(images), validation_images=len(held_out)),
            *layer_entries(model, layer_map(model, x), at),
            Number(quantity=Quantity.PARAMETERS, value=sum(p.numel() for p in model.parameters()), origin=at),
            *build.log_records(
                trained, at, min(len(held_out), settings.validation.validation_examples), About(arm="train")
            ),
        ]
        records += data_notes(inputs.splits, at)
        write_stage(out, "1-train", records)
    fabric.barrier()  # what comes next may read these files
    return trained
