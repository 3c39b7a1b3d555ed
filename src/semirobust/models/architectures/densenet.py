"""Densely connected networks (Huang et al. 2017)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semirobust.models import MODELS, Classifier
from semirobust.models.base.classifier import channels
from semirobust.models.base.stem import Stem, first_convolution

__all__ = ["DenseNet", "densenet121"]


class DenseLayer(nn.Module):
    """Norm, ReLU, 1x1 convolution to 4 growth channels, norm, ReLU, 3x3 convolution to ``growth`` channels,
    which are appended to the input.
    """

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, 4 * growth, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.relu(self.bn1(x)))
        return torch.cat([x, self.conv2(F.relu(self.bn2(h)))], 1)


class Transition(nn.Module):
    """Norm, ReLU, 1x1 convolution to half the channels, 2x2 average pooling."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(inputs)
        self.conv = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        # Rounded up, so that images of odd sides keep their last row and column.
        return F.avg_pool2d(self.conv(F.relu(self.bn(x))), 2, ceil_mode=True)


class DenseNet(nn.Module):
    """A stem of 2 growth channels, dense blocks with transitions between them, norm, ReLU, global average
    pooling and a linear head.

    Args:
        blocks: the number of dense layers in each block.
        growth: the number of channels that each dense layer appends.
        stem: as in :data:`semirobust.models.base.stem.Stem`; that for ImageNet has a norm and ReLU too.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        growth: int,
        *,
        in_channels: int,
        num_classes: int,
        stem: Stem = "small",
    ) -> None:
        super().__init__()
        width = 2 * growth
        modules: list[nn.Module] = [first_convolution(in_channels, width, stem)]
        if stem == "imagenet":
            modules += [nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
        for position, count in enumerate(blocks):
            if position:
                modules.append(Transition(width, width // 2))
                width //= 2
            modules.append(nn.Sequential(*(DenseLayer(width + k * growth, growth) for k in range(count))))
            width += count * growth
        self.blocks = nn.Sequential(*modules)
        self.bn = nn.BatchNorm2d(width)
        self.linear = nn.Linear(width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x_NKHW: Tensor) -> Tensor:
        h = F.relu(self.bn(self.blocks(x_NKHW)))
        return self.linear(torch.flatten(F.adaptive_avg_pool2d(h, 1), 1))


@MODELS.register("densenet121")
def densenet121(
    *,
    num_classes: int,
    width: float,
    in_channels: int,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    stem: Stem = "small",
) -> Classifier:
    """Dense blocks of 6, 12, 24 and 16 layers, growth rate 32 times the width: 121 layers (Huang et al.
    2017).

    The ``stem`` is for images that are ``small`` or ``imagenet``.
    """
    network = DenseNet(
        (6, 12, 24, 16),
        channels(32, width),
        in_channels=in_channels,
        num_classes=num_classes,
        stem=stem,
    )
    return Classifier(network, in_channels=in_channels, mean=mean, std=std)
