"""Layers whose weight acts where their module is called, so that another module in its place acts for it."""

from collections.abc import Iterable

from semirobust.core.errors import InputError
from semirobust.layers.map import LayerMap

__all__ = ["check_called"]


def check_called(layers: LayerMap, names: Iterable[str]) -> None:
    """Raise ``InputError`` for a layer or module whose weight a function takes, or another module too.

    An update that stands in the place of the module would not act there, and merged into the weight it would.
    """
    elsewhere = {*layers.shared, *layers.functions.values()}
    for name in names:
        if name in elsewhere:
            raise InputError(
                f"layer {name}: expected a weight that acts in its own module alone, but a function or"
                " another module takes it, where no update of the module would act; selected and clat train"
                " the weight itself"
            )
