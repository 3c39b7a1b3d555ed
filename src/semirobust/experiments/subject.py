"""The model that a command works on."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from semirobust.core.checks import check_logits
from semirobust.core.errors import InputError
from semirobust.core.tensor_files import read_tensors
from semirobust.core.text import first_line
from semirobust.data.base.images import Splits
from semirobust.experiments.folder import MODEL_FILE, SETTINGS_FILE, is_run, read_run
from semirobust.experiments.inputs import Inputs
from semirobust.experiments.model_spec import ModelSpec, spec_for
from semirobust.experiments.recipe import Recipe, read_recipe
from semirobust.layers.quiet import device_of, quiet
from semirobust.models.base.checkpoint import load_checkpoint
from semirobust.pruning.resize import resized

__all__ = ["Subject", "build_subject", "check_fits", "check_out", "check_split"]


@dataclass(frozen=True)
class Subject:
    """A model that a command works on.

    Attributes:
        model: the module, in eval mode.
        spec: how it was built.
        recipe: the settings it was trained with, or those of the command.
        folder: its run folder; None for a model named otherwise.
        trained: the settings of that run; None likewise.
        inputs: the data of the recipe.
    """

    model: nn.Module
    spec: ModelSpec
    recipe: Recipe
    folder: Path | None
    trained: Recipe | None
    inputs: Inputs

    def under(self, recipe: Recipe) -> "Subject":
        """The same model under the settings of another recipe."""
        return replace(self, recipe=recipe, inputs=self.inputs.under(recipe))


def check_split(subject: Subject) -> None:
    """Raises ``InputError`` where images that the model was trained on would be held out to judge it by."""
    if subject.trained is None:
        return
    own, now = subject.trained.data, subject.recipe.data
    for name in ("train", "validation", "split_seed"):
        before, after = getattr(own, name), getattr(now, name)
        if name == "split_seed":
            before = subject.trained.seed if before is None else before
            after = subject.recipe.seed if after is None else after
        if own.source == now.source and before != after:
            raise InputError(
                f"data.{name}: expected {before} as in the model's training, which saw other images; got"
                f" {after}"
            )


def check_out(subject: Subject, out: Path, task: str) -> None:
    """Raises ``InputError`` where a run would be written over the one it starts from."""
    if subject.folder is not None and subject.folder.resolve() == out.resolve():
        raise InputError(f"out: expected another folder than the run to {task}, got {out} for both")


def build_subject(
    target: str | None,
    model: str | None,
    checkpoint: Path | None,
    recipe_file: Path | None,
    changes: Mapping[str, Any],
) -> Subject:
    """The model that a command names.

    Args:
        target: a run folder, or the same as ``model``.
        model: an architecture or factory; needed beside a run folder only where the run's model came from a
            factory.
        checkpoint: the weights; those of the run by default.
        recipe_file, changes: settings on top of the run's.

    Raises:
        InputError: a folder that holds no run, a missing checkpoint, or a run of a factory that was not named
            again.
    """
    if target is not None and is_run(Path(target)):
        return _from_run(Path(target), model, checkpoint, recipe_file, changes)
    if target is not None and Path(target).is_dir():
        raise InputError(f"model: expected a run folder with {SETTINGS_FILE} at {target}, found none")
    if target is not None and model is not None:
        raise InputError(f"model: expected one name, got {target!r} and --model {model!r}")
    recipe = read_recipe(recipe_file, {**changes, "model.name": target or model})
    if checkpoint is None:
        raise InputError(
            f"checkpoint: expected the weights of {recipe.model.name} (--checkpoint FILE), or a run folder;"
            " got neither"
        )
    inputs = Inputs.of(recipe)
    spec = spec_for(recipe.model, inputs.splits)
    network = load_checkpoint(spec.build(), checkpoint)
    check_fits(network, inputs.splits)
    return Subject(network, spec, recipe, None, None, inputs)


def _from_run(
    folder: Path,
    model: str | None,
    checkpoint: Path | None,
    recipe_file: Path | None,
    changes: Mapping[str, Any],
) -> Subject:
    base, spec = read_run(folder)
    if ":" in spec.name and model != spec.name:
        raise InputError(
            f"{folder}: its model comes from {spec.name}; say so with --model {spec.name}, since code is"
            " never run from a file"
        )
    if model is not None and model != spec.name:
        raise InputError(f"model: {folder} holds a {spec.name}, got --model {model}")
    recipe = read_recipe(recipe_file, changes, base)
    if (
        recipe.data.split_seed is None and recipe.seed != base.seed
    ):  # the run's own split, whatever seed goes on from here
        recipe = read_recipe(None, {"data.split_seed": base.seed}, recipe)
    if recipe.data.classes != base.data.classes and recipe.data.source == base.data.source:
        raise InputError(
            f"data.classes: {folder} was trained with others, which number its outputs; leave them as"
            " they are"
        )
    if recipe.model != base.model:
        raise InputError(f"model: {folder} says how its model is built; leave out what builds another")
    file = checkpoint or folder / MODEL_FILE
    built = _built(folder, spec)
    network = resized(built, read_tensors(file)).eval() if spec.smaller else load_checkpoint(built, file)
    inputs = Inputs.of(recipe)
    check_fits(network, inputs.splits)
    return Subject(network, spec, recipe, folder, base, inputs)


def _built(folder: Path, spec: ModelSpec) -> nn.Module:
    """The network that a file speaks of, which may have any number in it."""
    try:
        return spec.build()
    except InputError:
        raise
    except (TypeError, ValueError, RuntimeError, OverflowError, MemoryError) as error:
        if ":" in spec.name:  # the user's own code
            raise
        raise InputError(
            f"{folder}: its settings describe no network that can be built ({first_line(error)})"
        ) from None


def check_fits(model: nn.Module, splits: Splits) -> None:
    """Run the model on two images, so that what does not fit is said before any work.

    Raises:
        InputError: it cannot run on images of this shape, or gives too few logits for the classes.
    """
    x, y = splits.train.batch(torch.arange(min(2, len(splits.train))))
    device = device_of(model, x.device)
    try:
        with quiet(model), torch.no_grad():
            logits = model(x.to(device))
    except InputError:
        raise
    except Exception as error:  # a model can fail in any way on images it was not made for
        raise InputError(
            f"model: cannot run on images of shape {splits.train.shape} ({first_line(error)})"
        ) from None
    check_logits(logits, torch.zeros_like(y, device=logits.device))
    if logits.shape[1] < len(splits.classes):
        raise InputError(
            f"model: expected logits for the {len(splits.classes)} classes of {splits.name}, got"
            f" {logits.shape[1]}"
        )
