"""Plain convolutional networks without shortcuts."""

from collections.abc import Sequence

from torch import nn

from semirobust.models import MODELS, Classifier
from semirobust.models.base.classifier import channels

__all__ = ["vgg19"]

_PLANES = ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4)


@MODELS.register("vgg19")
def vgg19(
    *,
    num_classes: int,
    width: float,
    in_channels: int,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> Classifier:
    """Sixteen 3x3 convolutions with batch norm in five stages, and three linear layers (Simonyan & Zisserman
    2015).

    The head for small images is ours: global average pooling, then 512, 512 and C units. There is no dropout,
    because batch norm regularises.
    """
    modules: list[nn.Module] = []
    inputs = in_channels
    for stage, planes in enumerate(_PLANES):
        if stage:
            modules.append(nn.MaxPool2d(2, ceil_mode=True))  # rounded up, for images below 32 pixels
        for plane in planes:
            outputs = channels(plane, width)
            modules += [nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
            inputs = outputs
    hidden = channels(512, width)
    modules += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, hidden), nn.ReLU()]
    modules += [nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, num_classes)]
    network = nn.Sequential(*modules)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return Classifier(network, in_channels=in_channels, mean=mean, std=std)
