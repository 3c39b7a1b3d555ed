"""Weights put into a model, and the versions that its modules read them by."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

__all__ = ["load_state", "versions_of"]

_NAME = "_metadata"  # by which PyTorch looks for versions
_FIRST = 1  # the version of modules that say none


def load_state(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    versions: Mapping[str, Any] | None = None,
    *,
    strict: bool = True,
) -> None:
    """``model.load_state_dict`` for weights in any mapping.

    Some modules (torchvision's MNASNet) ask for the version of their state, which only ``state_dict`` itself
    writes.

    Args:
        model: is filled in place.
        weights: by name.
        versions: as ``state_dict`` notes them, by module; those of the model where None.
        strict: as in ``load_state_dict``.
    """
    own: Mapping[str, Any] = getattr(model.state_dict(keep_vars=True), _NAME, {})
    state: OrderedDict[str, Tensor] = OrderedDict(weights)
    setattr(state, _NAME, OrderedDict({**own, **(versions or {})}))
    model.load_state_dict(state, strict=strict)


def versions_of(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The versions that ``state_dict`` noted, of the modules where they are not the first, to be written
    down: empty, or one entry ``versions``.
    """
    noted = getattr(state, _NAME, {})
    found = {name: entry for name, entry in noted.items() if entry.get("version", _FIRST) != _FIRST}
    return {"versions": found} if found else {}
