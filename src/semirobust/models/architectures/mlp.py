"""Fully connected networks."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from semirobust.models import MODELS, Classifier
from semirobust.models.base.classifier import channels

__all__ = ["mlp_300_100_100"]


@MODELS.register("mlp_300_100_100")
def mlp_300_100_100(
    *,
    num_classes: int,
    width: float,
    in_channels: int,
    image_size: int,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> Classifier:
    """Hidden layers of 300, 100 and 100 units with ReLU, as for robust lottery tickets ("Lighter robust
    model").
    """
    sizes = [in_channels * image_size**2, *(channels(c, width) for c in (300, 100, 100))]
    modules: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise(sizes):
        modules += [nn.Linear(inputs, outputs), nn.ReLU()]
    modules.append(nn.Linear(sizes[-1], num_classes))
    return Classifier(nn.Sequential(*modules), in_channels=in_channels, mean=mean, std=std)
