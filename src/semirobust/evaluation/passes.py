"""What an evaluation and its checks cost, in passes of one image through a network, forward or backward."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from semirobust.evaluation.accuracy import Evaluation
from semirobust.fast.model import FastModel

__all__ = ["FEWEST", "LEAST", "SHARE", "Passes", "allowed", "passes_of"]

SHARE = 5
"""One of so many passes of an evaluation is what its sanity checks may add."""
LEAST = 200
"""Passes that they may make in any case, for the two that cost little; every evaluation looks at its network
for as long, beside what it counts."""
FEWEST = 10
"""Images that a check looks at, or it judges nothing; our own choice."""


def passes_of(found: Evaluation, *, drawn: bool = False) -> int:
    """At least so many passes an evaluation took, by its verdicts alone: one for each clean image, two for
    one that was fooled, and the whole attack for one that withstood it.

    Args:
        found: the evaluation.
        drawn: whether the network draws its answers, so that an example may leave a search early and still
            not be decided.
    """
    total, before = len(found.clean), found.clean
    seen: dict[str, Tensor] = {}
    for name, attack in found.robust.attacks.items():
        threat = found.threats.get(name, "")
        attacked = seen.get(threat, before) if found.cumulative else before
        standing = found.standing(name)
        whole = found.robust[name] if drawn else standing
        total += attack.cost * int(whole.sum()) + 2 * int((attacked & ~whole).sum())
        seen[threat] = standing
    return total


def allowed(evaluation: int) -> int:
    """How many passes checks may make beside an evaluation of so many."""
    return max(evaluation // SHARE, LEAST)


class Passes:
    """Counts passes, and knows how many are left.

    Args:
        most: how many may be made; None for any number.
    """

    def __init__(self, most: int | None = None) -> None:
        self.most, self.made = most, 0

    @property
    def left(self) -> float:
        """How many may still be made."""
        return math.inf if self.most is None else max(self.most - self.made, 0)

    def images(self, available: int, cost: float, share: float = 1.0) -> int:
        """How many of the available images can have a check that costs so many passes each at most, within a
        share of what is left.
        """
        return int(min(available, share * self.left / cost))

    def counting(self, model: nn.Module) -> nn.Module:
        """The network, whose passes are counted."""
        return _Counting(model, self)

    def counting_form(self, form: FastModel | None) -> FastModel | None:
        """The form of a network for a search, whose passes are counted."""
        if form is None:
            return None
        return replace(
            form,
            model=self.counting(form.model),
            logits=self._counted(form.logits),
            full=self.counting_form(form.full),
        )

    def _counted(self, call: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda x: self.count(call(x), len(x))

    def count(self, output: Any, images: int) -> Any:
        """An output for so many images: the pass that gave it, and those backward from it."""
        self.made += images
        if isinstance(output, Tensor) and output.requires_grad:
            output.register_hook(self._backward)
        return output

    def _backward(self, gradient: Tensor) -> None:
        self.made += len(gradient)


class _Counting(nn.Module):
    def __init__(self, model: nn.Module, passes: Passes) -> None:
        super().__init__()
        self.model, self.passes = model, passes
        self.train(model.training)

    def forward(self, x: Tensor) -> Any:
        return self.passes.count(self.model(x), len(x))
