"""A network whose layers take the sizes of given weights."""

import copy
from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from semirobust.core.errors import InputError

__all__ = ["resized"]


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
    small = copy.deepcopy(model)
    state = small.state_dict()
    if state.keys() != weights.keys():
        unmatched = sorted(state.keys() ^ weights.keys())
        raise InputError(
            f"weights: expected those of the same architecture, but {unmatched[0]} is in one and not in the"
            " other"
        )
    for name, tensor in weights.items():
        before = state[name].shape
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
        if tensor.shape == before:
            continue
        module_name, _, attribute = name.rpartition(".")
        module = small.get_submodule(module_name)
        if attribute in module._parameters:
            module._parameters[attribute] = nn.Parameter(tensor.detach().clone())
        else:
            module._buffers[attribute] = tensor.detach().clone()
    for module in small.modules():
        _update_sizes(module)
    small.load_state_dict(dict(weights))
    return small


def _update_sizes(module: nn.Module) -> None:
    """Make the sizes that a module stores as attributes those of its weights."""
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
