"""Building a model by name."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from semirobust.core.checks import check_counts
from semirobust.core.errors import InputError
from semirobust.core.seed import Seed, as_seed
from semirobust.core.typed import returned, typed
from semirobust.models import MODELS, Classifier

__all__ = ["build_model"]


@typed
def build_model(
    name: str,
    num_classes: int = 10,
    width: float = 1.0,
    *,
    in_channels: int = 3,
    image_size: int = 32,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    seed: int | Seed = 0,
    **options: Any,
) -> Classifier:
    """A newly initialised architecture in eval mode; training switches the mode itself.

    Args:
        name: one of ``semirobust.models.MODELS.names()``, such as ``resnet18`` or ``wrn_34_10``.
        num_classes: C, at least 2.
        width: factor on all channel counts; 0.25 suits a CPU.
        in_channels: K.
        image_size: H = W.
        mean, std: the normalisation inside the model, by channel; 0.5 and 0.25 where None.
        seed: of the initial weights; the global generators are restored afterwards.
        options: further options of the architecture, such as ``scale`` of ``capacity_cnn``.

    Raises:
        InputError: an unknown name or option, or a value out of range.
    """
    check_counts(2, num_classes=num_classes)
    check_counts(1, in_channels=in_channels, image_size=image_size)
    if not width > 0:
        raise InputError(f"width: expected a positive factor, got {width}")
    with (as_seed(seed) / "initialise").globally():
        model = MODELS.make(
            name,
            options,
            num_classes=num_classes,
            width=width,
            in_channels=in_channels,
            image_size=image_size,
            mean=mean,
            std=std,
        )
    return returned(model, nn.Module, MODELS.find(name)[0]).eval()
