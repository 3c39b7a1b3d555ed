"""Adversarial training of the last layers behind a frozen prefix."""

from collections.abc import Sequence
from dataclasses import dataclass

from semirobust.errors import InputError
from semirobust.layers.map import LayerMap
from semirobust.methods import METHODS
from semirobust.methods.base import AbstractMethod, Context, Plan
from semirobust.objectives.adversarial import Adversarial
from semirobust.training.trainable import Fixed

__all__ = ["SuffixAdversarial"]


@METHODS.register("suffix")
@dataclass(frozen=True)
class SuffixAdversarial(AbstractMethod):
    """PGD-AT of the last ``layers`` layers; all before them are frozen, batch norm included, and cost no weight gradient.

    Source: the semirobustness paper, algorithm 1, whose tables count the layers of the suffix: 4, 8 and 12. It starts
    from a network whose prefix is robust.

    Args:
        layers: how many layers from the output train.
    """

    layers: int | Sequence[int] = 4

    def plan(self, context: Context) -> Plan:
        return Plan(Adversarial(), Fixed(self.suffix(context.layers)))

    def suffix(self, layers: LayerMap) -> tuple[int, ...]:
        """The layers that train.

        Raises:
            InputError: not one number, or none or all of the layers.
        """
        counts = [self.layers] if isinstance(self.layers, int) else list(self.layers)
        n = len(layers)
        if len(counts) != 1 or not 1 <= counts[0] < n:
            raise InputError(f"layers: expected how many layers from the output train, 1 to {n - 1}; got {self.layers!r}")
        return tuple(range(n - counts[0] + 1, n + 1))
