"""Weights put into a model."""

from collections import OrderedDict
from collections.abc import Mapping

from torch import Tensor, nn

__all__ = ["load_state"]


def load_state(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """``model.load_state_dict`` for weights in any mapping.

    Some modules (torchvision's MNASNet) ask for the version of their state, which only ``state_dict`` itself
    writes; it is that of the model.
    """
    state: OrderedDict[str, Tensor] = OrderedDict(weights)
    # PyTorch looks for it by this name.
    setattr(state, "_metadata", getattr(model.state_dict(keep_vars=True), "_metadata", {}))  # noqa: B010
    model.load_state_dict(state)
