"""Run folders: what a command leaves and the next one takes up."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import nn

from semirobust.core.checks import check_logits
from semirobust.core.errors import InputError
from semirobust.core.files import write_atomically
from semirobust.core.seed import as_seed
from semirobust.data.base.images import Images, Splits
from semirobust.data.base.load import load_data
from semirobust.data.base.mixture import mixture
from semirobust.experiments.recipe import Recipe, read_recipe
from semirobust.experiments.settings import ModelSettings
from semirobust.layers.map import LayerMap
from semirobust.layers.quiet import device_of, quiet
from semirobust.models.base.build import build_model
from semirobust.models.base.checkpoint import load_checkpoint, read_tensors, save_model
from semirobust.models.base.classifier import Normalised
from semirobust.models.base.factory import from_factory
from semirobust.pruning.resize import resized
from semirobust.records.origin import origin
from semirobust.records.schema import Finding, LayerEntry, Origin, Settings
from semirobust.records.store import AnyRecord, write_records
from semirobust.threats import NORMS, AbstractBall

__all__ = [
    "MODEL_FILE",
    "ModelSpec",
    "Subject",
    "build_subject",
    "check_fits",
    "check_out",
    "check_split",
    "data_notes",
    "hold_out",
    "layer_entries",
    "load_splits",
    "origin_of",
    "prepare_folder",
    "save_run",
    "settings_record",
    "spec_for",
    "threat_of",
    "write_stage",
]

MODEL_FILE = "model.safetensors"
_SETTINGS_FILE = "settings.json"
_RESERVED = {"name", "num_classes", "width", "in_channels", "image_size", "mean", "std", "seed"}


@dataclass(frozen=True)
class ModelSpec:
    """How to build the network that a run's weights belong to."""

    name: str
    num_classes: int
    in_channels: int
    image_size: int
    width: float
    mean: Sequence[float] | None
    std: Sequence[float] | None
    options: Mapping[str, Any]
    smaller: bool = False  # its weights say how many channels each layer has

    def build(self, seed: int = 0) -> nn.Module:
        """A fresh model; one named package.module:factory comes from there."""
        if ":" in self.name:
            model = from_factory(self.name, seed=seed)
            return Normalised(model, self.mean, self.std).eval() if self.mean and self.std else model
        if reserved := sorted(self.options.keys() & _RESERVED):
            raise InputError(
                f"model.options: {reserved[0]!r} is set elsewhere, by the data or by a section of its own"
            )
        return build_model(
            self.name,
            self.num_classes,
            self.width,
            in_channels=self.in_channels,
            image_size=self.image_size,
            mean=self.mean,
            std=self.std,
            seed=seed,
            **self.options,
        )


_SPEC = TypeAdapter(ModelSpec)


@dataclass(frozen=True)
class Subject:
    """A model that a command works on.

    Attributes:
        model: the module, in eval mode.
        spec: how it was built.
        recipe: the settings it was trained with, or those of the command.
        folder: its run folder; None for a model named otherwise.
        trained: the settings of that run; None likewise.
    """

    model: nn.Module
    spec: ModelSpec
    recipe: Recipe
    folder: Path | None
    trained: Recipe | None = None


def hold_out(recipe: Recipe, images: Images) -> tuple[Images, Images]:
    """(rest, held out) of the training images, the rest with extra ones mixed in where the recipe names some.

    What is held out is what a run and all that goes on from it agree on.
    """
    seed = recipe.seed if recipe.data.split_seed is None else recipe.data.split_seed
    rest, held_out = images.hold_out(recipe.data.validation, as_seed(seed) / "validation")
    d = recipe.data
    if d.extra_share is not None and not d.extra:
        raise InputError(
            "data.extra: expected a second source of images, since data.extra_share is given; got none"
        )
    if d.extra and d.extra == d.source:  # its images are among those held out
        raise InputError(f"data.extra: expected another source than {d.source}")
    if d.extra:
        extra = load_data(d.extra, root=d.root, image_size=d.image_size, held_out=False).train
        extra = extra.of_classes(d.classes) if d.classes else extra
        rest = mixture(rest, extra, 0.7 if d.extra_share is None else d.extra_share)
    return rest, held_out


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


def load_splits(recipe: Recipe) -> Splits:
    """The data of a recipe, cut to the numbers of images it asks for."""
    d = recipe.data
    splits = load_data(d.source, root=d.root, image_size=d.image_size)
    if d.classes:
        splits = Splits(
            splits.name, splits.train.of_classes(d.classes), splits.test.of_classes(d.classes), splits.note
        )
    return Splits(splits.name, splits.train.first(d.train), splits.test.first(d.test), splits.note)


def threat_of(recipe: Recipe) -> AbstractBall:
    """The threat model of a recipe."""
    return NORMS.make(recipe.threat.norm, {"epsilon": recipe.threat.epsilon})


def spec_for(settings: ModelSettings, splits: Splits) -> ModelSpec:
    """The spec of a new model for these images; a registered one is normalised by what the training images
    measure.
    """
    channels, height, width = splits.train.shape
    if height != width:
        raise InputError(
            f"data: expected square images, got {height}x{width}; an image folder is cropped with"
            " --image-size"
        )
    mean, std = settings.mean, settings.std
    if (mean is None) != (std is None):
        raise InputError(f"model.mean and model.std: expected both or none, got {mean} and {std}")
    if ":" not in settings.name and mean is None:
        mean, std = _statistics(splits.train)
    return ModelSpec(
        settings.name, len(splits.classes), channels, height, settings.width, mean, std, settings.options
    )


def _statistics(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    x, _ = images.first(5000).all()
    std, mean = torch.std_mean(x, (0, 2, 3))
    return tuple(round(float(m), 4) for m in mean), tuple(max(round(float(s), 4), 1e-3) for s in std)


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
    if target is not None and (Path(target) / _SETTINGS_FILE).is_file():
        return _from_run(Path(target), model, checkpoint, recipe_file, changes)
    if target is not None and Path(target).is_dir():
        raise InputError(f"model: expected a run folder with {_SETTINGS_FILE} at {target}, found none")
    if target is not None and model is not None:
        raise InputError(f"model: expected one name, got {target!r} and --model {model!r}")
    recipe = read_recipe(recipe_file, {**changes, "model.name": target or model})
    if checkpoint is None:
        raise InputError(
            f"checkpoint: expected the weights of {recipe.model.name} (--checkpoint FILE), or a run folder;"
            " got neither"
        )
    splits = load_splits(recipe)
    spec = spec_for(recipe.model, splits)
    network = load_checkpoint(spec.build(), checkpoint)
    check_fits(network, splits)
    return Subject(network, spec, recipe, None)


def _from_run(
    folder: Path,
    model: str | None,
    checkpoint: Path | None,
    recipe_file: Path | None,
    changes: Mapping[str, Any],
) -> Subject:
    try:
        content = json.loads((folder / _SETTINGS_FILE).read_text(encoding="utf-8"))
        base, spec = Recipe.model_validate(content["recipe"]), _SPEC.validate_python(content["model"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{folder}: expected the settings of a run, got a file that cannot be read"
            f" ({type(error).__name__})"
        ) from None
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
    check_fits(network, load_splits(recipe))
    return Subject(network, spec, recipe, folder, base)


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
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"model: cannot run on images of shape {splits.train.shape} ({said})") from None
    check_logits(logits, torch.zeros_like(y, device=logits.device))
    if logits.shape[1] < len(splits.classes):
        raise InputError(
            f"model: expected logits for the {len(splits.classes)} classes of {splits.name}, got"
            f" {logits.shape[1]}"
        )


def prepare_folder(folder: Path, stage: str) -> Path:
    """Make the run folder of a command.

    Raises:
        InputError: the place cannot be written to, or another command's run lies there.
    """
    settings = folder / _SETTINGS_FILE
    if settings.is_file():
        try:
            before = json.loads(settings.read_text(encoding="utf-8")).get("stage")
        except (OSError, ValueError, AttributeError):
            before = "unknown"
        if before != stage:
            raise InputError(f"out: {folder} holds a run of `{before}`; choose another folder or delete it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"out: cannot make the folder {folder} ({error.strerror})") from None
    return folder


def _built(folder: Path, spec: ModelSpec) -> nn.Module:
    """The network that a file speaks of, which may have any number in it."""
    try:
        return spec.build()
    except InputError:
        raise
    except (TypeError, ValueError, RuntimeError, OverflowError, MemoryError) as error:
        if ":" in spec.name:  # the user's own code
            raise
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{folder}: its settings describe no network that can be built ({said})") from None


def save_run(folder: Path, model: nn.Module, spec: ModelSpec, recipe: Recipe, stage: str) -> None:
    """Write the weights and what is needed to build the model again."""
    save_model(model, folder / MODEL_FILE, {"stage": stage, "model": asdict(spec)})
    content = {"stage": stage, "model": asdict(spec), "recipe": recipe.model_dump(mode="json")}
    write_atomically(folder / _SETTINGS_FILE, json.dumps(content, indent=1).encode())


def origin_of(
    recipe: Recipe, *sections: str, device: torch.device | None = None, seed: object = None
) -> Origin:
    """The origin of records made under these sections of a recipe."""
    accelerator = torch.cuda.get_device_name(device) if device is not None and device.type == "cuda" else ""
    settings = recipe.for_hash("data", "model", "threat", *sections)
    return origin(
        settings,
        seed=recipe.seed if seed is None else seed,
        accelerator=accelerator,
        threads=torch.get_num_threads(),
    )


def settings_record(recipe: Recipe, stage: str, at: Origin, **more: object) -> Settings:
    """The settings of a command as a record; folders of this machine are left out."""
    settings = recipe.model_dump(mode="json")
    settings["data"].pop("root", None)
    return Settings(stage=stage, settings={**settings, **more}, origin=at)


def data_notes(splits: Splits, at: Origin) -> list[Finding]:
    """What the reader of numbers on these images should know."""
    return [Finding(name="data", text=f"{splits.name}: {splits.note}", origin=at)] if splits.note else []


def check_out(subject: Subject, out: Path, task: str) -> None:
    """Raises ``InputError`` where a run would be written over the one it starts from."""
    if subject.folder is not None and subject.folder.resolve() == out.resolve():
        raise InputError(f"out: expected another folder than the run to {task}, got {out} for both")


def layer_entries(model: nn.Module, layers: LayerMap, at: Origin) -> list[LayerEntry]:
    """The layers of a model as records."""
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    return [
        LayerEntry(
            index=layer.index,
            name=layer.name,
            type=layer.kind,
            shape=layer.feature_shape,
            parameters=sum(sizes[name] for name in layer.parameters),
            block=layer.block,
            origin=at,
        )
        for layer in layers
    ]


def write_stage(folder: Path, name: str, records: Sequence[AnyRecord]) -> Path:
    """Write the records of one command into its run folder."""
    path = folder / "records" / f"{name}.jsonl"
    write_records(path, records)
    return path
