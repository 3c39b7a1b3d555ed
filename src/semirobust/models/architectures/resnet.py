"""Residual networks with the activation after the addition (He et al. 2016a)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semirobust.models import MODELS, Classifier
from semirobust.models.base.classifier import channels
from semirobust.models.base.stem import Stem, first_convolution, first_pooling

__all__ = ["BasicBlock", "Bottleneck", "ResNet"]


def _projection(inputs: int, outputs: int, stride: int) -> nn.Module:
    """The identity, or a 1x1 convolution and norm where the block changes the shape."""
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions."""

    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = _projection(inputs, planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.bn1(self.conv1(x)))
        h = self.bn2(self.conv2(h))
        return F.relu(h + self.downsample(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions; the last has four times the channels."""

    expansion = 4

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        outputs = planes * self.expansion
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = _projection(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.bn1(self.conv1(x)))
        h = F.relu(self.bn2(self.conv2(h)))
        h = self.bn3(self.conv3(h))
        return F.relu(h + self.downsample(x))


class ResNet(nn.Module):
    """A stem, stages of blocks, global average pooling and a linear head.

    Each stage but the first halves height and width.

    Args:
        block: ``BasicBlock`` or ``Bottleneck``.
        blocks: the number of blocks of each stage.
        planes: the number of channels of each stage.
        stem: as in :data:`semirobust.models.base.stem.Stem`.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        blocks: Sequence[int],
        planes: Sequence[int],
        *,
        in_channels: int,
        num_classes: int,
        stem: Stem = "small",
    ) -> None:
        super().__init__()
        self.stem = stem
        self.conv1 = first_convolution(in_channels, planes[0], stem)
        self.bn1 = nn.BatchNorm2d(planes[0])
        stages: list[nn.Module] = []
        inputs = planes[0]
        for stage, (count, width) in enumerate(zip(blocks, planes, strict=True)):
            members = []
            for position in range(count):
                members.append(block(inputs, width, 2 if stage and position == 0 else 1))
                inputs = width * block.expansion
            stages.append(nn.Sequential(*members))
        self.stages = nn.Sequential(*stages)
        self.linear = nn.Linear(inputs, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x_NKHW: Tensor) -> Tensor:
        h = self.stages(first_pooling(F.relu(self.bn1(self.conv1(x_NKHW))), self.stem))
        return self.linear(torch.flatten(F.adaptive_avg_pool2d(h, 1), 1))


def _register(
    name: str, block: type[BasicBlock] | type[Bottleneck], blocks: Sequence[int], planes: Sequence[int]
) -> None:
    # A builder for each name; its docstring becomes the row of the network in the documentation.
    def build(
        *,
        num_classes: int,
        width: float,
        in_channels: int,
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
        stem: Stem = "small",
    ) -> Classifier:
        network = ResNet(
            block,
            blocks,
            [channels(p, width) for p in planes],
            in_channels=in_channels,
            num_classes=num_classes,
            stem=stem,
        )
        return Classifier(network, in_channels=in_channels, mean=mean, std=std)

    stages = (
        f"{len(blocks)} stages of {'-'.join(map(str, blocks))} {block.__name__}s,"
        f" {'-'.join(map(str, planes))} channels"
    )
    build.__doc__ = f"{stages} (He et al. 2016a); the stem is for images that are ``small`` or ``imagenet``."
    MODELS.register(name)(build)


_register("resnet18", BasicBlock, (2, 2, 2, 2), (64, 128, 256, 512))
_register("resnet34", BasicBlock, (3, 4, 6, 3), (64, 128, 256, 512))
_register("resnet50", Bottleneck, (3, 4, 6, 3), (64, 128, 256, 512))
# The thin networks for CIFAR, 6n + 2 layers deep.
_register("resnet8", BasicBlock, (1, 1, 1), (16, 32, 64))
_register("resnet20", BasicBlock, (3, 3, 3), (16, 32, 64))
_register("resnet56", BasicBlock, (9, 9, 9), (16, 32, 64))
