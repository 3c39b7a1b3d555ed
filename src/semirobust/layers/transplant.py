"""Layers of one network put into another of the same build."""

from collections.abc import Iterable

import torch
from torch import nn

from semirobust.core.errors import InputError
from semirobust.layers.map import LayerMap

__all__ = ["transplant"]


def transplant(model: nn.Module, donor: nn.Module, layers: LayerMap, indices: Iterable[int]) -> None:
    """Overwrite the given layers of ``model`` in place with those of ``donor``: parameters, norms and their
    statistics.

    Args:
        model: the module that ``layers`` describes.
        donor: a module of the same build; it is left as it is.
        layers: the layer map of both.
        indices: the layers to take over.

    Raises:
        InputError: the donor lacks one of the tensors, or has it in another shape.
    """
    owners = set(layers.modules(indices))
    there = donor.state_dict()
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.rpartition(".")[0] in owners:
                given = there.get(name)
                if given is None or given.shape != value.shape:
                    found = "none" if given is None else f"one of shape {tuple(given.shape)}"
                    raise InputError(f"donor: expected {name} of shape {tuple(value.shape)}, found {found}")
                value.copy_(given)
