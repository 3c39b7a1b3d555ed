"""Another learning rate for the latter layers."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from semirobust.core.errors import InputError
from semirobust.layers.map import LayerMap
from semirobust.training.hooks import HOOKS, AbstractHook
from semirobust.training.hooks.base.hook import AbstractHookState
from semirobust.training.hooks.base.latter import latter

if TYPE_CHECKING:
    from semirobust.training.run import Run

__all__ = ["LatterRate"]


@HOOKS.register("latter-rate")
@dataclass(frozen=True)
class LatterRate(AbstractHook):
    """The learning rate of the latter layers times a factor; 0 leaves their weights as they are.

    Source: Nguyen et al. 2024 (TMLR) find that robust overfitting arises in the latter layers, and regularise
    their learning rate. Their formula could not be established, so the constant factor is ours.

    Args:
        share: of the layers but the classifier, counted from the output and rounded up; 0 for none.
        factor: on the learning rate of the schedule.
    """

    share: float = 0.25
    factor: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1 or not self.factor >= 0:
            given = f"{self.share} and {self.factor}"
            raise InputError(f"share and factor: expected from 0 to 1, and at least 0; got {given}")

    def apart(self, layers: LayerMap, epoch: int) -> tuple[int, ...]:
        return () if self.factor == 1 else latter(layers, self.share)

    def begin(self, run: "Run") -> AbstractHookState:
        return _State(self, run)


class _State(AbstractHookState):
    def __init__(self, hook: LatterRate, run: "Run") -> None:
        names = run.layers.parameters(latter(run.layers, hook.share))
        self.rates = dict.fromkeys(names, hook.factor)
