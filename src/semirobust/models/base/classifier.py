"""What all architectures share: normalisation inside the model, and channels scaled by a width."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from semirobust.core.errors import InputError
from semirobust.core.typed import typed

__all__ = ["Classifier", "Normalise", "Normalised", "channels", "check_normalisation"]


def check_normalisation(mean: Sequence[float], std: Sequence[float]) -> None:
    """Raise ``InputError`` where these are not one number each for every channel."""
    several = all(isinstance(given, Sequence) for given in (mean, std))
    if not several or len(mean) != len(std) or not mean or not min(std) > 0:
        as_list = "" if several else ", as a list such as [0.5, 0.5, 0.5]"
        raise InputError(
            f"mean and std: expected one number each per channel{as_list}, std above 0; got {mean} and {std}"
        )


class Normalise(nn.Module):
    """(x - mean) / std by channel; mean and std are part of the checkpoint.

    Args:
        mean, std: one number for each channel, in pixel units.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        check_normalisation(mean, std)
        self.register_buffer("mean", torch.tensor(list(mean)).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(list(std)).view(-1, 1, 1))

    def forward(self, x_NKHW: Tensor) -> Tensor:
        # Broadcasting would quietly turn grey images into three channels.
        if x_NKHW.dim() == 4 and x_NKHW.shape[1] != len(self.mean) != 1:
            raise InputError(f"x: expected images of {len(self.mean)} channels, got {x_NKHW.shape[1]}")
        return (x_NKHW - self.mean) / self.std


class Classifier(nn.Module):
    """A network behind its normalisation: images (N, K, H, W) in [0, 1] to logits (N, C).

    Args:
        network: takes normalised images.
        in_channels: K.
        mean, std: the normalisation by channel; 0.5 and 0.25, about those of natural images, where None.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        in_channels: int,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if any(len(values) != in_channels for values in (mean, std) if values):
            raise InputError(
                f"mean and std: expected {in_channels} numbers each, one for each channel; got {mean} and"
                f" {std}"
            )
        if (mean is None) != (std is None):
            raise InputError(f"mean and std: expected both or none, got {mean} and {std}")
        self.normalise = Normalise(mean or [0.5] * in_channels, std or [0.25] * in_channels)
        self.network = network

    def forward(self, x_NKHW: Tensor) -> Tensor:
        logits_NC: Tensor = self.network(self.normalise(x_NKHW))
        return logits_NC


class Normalised(nn.Sequential):
    """A model that expects normalised images, with the normalisation in front of it.

    ``Normalised(model, mean, std)`` takes pixels in [0, 1], as all models of this library do.

    Args:
        model: takes (x - mean) / std of images x (N, C, H, W).
        mean, std: one number for each of the C channels, for pixels in [0, 1].

    Raises:
        InputError: a number is missing, is not finite, or a std is not above 0.
    """

    @typed
    def __init__(self, model: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__(Normalise(mean, std), model)


def channels(count: int, width: float, *, multiple_of: int = 1) -> int:
    """``count * width`` rounded to a positive multiple of ``multiple_of``."""
    return max(1, round(count * width / multiple_of)) * multiple_of
