"""Adversarial training of the last layers behind a frozen prefix."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from semirobust.core.errors import InputError
from semirobust.layers.map import LayerMap
from semirobust.methods import METHODS
from semirobust.methods.base.method import AbstractMethod, Context, Plan
from semirobust.objectives import AbstractObjective
from semirobust.objectives.adversarial import Adversarial
from semirobust.objectives.dependent import Dependent, DependsOn
from semirobust.training.trainable import Fixed, Replayed

__all__ = ["SuffixAdversarial"]


@METHODS.register("suffix")
@dataclass(frozen=True)
class SuffixAdversarial(AbstractMethod):
    """PGD-AT of the last ``layers`` layers; those before are frozen, batch norm too, and need no weight
    gradient.

    Source: the semirobustness paper, algorithm 1. Its tables count the layers of the suffix: 4, 8 and 12. It
    starts from a network whose prefix is robust.

    Args:
        layers: how many layers, counted from the output, train.
        prefix_epochs: number of first epochs in which all layers train by PGD-AT, to make the prefix robust
            (ours); 0 where it is robust.
        dependence: reward dependence between layers, by ``hsic`` or ``cka`` as in
            :class:`semirobust.objectives.dependent.Dependent`; ``none`` is the paper's algorithm.
        weight: of that dependence.
        on: what every layer of the suffix is to depend on, the layer ``before`` it or the ``prefix``.
    """

    layers: int | Sequence[int] = 4
    prefix_epochs: int = 0
    dependence: Literal["none", "hsic", "cka"] = "none"
    weight: float = 0.5
    on: DependsOn = "before"

    def plan(self, context: Context) -> Plan:
        if self.prefix_epochs < 0:
            raise InputError(f"prefix_epochs: expected at least 0, got {self.prefix_epochs}")
        suffix = self.suffix(context.layers)
        # None stands for all layers: these train in the first epochs, the suffix in the others.
        trainable = Replayed((*(None,) * self.prefix_epochs, suffix)) if self.prefix_epochs else Fixed(suffix)
        objective: AbstractObjective = Adversarial()
        if self.dependence != "none":
            objective = Dependent(self.dependence, self.weight, self.on)
        return Plan(objective, trainable, prefix_epochs=self.prefix_epochs)

    def of(self, layers: int) -> "SuffixAdversarial":
        """The same method with another number of layers."""
        return replace(self, layers=layers)

    def suffix(self, layers: LayerMap) -> tuple[int, ...]:
        """The layers that train.

        Raises:
            InputError: not one number, or none or all of the layers.
        """
        counts = [self.layers] if isinstance(self.layers, int) else list(self.layers)
        n = len(layers)
        if len(counts) != 1 or not 1 <= counts[0] < n:
            raise InputError(
                f"layers: expected how many layers from the output train, 1 to {n - 1}; got {self.layers!r}"
            )
        return tuple(range(n - counts[0] + 1, n + 1))
