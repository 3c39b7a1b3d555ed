"""How to build the network that a run's weights belong to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from semirobust.core.errors import InputError
from semirobust.data.base.images import Images, Splits
from semirobust.experiments.sections import Model
from semirobust.models.base.build import build_model
from semirobust.models.base.classifier import Normalised
from semirobust.models.base.factory import from_factory

__all__ = ["ModelSpec", "spec_for"]

_RESERVED = {"name", "num_classes", "width", "in_channels", "image_size", "mean", "std", "seed"}
# Enough for the mean and deviation of each channel.
_MEASURED = 5000


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


def spec_for(settings: Model, splits: Splits) -> ModelSpec:
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
    x, _ = images.first(_MEASURED).all()
    std, mean = torch.std_mean(x, (0, 2, 3))
    return tuple(round(float(m), 4) for m in mean), tuple(max(round(float(s), 4), 1e-3) for s in std)
