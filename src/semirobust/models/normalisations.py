"""How images are usually normalised."""

from collections.abc import Mapping
from dataclasses import dataclass

from semirobust.core.errors import InputError
from semirobust.core.nearest import meant

__all__ = ["NORMALISATIONS", "Normalisation", "normalisation_named"]


@dataclass(frozen=True)
class Normalisation:
    """(x - mean) / std by channel, of pixels from 0 to 1.

    Attributes:
        title: what it is, in words.
        mean, std: one number for each channel.
        any_channels: the one number is that of every channel.
    """

    title: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    any_channels: bool = False

    def on(self, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Mean and deviation of so many channels; None where it is of another number."""
        mean, std = (each * channels if self.any_channels else each for each in (self.mean, self.std))
        return (mean, std) if len(mean) == channels else None


NORMALISATIONS: Mapping[str, Normalisation] = {
    "none": Normalisation("no normalisation", (0.0,), (1.0,), any_channels=True),
    "imagenet": Normalisation("the numbers of ImageNet", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "cifar10": Normalisation("the numbers of CIFAR-10", (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": Normalisation("the numbers of CIFAR-100", (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    "mnist": Normalisation("the numbers of MNIST", (0.1307,), (0.3081,)),
    "fashion-mnist": Normalisation("the numbers of Fashion-MNIST", (0.2860,), (0.3530,)),
    "half": Normalisation("mean 0.5 and deviation 0.5", (0.5,), (0.5,), any_channels=True),
    "bytes": Normalisation("pixels from 0 to 255", (0.0,), (1 / 255,), any_channels=True),
}
"""Name -> normalisation, each as it is usually published."""


def normalisation_named(name: str, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of that name for images of so many channels.

    Raises:
        InputError: there is none of that name, or it is of another number of channels.
    """
    if name not in NORMALISATIONS:
        raise InputError(
            f"normalisation: expected one of {', '.join(NORMALISATIONS)}; got {name!r}"
            f"{meant(name, NORMALISATIONS)}"
        )
    found = NORMALISATIONS[name].on(channels)
    if found is None:
        raise InputError(
            f"normalisation: expected one of {channels} channels, as the images have; got {name!r} of"
            f" {len(NORMALISATIONS[name].mean)}"
        )
    return found
