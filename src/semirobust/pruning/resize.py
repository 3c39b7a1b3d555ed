"""A network whose layers have the sizes that its weights say."""

import copy
from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from semirobust.core.errors import InputError

__all__ = ["resized"]


def resized(model: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """A copy of ``model`` with channels cut to fit ``weights``, which it then has; the way back from a plain
    state dict.

    Convolutions, linear layers and batch norms are given the sizes of their weights; the order of modules and
    what the forward pass does stays. So a network from which channels were removed needs no file but its
    weights.

    Raises:
        InputError: the weights are of another architecture: other names, other kernels, or more channels than
            there were.
    """
    found = copy.deepcopy(model)
    own = found.state_dict()
    if own.keys() != weights.keys():
        odd = sorted(own.keys() ^ weights.keys())
        raise InputError(
            f"weights: expected those of the same architecture, but {odd[0]} is in one and not in the other"
        )
    for name, tensor in weights.items():
        before = own[name].shape
        if tensor.dim() != len(before) or any(
            new > old for new, old in zip(tensor.shape, before, strict=True)
        ):
            raise InputError(
                f"weights: {name} is {tuple(tensor.shape)}, which no removal of channels makes of"
                f" {tuple(before)}"
            )
        if tensor.shape[2:] != before[2:]:
            raise InputError(
                f"weights: {name} has another kernel, {tuple(tensor.shape[2:])} for {tuple(before[2:])}"
            )
        place, _, last = name.rpartition(".")
        module = found.get_submodule(place)
        if tensor.shape == before:
            continue
        if last in module._parameters:
            module._parameters[last] = nn.Parameter(tensor.detach().clone())
        else:
            module._buffers[last] = tensor.detach().clone()
    for module in found.modules():
        _renumber(module)
    found.load_state_dict(dict(weights))
    return found


def _renumber(module: nn.Module) -> None:
    """Bring the numbers that a module keeps beside its weights in line with them."""
    if isinstance(module, _ConvNd):
        if module.groups > 1 and module.groups == module.in_channels:  # one filter for each channel
            module.groups = module.weight.shape[0]
        module.out_channels, module.in_channels = (
            module.weight.shape[0],
            module.weight.shape[1] * module.groups,
        )
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.running_mean is not None:
        module.num_features = len(module.running_mean)
    elif isinstance(module, nn.LayerNorm) and module.weight is not None:
        module.normalized_shape = tuple(module.weight.shape)
    elif isinstance(module, nn.GroupNorm) and module.weight is not None:
        module.num_channels = len(module.weight)
