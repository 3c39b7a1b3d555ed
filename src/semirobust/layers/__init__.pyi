"""The public names of this room; ``__init__.py`` imports each from here when it is first used."""

from .features import Place as Place
from .features import forward_to as forward_to
from .freeze import frozen as frozen
from .freeze import only_trainable as only_trainable
from .macs import macs_by_module as macs_by_module
from .map import Layer as Layer
from .map import LayerMap as LayerMap
from .map import layer_map as layer_map
from .scores import LayerScores as LayerScores

__all__ = [
    "Layer",
    "LayerMap",
    "LayerScores",
    "Place",
    "forward_to",
    "frozen",
    "layer_map",
    "macs_by_module",
    "only_trainable",
]
