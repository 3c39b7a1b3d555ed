"""Layers whose module is called, so that another module in its place acts."""

from collections.abc import Iterable

from semirobust.core.errors import InputError
from semirobust.layers.map import LayerMap

__all__ = ["check_called"]


def check_called(layers: LayerMap, indices: Iterable[int]) -> None:
    """Raise ``InputError`` for a layer whose weight a function takes out of its module.

    An update that stands in the place of the module would then neither act nor train.
    """
    for index in indices:
        if (layer := layers.at(index)).functional:
            raise InputError(
                f"layer {layer.name}: expected a module that is called, but a function takes its weight, so"
                " no update of the module would act; selected and clat train the weight itself"
            )
