"""The two-convolution family of the capacity study."""

from collections.abc import Sequence

from torch import nn

from semirobust.core.errors import InputError
from semirobust.models import MODELS, Classifier
from semirobust.models.base.classifier import channels

__all__ = ["capacity_cnn"]

_KERNEL = 5


@MODELS.register("capacity_cnn", pattern=r"capacity_cnn(?:_(?P<scale>[0-5]))?")
def capacity_cnn(
    *,
    num_classes: int,
    width: float,
    in_channels: int,
    image_size: int,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    scale: int = 5,
) -> Classifier:
    """Two convolutions and one hidden layer, scale 0 to 5: filters (2, 4) to (64, 128), hidden 100 to 3200.

    Source: the capacity study of "Lighter robust model", section IV. The paper gives no kernel sizes. Ours
    are 5x5 without padding, each followed by ReLU and 2x2 max pooling. The MNIST network of Madry et al.
    (2018) is alike, but pads.
    """
    if not 0 <= scale <= 5:
        raise InputError(f"scale: expected 0 to 5, got {scale}")
    side = ((image_size - _KERNEL + 1) // 2 - _KERNEL + 1) // 2  # after both convolutions and poolings
    if side < 1:
        raise InputError(f"image_size: capacity_cnn expects at least 16 pixels, got {image_size}")
    first, second = channels(2 * 2**scale, width), channels(4 * 2**scale, width)
    hidden = channels(100 * 2**scale, width)
    network = nn.Sequential(
        nn.Conv2d(in_channels, first, _KERNEL),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(first, second, _KERNEL),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(second * side**2, hidden),
        nn.ReLU(),
        nn.Linear(hidden, num_classes),
    )
    return Classifier(network, in_channels=in_channels, mean=mean, std=std)
