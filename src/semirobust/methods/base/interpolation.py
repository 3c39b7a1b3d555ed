"""The straight line between the weights before training and those after."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from semirobust.core.seed import Seed
from semirobust.core.state import load_state
from semirobust.training.training import Trained, Validate
from semirobust.training.validation import as_scores

__all__ = ["interpolated", "validated_line"]


def interpolated(start: Mapping[str, Tensor], end: Mapping[str, Tensor], alpha: float) -> dict[str, Any]:
    """``start + alpha (end - start)``; integers, such as a count of batches, are those of ``end``."""
    with torch.no_grad():
        return {
            n: torch.lerp(t, end[n].to(t), alpha) if t.is_floating_point() else end[n]
            for n, t in start.items()
        }


def validated_line(
    trained: Trained, start: Mapping[str, Tensor], steps: int, validate: Validate, seed: Seed
) -> list[tuple[float, Mapping[str, float]]]:
    """Validation scores along the line, each with its alpha: 0 is ``start``, 1 is the best epoch.

    The model has the same weights afterwards as before.
    """
    model, last = trained.model, {name: tensor.clone() for name, tensor in trained.model.state_dict().items()}
    scores: list[tuple[float, Mapping[str, float]]] = []
    for step in range(steps + 1):
        load_state(model, interpolated(start, trained.best, step / steps))
        scores.append((step / steps, as_scores(validate(model.eval(), seed)).metrics))
    load_state(model, last)  # as the model was before
    return scores
