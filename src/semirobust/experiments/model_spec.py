"""How to build the network that a run's weights belong to."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from semirobust.core.classifiers import in_eval
from semirobust.core.errors import InputError
from semirobust.data.base.images import Images, Splits
from semirobust.data.base.load import OF_PICTURES
from semirobust.experiments.class_names import names_of
from semirobust.experiments.recipe import Recipe, read_recipe
from semirobust.experiments.sections import Model
from semirobust.models.base.as_classifier import as_classifier
from semirobust.models.base.build import build_model
from semirobust.models.normalisations import normalisation_named
from semirobust.zoo.base.bgr import FromRGB
from semirobust.zoo.base.grey import FromGrey
from semirobust.zoo.base.named import build_named, card_of, from_zoo, source_of
from semirobust.zoo.base.source import Card, Wanted

__all__ = [
    "ModelSpec",
    "at_its_size",
    "fresh_spec",
    "has_own_weights",
    "named_again",
    "passed_on",
    "spec_for",
]

_RESERVED = {"name", "num_classes", "width", "in_channels", "image_size", "mean", "std", "seed"}
# Options of networks of other libraries that are ours to read.
_OURS = {"pretrained", "num_classes"}
_COLOURS = 3
# Enough for the mean and deviation of each channel.
_MEASURED = 5000


@dataclass(frozen=True)
class ModelSpec:
    """How to build the network that a run's weights belong to.

    Attributes:
        name: an architecture of ours, or ``SOURCE:NAME``.
        num_classes: C, the outputs.
        in_channels: K of the images.
        image_size: their side; (H, W) where they are not square.
        width: factor on the channels of our architectures.
        mean, std: the normalisation in front of it.
        options: what the architecture takes besides.
        smaller: its weights say how many channels each layer has.
        classes: for each output the names of its class; empty where nothing says them.
        output: what it returns, as in :func:`semirobust.as_classifier`.
        bgr: it takes blue, green, red, and the images are red, green, blue.
        from_grey: it takes colour and the images are grey, so that each is repeated in all its channels.
    """

    name: str
    num_classes: int
    in_channels: int
    image_size: int | tuple[int, int]
    width: float
    mean: Sequence[float] | None
    std: Sequence[float] | None
    options: Mapping[str, Any]
    smaller: bool = False
    classes: tuple[tuple[str, ...], ...] = ()
    from_grey: bool = False
    output: str = "logits"
    bgr: bool = False

    def build(self, seed: int = 0, *, own_weights: bool = False, offline: bool = False) -> nn.Module:
        """A fresh model.

        Args:
            seed: of the initial weights.
            own_weights: with the weights that its source has for it. A factory's has what it comes with.
            offline: open no connection.
        """
        if self.bgr:
            rest = replace(self, bgr=False).build(seed, own_weights=own_weights, offline=offline)
            return in_eval(FromRGB(rest))
        if from_zoo(self.name):
            return self._from_zoo(seed, own_weights=own_weights, offline=offline)
        if reserved := sorted(self.options.keys() & _RESERVED):
            raise InputError(
                f"model.options: {reserved[0]!r} is set elsewhere, by the data or by a section of its own"
            )
        if not isinstance(self.image_size, int):
            raise InputError(f"model: expected square images for {self.name}, got {self.image_size}")
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

    def _from_zoo(self, seed: int, *, own_weights: bool, offline: bool) -> nn.Module:
        size = self.image_size
        wanted = Wanted(
            outputs=self.num_classes,
            channels=_COLOURS if self.from_grey else self.in_channels,
            image_size=(size, size) if isinstance(size, int) else size,
            options=self.options,
            own_weights=own_weights,
            offline=offline,
        )
        model = build_named(self.name, wanted, seed=seed)
        output = int(self.output) if re.fullmatch(r"-?\d+", self.output) else self.output
        model = as_classifier(model, output=output, mean=self.mean or None, std=self.std or None)
        return in_eval(FromGrey(model, _COLOURS)) if self.from_grey else model


def named_again(spec: ModelSpec) -> tuple[str | None, dict[str, Any]]:
    """What ``build_subject`` takes as ``model`` and ``changes`` for another run of the same build, which has
    been named once.
    """
    if not from_zoo(spec.name):
        return None, {}
    own = source_of(spec.name)[0].named_by_files
    return spec.name, {} if own else {f"model.options.{key}": value for key, value in spec.options.items()}


def has_own_weights(settings: Model, *, default: bool = True) -> bool:
    """Whether the weights of a network of another library are to be those that it has there."""
    if not from_zoo(settings.name) or not source_of(settings.name)[0].has_weights:
        return False
    own = settings.options.get("pretrained", default)
    if not isinstance(own, bool):
        raise InputError(f"model.options.pretrained: expected true or false, got {own!r}")
    return own


def passed_on(settings: Model) -> dict[str, Any]:
    """The options that go to the source of a network, and are not read here."""
    ours = _OURS if source_of(settings.name)[0].has_weights else set[str]()
    return {key: value for key, value in settings.options.items() if key not in ours}


def spec_for(settings: Model, splits: Splits, *, own_outputs: bool = False) -> ModelSpec:
    """The spec of a new model for these images.

    A registered one is normalised by what the training images measure, one of another library by what its
    configuration says; the user's mean and std come before both.

    Args:
        settings: which model.
        splits: the images.
        own_outputs: let a network of another library have the outputs of its own weights, and not one for
            each class of the images.

    Raises:
        InputError: there is no such model, or it cannot be built for such images.
    """
    channels, height, width = splits.train.shape
    if (settings.mean is None) != (settings.std is None):
        raise InputError(
            f"model.mean and model.std: expected both or none, got {settings.mean} and {settings.std}"
        )
    if settings.bgr and channels != _COLOURS:
        raise InputError(
            f"bgr: expected images of {_COLOURS} channels, got those of {splits.name} with {channels}"
        )
    size = height if height == width else (height, width)
    if from_zoo(settings.name):
        spec = _spec_from_zoo(settings, splits, size, own_outputs=own_outputs)
        return replace(spec, bgr=settings.bgr)
    if settings.output != "logits":
        raise InputError(f"output: expected logits, which {settings.name} returns; got {settings.output}")
    if height != width:
        raise InputError(
            f"data: expected square images, got {height}x{width}; {settings.name} takes no others; an"
            " image folder is cropped with --image-size, and many networks of timm: and the like take them"
        )
    mean, std = _typed(settings, channels) or _statistics(splits.train)
    return ModelSpec(
        settings.name,
        len(splits.classes),
        channels,
        size,
        settings.width,
        mean,
        std,
        settings.options,
        bgr=settings.bgr,
    )


def _typed(settings: Model, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """The normalisation that the user wants; None where the settings say none."""
    if settings.normalisation:
        return normalisation_named(settings.normalisation, channels)
    return None if settings.mean is None or settings.std is None else (settings.mean, settings.std)


def fresh_spec(settings: Model, splits: Splits) -> ModelSpec:
    """As :func:`spec_for`, of a network that learns the classes of these images, which its outputs are then
    called by.

    Raises:
        InputError: as there, or its outputs are named.
    """
    if settings.classes:
        raise InputError(
            "classes: expected none for a network that is trained anew, whose outputs are the classes of the"
            f" data; got {', '.join(settings.classes[:3])}"
        )
    spec = spec_for(settings, splits)
    return replace(spec, classes=names_of(splits.classes, max(spec.num_classes, len(splits.classes))))


def _spec_from_zoo(
    settings: Model, splits: Splits, size: int | tuple[int, int], *, own_outputs: bool
) -> ModelSpec:
    source, _ = source_of(settings.name)
    if not source.has_weights:  # a factory: all is its own
        classes, channels = len(splits.classes), splits.train.shape[0]
        mean, std = _typed(settings, channels) or (None, None)
        options, output = settings.options, settings.output
        return ModelSpec(
            settings.name, classes, channels, size, settings.width, mean, std, options, output=output
        )
    options = passed_on(settings)
    card = card_of(settings.name, options)
    outputs = _outputs(settings, card, len(splits.classes), own=own_outputs)
    own = own_outputs and outputs == card.outputs
    channels = splits.train.shape[0]
    from_grey = channels == 1 and card.channels == _COLOURS and (own or not source.any_channels)
    if channels != card.channels and not from_grey and not source.any_channels:
        raise InputError(
            f"model: {settings.name} takes images of {card.channels} channels, got those of {splits.name}"
            f" with {channels}"
        )
    mean, std = _typed(settings, _COLOURS if from_grey else channels) or _normalisation(
        settings.name, card, splits, own=own, grey=from_grey
    )
    return ModelSpec(
        settings.name,
        outputs,
        channels,
        size,
        settings.width,
        mean,
        std,
        options,
        classes=card.classes if own else (),
        from_grey=from_grey,
        output=settings.output,
    )


def _normalisation(
    name: str, card: Card, splits: Splits, *, own: bool, grey: bool
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """That of the configuration; of the training images where it has none and all weights are random."""
    channels = _COLOURS if grey else splits.train.shape[0]
    if card.mean is not None and card.std is not None and len(card.mean) == channels:
        return card.mean, card.std
    if own:
        raise InputError(
            f"model: {name} does not say how its {channels} channels were normalised; give"
            " --set model.mean=[...] and --set model.std=[...], in pixels from 0 to 1"
        )
    mean, std = _statistics(splits.train)
    return (mean * channels, std * channels) if grey else (mean, std)


def at_its_size(recipe: Recipe) -> Recipe:
    """The recipe, with pictures of any size brought to that of the network's configuration where it asks for
    no other.
    """
    data, model = recipe.data, recipe.model
    if not from_zoo(model.name) or data.image_size is not None:
        return recipe
    if data.source not in OF_PICTURES and (
        Path(data.source).suffix == ".npz" or not Path(data.source).is_dir()
    ):
        return recipe
    size = card_of(model.name, passed_on(model)).image_size
    return recipe if size is None else read_recipe(None, {"data.image_size": size[0]}, recipe)


def _outputs(settings: Model, card: Card, classes: int, *, own: bool) -> int:
    """How many outputs: those of its own weights, those that the user wants, or one for each class."""
    wanted = settings.options.get("num_classes")
    if wanted is not None and (isinstance(wanted, bool) or not isinstance(wanted, int) or wanted < 2):
        raise InputError(f"model.options.num_classes: expected a whole number from 2 on, got {wanted!r}")
    if own and card.outputs is not None and (card.outputs < 2 or wanted not in (None, card.outputs)):
        raise InputError(
            f"model: the weights of {settings.name} have {card.outputs} outputs"
            f"{'' if wanted is None else f', got num_classes={wanted}'}; train a new head first (semirobust"
            " train --set model.options.pretrained=true)"
        )
    return wanted or (card.outputs if own and card.outputs else classes)


def _statistics(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    x, _ = images.first(_MEASURED).all()
    std, mean = torch.std_mean(x, (0, 2, 3))
    return tuple(round(float(m), 4) for m in mean), tuple(max(round(float(s), 4), 1e-3) for s in std)
