"""Which layers are the latter ones."""

import math

from semirobust.layers.map import LayerMap

__all__ = ["latter"]


def latter(layers: LayerMap, share: float) -> tuple[int, ...]:
    """The last layers, a fraction ``share`` of all but the classifier, rounded up."""
    before = tuple(i for i in layers.indices if i not in layers.classifier) or layers.indices
    return before[len(before) - math.ceil(share * len(before)) :]
