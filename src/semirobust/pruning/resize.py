"""A network whose layers take the sizes of given weights."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from semirobust.core.errors import InputError
from semirobust.core.state import load_state

__all__ = ["resized", "update_sizes"]


def resized(model: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """A copy of ``model`` with fewer channels, as ``weights`` has them, filled with these weights.

    Convolutions, linear layers and norms take the sizes of their weights. The modules and the forward pass
    stay the same. So a network from which channels were removed can be restored from its state dict alone.

    Args:
        model: the network before channels were removed; it is left as it is.
        weights: a state dict of the smaller network.

    Raises:
        InputError: the weights are of another architecture: other names, other kernels, or more channels than
            ``model`` has.
    """
    # What is replaced below need not be copied first.
    kept = {id(tensor): tensor for tensor in model.state_dict(keep_vars=True).values()}
    small = copy.deepcopy(model, dict(kept))
    state = small.state_dict(keep_vars=True)
    if state.keys() != weights.keys():
        unmatched = sorted(state.keys() ^ weights.keys())
        raise InputError(
            f"weights: expected those of the same architecture, but {unmatched[0]} is in one and not in the"
            " other"
        )
    named = dict(small.named_modules())
    made: dict[tuple[int, torch.Size], Tensor] = {}  # a tensor that two modules share stays one
    for name, tensor in weights.items():
        old = state[name]
        owner, _, attribute = name.rpartition(".")
        if not isinstance(old, Tensor) or owner not in named:
            continue  # state of another kind, which the module reads itself
        _check_shape(name, tensor, old, named[owner])
        new = made.get((id(old), tensor.shape))
        if new is None:
            # What keeps its shape keeps its memory format, too.
            new = torch.empty_like(old) if old.shape == tensor.shape else old.new_empty(tensor.shape)
            new = new.detach().copy_(tensor.detach())
            new = nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new
            made[id(old), tensor.shape] = new
        # An LSTM has a list of its weights beside them, which it mends when they are set.
        setattr(named[owner], attribute, new)
    for module in small.modules():
        update_sizes(module)
    load_state(small, weights)
    return small


def _check_shape(name: str, tensor: Tensor, old: Tensor, module: nn.Module) -> None:
    if tensor.dim() != old.dim() or any(a > b for a, b in zip(tensor.shape, old.shape, strict=True)):
        raise InputError(
            f"weights: {name} is {tuple(tensor.shape)}, which no removal of channels makes of"
            f" {tuple(old.shape)}"
        )
    if isinstance(module, _ConvNd) and tensor.shape[2:] != old.shape[2:]:
        raise InputError(
            f"weights: {name} has another kernel, {tuple(tensor.shape[2:])} for {tuple(old.shape[2:])}"
        )


def update_sizes(module: nn.Module) -> None:
    """Make the sizes that a module stores as attributes those of its weights."""
    if isinstance(module, _ConvNd):
        if module.groups > 1 and module.groups == module.in_channels == module.out_channels:  # depthwise
            module.groups = module.weight.shape[0]
        first, second = module.weight.shape[0], module.weight.shape[1] * module.groups
        if module.transposed:
            first, second = second, first
        module.out_channels, module.in_channels = first, second
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, _NormBase):
        one = module.running_mean if module.weight is None else module.weight
        module.num_features = module.num_features if one is None else len(one)
    elif isinstance(module, nn.LayerNorm) and module.weight is not None:
        module.normalized_shape = tuple(module.weight.shape)
    elif isinstance(module, nn.GroupNorm) and module.weight is not None:
        module.num_channels = len(module.weight)
    elif isinstance(module, nn.PReLU):
        module.num_parameters = len(module.weight)
    elif isinstance(module, nn.LSTM):
        assert isinstance(module.weight_ih_l0, Tensor)
        module.input_size = module.weight_ih_l0.shape[1]
    elif isinstance(module, nn.Embedding):
        module.embedding_dim = module.weight.shape[1]
