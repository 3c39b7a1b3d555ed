"""Layers of one network copied into another of the same architecture."""

from collections.abc import Iterable

import torch
from torch import nn

from semirobust.core.classifiers import unwrapped
from semirobust.core.errors import InputError
from semirobust.core.typed import typed
from semirobust.layers.map import LayerMap

__all__ = ["transplant"]


@typed
def transplant(model: nn.Module, donor: nn.Module, layers: LayerMap, indices: Iterable[int]) -> None:
    """Overwrite the given layers of ``model`` in place with those of ``donor``: parameters and statistics.

    Args:
        model: the module that ``layers`` describes.
        donor: a module of the same architecture; it is left as it is.
        layers: the layer map of both.
        indices: the layers to copy.

    Raises:
        InputError: the donor lacks one of the tensors, or has it in another shape.
    """
    model, donor, indices = unwrapped(model), unwrapped(donor), tuple(indices)
    modules, parameters = layers.modules(indices), layers.parameters(indices)
    # Not the parameters of a module: a function may take them, so that they are of another layer.
    tensors = {id(model.get_parameter(name)) for name in parameters}
    tensors |= {id(b) for name in modules for b in model.get_submodule(name).buffers(recurse=False)}
    donor_state = donor.state_dict()
    with torch.no_grad():
        for name, value in model.state_dict(keep_vars=True).items():
            if id(value) in tensors:
                source = donor_state.get(name)
                if source is None or source.shape != value.shape:
                    got = "none" if source is None else f"one of shape {tuple(source.shape)}"
                    raise InputError(f"donor: expected {name} of shape {tuple(value.shape)}, found {got}")
                value.copy_(source)
