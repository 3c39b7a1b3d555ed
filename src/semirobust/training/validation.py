"""What validation says after an epoch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import nn

from semirobust.core.seed import Seed
from semirobust.layers.scores import ScoreName

__all__ = ["Validate", "ValidationScores", "as_scores"]


@dataclass(frozen=True)
class ValidationScores:
    """Scores of a network on held-out images; higher is better.

    Attributes:
        metrics: by name, such as ``clean`` and ``robust``.
        by_layer: measures by layer that are followed, by measure and then by the layer's index.
    """

    metrics: Mapping[str, float]
    by_layer: Mapping[ScoreName, Mapping[int, float]] = field(default_factory=dict)


Validate = Callable[[nn.Module, Seed], Mapping[str, float] | ValidationScores]
"""Scores of a network on held-out images; a plain mapping is that of the metrics."""


def as_scores(scores: Mapping[str, float] | ValidationScores) -> ValidationScores:
    """The scores, whichever form they have."""
    return scores if isinstance(scores, ValidationScores) else ValidationScores(dict(scores))
