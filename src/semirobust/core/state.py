"""Weights put into a model, and the versions that its modules read them by."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

__all__ = ["State", "grouped", "in_groups", "load_state", "versions_of"]

_NAME = "_metadata"  # by which PyTorch looks for versions
_FIRST = 1  # the version of modules that say none


class State(OrderedDict[str, Tensor]):
    """Weights by name with the versions that their modules were of, as ``state_dict`` gives them.

    Args:
        tensors: by name.
        versions: ``{"version": number}`` by module; or a state dict that notes them.
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]] = (),
        versions: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(tensors)
        self._metadata: dict[str, Any] = OrderedDict(getattr(versions, _NAME, versions or {}))


def load_state(model: nn.Module, weights: Mapping[str, Tensor], *, strict: bool = True) -> None:
    """``model.load_state_dict`` for weights in any mapping.

    Some modules (torchvision's MNASNet) ask for the version of their state, which only ``state_dict`` itself
    writes and a plain dictionary loses; where ``weights`` note none it is that of the model.

    Args:
        model: is filled in place.
        weights: by name.
        strict: as in ``load_state_dict``.
    """
    own: Mapping[str, Any] = getattr(model.state_dict(keep_vars=True), _NAME, {})
    noted: Mapping[str, Any] = getattr(weights, _NAME, {})
    model.load_state_dict(State(weights, {**own, **noted}), strict=strict)


def versions_of(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The versions that ``state`` notes, of the modules where they are not the first."""
    noted = getattr(state, _NAME, {})
    return {name: entry for name, entry in noted.items() if entry.get("version", _FIRST) != _FIRST}


def in_groups(groups: Mapping[str, Mapping[str, Tensor]]) -> State:
    """Several states as one, whose names begin with that of the group and a slash."""
    return State(
        {f"{group}/{name}": tensor for group, named in groups.items() for name, tensor in named.items()},
        {
            f"{group}/{name}": entry
            for group, named in groups.items()
            for name, entry in getattr(named, _NAME, {}).items()
        },
    )


def grouped(state: Mapping[str, Tensor], names: Iterable[str] = ()) -> dict[str, State]:
    """What :func:`in_groups` was given; those called ``names`` are there even if they are empty."""
    groups = {name: State() for name in names}
    for name, tensor in state.items():
        group, _, rest = name.partition("/")
        groups.setdefault(group, State())[rest] = tensor
    for name, entry in getattr(state, _NAME, {}).items():
        group, _, rest = name.partition("/")
        if group in groups:
            groups[group]._metadata[rest] = entry
    return groups
