"""What a network of the study is, and what is run from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Network"]


@dataclass(frozen=True)
class Network:
    """How a base is trained and which groups of runs go on from it.

    Attributes:
        groups: of the runs in ``study.py``.
        changes: to the scale's recipe.
        weight: lambda of CLAT, scale-free: of the sweep's the best on held-out images.
        seeds: how many, where fewer than the scale asks for.
        start: the file that all arms start from: the last epoch's, or the best one's, which is averaged where
            weights are.
        goes_on: options of the control that goes on as the base was trained, and entries of the recipe that
            only it has.
    """

    groups: tuple[str, ...]
    changes: Mapping[str, Any] = field(default_factory=dict)
    weight: float = 1.0
    seeds: int | None = None
    start: str = "last.safetensors"
    goes_on: tuple[Mapping[str, Any], Mapping[str, Any]] = ({}, {})
