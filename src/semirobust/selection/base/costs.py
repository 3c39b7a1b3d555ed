"""What it costs to train a layer, as a share of the network."""

from typing import Literal, get_args

from semirobust.core.errors import InputError
from semirobust.layers.map import LayerMap

__all__ = ["Cost", "check_share", "shares_of"]

Cost = Literal["parameters", "macs"]
"""What a layer costs: its parameters, without class tokens and embeddings of positions, which do not train
with it; or its multiply-accumulate operations for one example.
"""


def check_share(share: float, cost: str = "parameters") -> None:
    """Raise ``InputError`` for a share outside of (0, 1] or another cost."""
    if not 0 < share <= 1:
        raise InputError(f"share: expected more than 0, at most 1; got {share}")
    if cost not in get_args(Cost):
        raise InputError(f"cost: expected parameters or macs; got {cost!r}")


def shares_of(layers: LayerMap | None, cost: Cost) -> dict[int, float]:
    """Layer -> its part of what all layers cost.

    Raises:
        InputError: the map of the network is not at hand, or its layers cost nothing.
    """
    if layers is None:
        raise InputError("layers: expected the layer map of the network, for what a layer costs; got none")
    costs = {
        layer.index: float(sum(layers.sizes.get(n, 0) for n in layer.parameters if n not in layer.tokens))
        if cost == "parameters"
        else layer.macs
        for layer in layers
    }
    if not (total := sum(costs.values())):
        raise InputError(f"cost: expected layers that have {cost}; those of this network have none")
    return {index: each / total for index, each in costs.items()}
