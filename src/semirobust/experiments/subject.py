"""The model that a command works on."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from semirobust.core.checks import check_logits
from semirobust.core.errors import InputError
from semirobust.core.links import given_file, given_folder
from semirobust.core.nearest import meant
from semirobust.core.outputs import logits_of, notes, noting
from semirobust.core.refusals import no_weights
from semirobust.core.tensor_files import read_tensors
from semirobust.core.text import first_line
from semirobust.data.base.images import Splits
from semirobust.evaluation.plausible import looked_at, plausibility
from semirobust.experiments.class_names import IN_ORDER, given_names, names_beside, names_of
from semirobust.experiments.consent import check_typed
from semirobust.experiments.folder import (
    check_weights,
    is_run,
    read_run,
    trained_with,
)
from semirobust.experiments.identity import networks_in
from semirobust.experiments.inputs import Inputs
from semirobust.experiments.model_spec import ModelSpec, at_its_size, has_own_weights, named_again, spec_for
from semirobust.experiments.outputs import check_same_outputs, naming
from semirobust.experiments.recipe import Recipe, read_recipe
from semirobust.experiments.run_files import MODEL_FILE, SETTINGS_FILE
from semirobust.experiments.sections import Model
from semirobust.experiments.small import build_small
from semirobust.layers.quiet import device_of, quiet
from semirobust.models import MODELS
from semirobust.models.checkpoint import load_checkpoint
from semirobust.pruning.resize import resized
from semirobust.zoo.base.named import from_zoo, source_of

__all__ = [
    "Subject",
    "build_subject",
    "built_from",
    "check_fits",
    "check_out",
    "check_same_classes",
    "check_split",
    "labelled",
    "named_again",
]


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
        notes: what a reader of numbers of it should know.
    """

    model: nn.Module
    spec: ModelSpec
    recipe: Recipe
    folder: Path | None
    trained: Recipe | None
    inputs: Inputs
    notes: tuple[str, ...] = ()

    def under(self, recipe: Recipe) -> "Subject":
        """The same model under the settings of another recipe."""
        return replace(self, recipe=recipe, inputs=self.inputs.under(recipe).fitting(self.model))


def check_split(subject: Subject) -> None:
    """Raises ``InputError`` where images that the model was trained on would be held out to judge it by."""
    if subject.trained is None:
        return
    own, now = subject.trained.data, subject.recipe.data
    for name in ("train", "validation", "draw", "split_seed"):
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
        checkpoint: the weights; by default those of the run, or those that the model comes with.
        recipe_file, changes: settings on top of the run's.

    Raises:
        InputError: a folder that holds no run, a missing checkpoint, a run of a factory that was not named
            again, or a network whose outputs are not known to be the classes of the data.
    """
    checkpoint = None if checkpoint is None else given_file(checkpoint)
    if target is not None and Path(target).is_dir():
        target = str(given_folder(target))
    if target is not None and is_run(Path(target)):
        return _from_run(Path(target), model, checkpoint, recipe_file, changes)
    if target is not None and Path(target).is_dir():
        raise InputError(_no_run(Path(target)))
    if target is not None and model is not None:
        raise InputError(f"model: expected one name, got {target!r} and --model {model!r}")
    recipe = at_its_size(read_recipe(recipe_file, {**changes, "model.name": target or model}))
    if checkpoint is None:
        return _as_it_comes(recipe)
    inputs = Inputs.of(recipe)
    with noting():
        spec, network = _with_weights(recipe.model, inputs.splits, checkpoint)
        said = notes()
    spec = replace(spec, classes=spec.classes or names_beside(checkpoint))
    return labelled(Subject(network, spec, recipe, None, None, inputs, said))


def _no_run(folder: Path) -> str:
    """Why a folder cannot be started from, and what can be done."""
    name = next(iter(networks_in(folder).values()), None)
    if name is None:
        return f"model: expected a run folder with {SETTINGS_FILE} at {folder}, found none"
    return (
        f"model: {folder} holds records of {name} and no weights; give the network itself as it was given"
        f" there, --model {name} and where it came from a file --checkpoint FILE"
    )


def check_same_classes(subject: Subject, other: Subject, said: str) -> None:
    """Raises ``InputError`` where the outputs of two networks are not the same classes; ``said`` begins the
    sentence.
    """
    ours = subject.inputs.naming
    if ours is None:
        return
    spec, data = other.spec, subject.inputs.splits.name
    outputs = len(spec.classes) or spec.num_classes
    theirs = naming(spec.name, outputs, spec.classes, data, ours.classes)
    check_same_outputs(ours, theirs, said, _called(subject), _called(other))


def _called(subject: Subject) -> str:
    return subject.spec.name if subject.folder is None else str(subject.folder)


def _as_it_comes(recipe: Recipe) -> Subject:
    """A network of another library, or a user's, with the weights that it has there."""
    name = recipe.model.name
    if recipe.model.checkpoint_key:
        raise _no_file(recipe.model.checkpoint_key)
    if not from_zoo(name):
        known = name in MODELS.names() or "/" not in name
        more = meant(name, MODELS.names()) if known else f"; there is no folder {name}"
        raise InputError(no_weights(name, more))
    inputs = Inputs.of(recipe)
    own = has_own_weights(recipe.model)
    spec = spec_for(recipe.model, inputs.splits, own_outputs=own)
    network = spec.build(recipe.seed, own_weights=own)
    if own:
        note = f"{name} has the weights that {source_of(name)[0].holder}"
    elif source_of(name)[0].has_weights:
        note = f"{name} has random weights, since model.options.pretrained is false"
    else:
        note = f"{name} has the weights that it came with, since no --checkpoint was given"
    return labelled(Subject(network, spec, recipe, None, None, inputs, (note,)))


def _no_file(key: str) -> InputError:
    return InputError(
        f"model.checkpoint_key: {key!r} is of a file that --checkpoint names; give both or none"
    )


def _with_weights(model: Model, splits: Splits, checkpoint: Path) -> tuple[ModelSpec, nn.Module]:
    """A network with the weights of a file: one output for each class, or those that its library has."""
    specs = [spec_for(model, splits)]
    if has_own_weights(model):
        specs.append(spec_for(model, splits, own_outputs=True))
    reasons = []
    for spec in specs:
        try:
            return spec, load_checkpoint(spec.build(), checkpoint, key=model.checkpoint_key or None)
        except InputError as error:
            reasons.append(error)
    raise reasons[0]


def labelled(subject: Subject) -> Subject:
    """The subject with its images labelled by the outputs of its network."""
    splits, typed = subject.inputs.splits, subject.recipe.model.classes
    with noting():
        outputs, said = check_fits(subject.model, splits), notes()
    own = given_names(typed) if typed and typed != (IN_ORDER,) else subject.spec.classes
    spec = replace(subject.spec, classes=own)
    found = naming(spec.name, outputs, own, splits.name, splits.classes, in_order=typed == (IN_ORDER,))
    told = [found.note] if found.note else []
    if found.assumed and Path(subject.recipe.data.source).is_dir():
        order = ", ".join(f"{name} {i}" for i, name in enumerate(splits.classes[:3]))
        told.append(
            f"nothing says what the outputs of {spec.name} are called, so they are taken for the folders of"
            f" {splits.name} in the order of the alphabet ({order}{', ...' * (outputs > 3)}); --classes says"
            " another"
        )
    inputs = subject.inputs.named(found).fitting(subject.model)
    told += _odd(replace(subject, inputs=inputs))
    if not own or typed == (IN_ORDER,):  # what is made of it learns these
        spec = replace(spec, classes=names_of(splits.classes, outputs))
    return replace(
        subject,
        spec=spec,
        inputs=inputs,
        notes=(*subject.notes, *said, *told),
    )


def _odd(subject: Subject) -> tuple[str, ...]:
    """What is odd about clean accuracy on test images; a run on the data that it learned is as it is."""
    if subject.trained is not None and subject.trained.data.source == subject.recipe.data.source:
        return ()
    test = subject.inputs.test.first(subject.recipe.evaluate.examples)
    rows = looked_at(len(test), test.shape)
    return plausibility(subject.model, *test.batch(rows), test.classes)


def _from_run(
    folder: Path,
    model: str | None,
    checkpoint: Path | None,
    recipe_file: Path | None,
    changes: Mapping[str, Any],
) -> Subject:
    with noting():
        base, spec = read_run(folder)
        changed = notes()
    check_typed(folder, spec, model, changes)
    if model is not None and model != spec.name:
        raise InputError(f"model: {folder} holds a {spec.name}, got --model {model}")
    recipe = read_recipe(recipe_file, changes, base)
    # The run's own split, whatever seed goes on from here.
    if recipe.data.split_seed is None and recipe.seed != base.seed:
        recipe = read_recipe(None, {"data.split_seed": base.seed}, recipe)
    if recipe.data.classes != base.data.classes and recipe.data.source == base.data.source:
        raise InputError(
            f"data.classes: {folder} was trained with others, which number its outputs; leave them as"
            " they are"
        )
    alike = replace(recipe.model, classes=base.model.classes, checkpoint_key=base.model.checkpoint_key)
    if alike != base.model:
        raise InputError(f"model: {folder} says how its model is built; leave out what builds another")
    file = checkpoint or folder / MODEL_FILE
    built = built_from(folder, spec, file, offline=model is None)
    key = recipe.model.checkpoint_key
    if key and checkpoint is None and key != base.model.checkpoint_key:
        raise _no_file(key)
    if checkpoint is None or (key == base.model.checkpoint_key and "model.checkpoint_key" not in changes):
        key = ""  # it was of the file that the run began with
    if checkpoint is None:
        check_weights(folder)  # also that no link is followed to them
    with noting():
        network = (
            resized(built, read_tensors(file)).eval()
            if spec.smaller
            else load_checkpoint(built, file, key=key or None)
        )
        said = notes()
    inputs = Inputs.of(recipe)
    if not spec.classes and recipe.data.source == base.data.source:  # written before names were kept
        spec = replace(spec, classes=names_of(inputs.splits.classes, spec.num_classes))
    if recipe.model.classes == base.model.classes:  # its names are those of its spec
        recipe = read_recipe(None, {"model.classes": []}, recipe)
    trained = trained_with(folder, base)
    return labelled(Subject(network, spec, recipe, folder, trained, inputs, (*changed, *said)))


def built_from(folder: Path, spec: ModelSpec, weights: Path, *, offline: bool) -> nn.Module:
    """The network that a file speaks of, which may have any number in it."""
    try:
        return build_small(spec, weights, offline=offline)
    except InputError:
        raise
    except (TypeError, ValueError, RuntimeError, OverflowError, MemoryError) as error:
        if from_zoo(spec.name):  # code of others
            raise
        raise InputError(
            f"{folder}: its settings describe no network that can be built ({first_line(error)})"
        ) from None


def check_fits(model: nn.Module, splits: Splits) -> int:
    """Run the model on two images, so that what does not fit is said before any work.

    Returns:
        the number of outputs.

    Raises:
        InputError: it cannot run on images of this shape, or gives too few logits for the classes.
    """
    x, y = splits.train.fitting(model).batch(torch.arange(min(2, len(splits.train))))
    device = device_of(model, x.device)
    try:
        with quiet(model), torch.no_grad():
            logits = logits_of(model(x.to(device)))
    except InputError:
        raise
    except Exception as error:  # a model can fail in any way on images it was not made for
        raise InputError(
            f"model: cannot run on images of shape {splits.train.shape} ({first_line(error)}); --image-size"
            " brings pictures of a folder to another size"
        ) from None
    check_logits(logits, torch.zeros_like(y, device=logits.device))
    if logits.shape[1] < len(splits.classes):
        raise InputError(
            f"model: expected logits for the {len(splits.classes)} classes of {splits.name}, got"
            f" {logits.shape[1]}; take only the classes of the network with --set data.classes=[...] (by"
            " number), or train one with all of them (semirobust train)"
        )
    return int(logits.shape[1])
