"""The first layers of a convolutional network, for small images and for those of ImageNet."""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Stem", "first_convolution", "first_pooling"]

Stem = Literal["small", "imagenet"]
"""``small``: a 3x3 convolution of stride 1, for images of about 32 pixels. ``imagenet``: a 7x7 one of stride
2 and a 3x3 max pooling of stride 2, for about 224 pixels (He et al. 2016a).
"""


def first_convolution(in_channels: int, outputs: int, stem: Stem) -> nn.Conv2d:
    """The convolution of the stem."""
    size, stride = (7, 2) if stem == "imagenet" else (3, 1)
    return nn.Conv2d(in_channels, outputs, size, stride, size // 2, bias=False)


def first_pooling(x: Tensor, stem: Stem) -> Tensor:
    """The pooling of the stem; there is none for small images."""
    return F.max_pool2d(x, 3, 2, 1) if stem == "imagenet" else x
