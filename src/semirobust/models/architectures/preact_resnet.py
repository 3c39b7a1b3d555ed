"""Residual networks with the activation before the convolution (He et al. 2016b), also wide ones."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semirobust.core.errors import InputError
from semirobust.models import MODELS, Classifier
from semirobust.models.base.classifier import channels
from semirobust.models.base.stem import Stem, first_convolution, first_pooling

__all__ = ["Activation", "PreActBlock", "PreActResNet", "preact_resnet18", "wrn"]

Activation = Literal["relu", "silu"]


_ACTIVATIONS = {"relu": F.relu, "silu": F.silu}


class PreActBlock(nn.Module):
    """Norm, activation and convolution, twice; a projection, where one is needed, takes the activated
    input.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, activation: Activation = "relu") -> None:
        super().__init__()
        self.activation = _ACTIVATIONS[activation]
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        # The identity takes the input before norm and activation, the projection takes it after them.
        self.projects = stride != 1 or inputs != outputs
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if self.projects else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        active = self.activation(self.bn1(x))
        h = self.conv2(self.activation(self.bn2(self.conv1(active))))
        return h + (self.shortcut(active) if self.projects else x)


class PreActResNet(nn.Module):
    """A stem, stages of pre-activation blocks, norm, activation, global average pooling and a linear head.

    Args:
        stem: the number of channels of the first convolution.
        blocks: the number of blocks of each stage.
        planes: the number of channels of each stage.
        activation: ``relu`` or ``silu``.
        images: which the stem is for, as in :data:`semirobust.models.base.stem.Stem`. The stem has neither
            norm nor activation, with which the first block begins.
    """

    def __init__(
        self,
        stem: int,
        blocks: Sequence[int],
        planes: Sequence[int],
        *,
        in_channels: int,
        num_classes: int,
        activation: Activation = "relu",
        images: Stem = "small",
    ) -> None:
        super().__init__()
        self.activation, self.images = _ACTIVATIONS[activation], images
        self.conv1 = first_convolution(in_channels, stem, images)
        stages: list[nn.Module] = []
        inputs = stem
        for stage, (count, width) in enumerate(zip(blocks, planes, strict=True)):
            members = []
            for position in range(count):
                members.append(PreActBlock(inputs, width, 2 if stage and position == 0 else 1, activation))
                inputs = width
            stages.append(nn.Sequential(*members))
        self.stages = nn.Sequential(*stages)
        self.bn = nn.BatchNorm2d(inputs)
        self.linear = nn.Linear(inputs, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x_NKHW: Tensor) -> Tensor:
        h = self.activation(self.bn(self.stages(first_pooling(self.conv1(x_NKHW), self.images))))
        return self.linear(torch.flatten(F.adaptive_avg_pool2d(h, 1), 1))


@MODELS.register("preact_resnet18")
def preact_resnet18(
    *,
    num_classes: int,
    width: float,
    in_channels: int,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    activation: Activation = "relu",
    stem: Stem = "small",
) -> Classifier:
    """Four stages of two pre-activation blocks, 64 to 512 channels (He et al. 2016b).

    Fast-AT (Wong et al. 2020) and the study of robust overfitting (Rice et al. 2020) use it. Its
    ``activation`` is ``relu`` or ``silu``, and its ``stem`` is for images that are ``small`` or ``imagenet``.
    """
    planes = [channels(p, width) for p in (64, 128, 256, 512)]
    network = PreActResNet(
        planes[0],
        (2, 2, 2, 2),
        planes,
        in_channels=in_channels,
        num_classes=num_classes,
        activation=activation,
        images=stem,
    )
    return Classifier(network, in_channels=in_channels, mean=mean, std=std)


@MODELS.register("wrn_D_K", pattern=r"wrn_(?P<depth>\d+)_(?P<factor>\d+)")
def wrn(
    *,
    num_classes: int,
    width: float,
    in_channels: int,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    depth: int,
    factor: int,
    activation: Activation = "relu",
    stem: Stem = "small",
) -> Classifier:
    """Wide residual network of depth D = 6n + 4 and widening K, such as wrn_28_10 (Zagoruyko & Komodakis
    2016).

    D counts the three projections, so there are D - 2 layers on the main path. The activation ``silu``
    (Swish) is that of Gowal et al. (2020) and Wang et al. (2023). The ``stem`` for ``imagenet`` is ours;
    theirs is for small images.
    """
    if depth < 10 or (depth - 4) % 6 or factor < 1:
        raise InputError(f"wrn_D_K: expected D = 6n + 4 from 10 on and K from 1 on, got wrn_{depth}_{factor}")
    count = (depth - 4) // 6  # three stages of blocks of two convolutions, a stem and three projections
    planes = [channels(p * factor, width) for p in (16, 32, 64)]
    network = PreActResNet(
        channels(16, width),
        (count,) * 3,
        planes,
        in_channels=in_channels,
        num_classes=num_classes,
        activation=activation,
        images=stem,
    )
    return Classifier(network, in_channels=in_channels, mean=mean, std=std)
