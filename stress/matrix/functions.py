"""The functions of the matrix by name, in the order in which they run."""

from collections.abc import Callable

from stress.matrix import layers, measures, training
from stress.matrix.case import Case

__all__ = ["FUNCTIONS"]

FUNCTIONS: dict[str, Callable[[Case], str]] = {
    "layer_map": layers.layer_map,
    "features": layers.features,
    "forward_to": layers.forward_to,
    "split": layers.split,
    "only_trainable": layers.only_trainable,
    "criticality": measures.criticality,
    "connectivity": measures.connectivity,
    "evaluate": training.evaluate,
    "harden": training.harden,
    "train": training.train,
    "usefulness": measures.usefulness,
    "semirobustness": measures.semirobustness,
    "footprint": measures.footprint,
    "lottery": training.lottery,
    "channels": training.channels,
}
"""Each is a check: it gives a few words where all is well, and raises otherwise."""
