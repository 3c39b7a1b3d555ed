"""Exponential moving average of the weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

from semirobust.core.seed import Seed
from semirobust.training.hooks import HOOKS, AbstractHook
from semirobust.training.hooks.base.average import VALIDATED, Average, check_fraction
from semirobust.training.hooks.base.hook import AbstractHookState

if TYPE_CHECKING:
    from semirobust.training.run import Run

__all__ = ["EMA"]


@HOOKS.register("ema")
@dataclass(frozen=True)
class EMA(AbstractHook):
    """Validates and keeps an exponential average of the weights (Gowal et al. 2020).

    After every step avg <- decay avg + (1 - decay) w. The first step sets avg to w. With ``warm_up`` the
    decay of step n, from 0, is min(decay, (1 + n) / (10 + n)), as in the code of Rade & Moosavi-Dezfooli
    (2022) and Wang et al. (2023): in a short training the first weights then weigh little.

    Args:
        decay: of the weights seen so far.
        warm_up: let the decay grow to that.
        after: fraction of the epochs after which the average is validated in place of the network.
    """

    role: ClassVar[str] = VALIDATED

    decay: float = 0.999
    after: float = 0.0
    warm_up: bool = False

    def __post_init__(self) -> None:
        check_fraction(decay=self.decay, after=self.after)

    def begin(self, run: "Run") -> AbstractHookState:
        return _State(self, run)


class _State(AbstractHookState):
    def __init__(self, hook: EMA, run: "Run") -> None:
        self._hook, self._run = hook, run
        self._average = Average(run, hook.decay, warm_up=hook.warm_up)

    def after_step(self, batch: object, x_adv: Tensor) -> None:
        self._average.update()

    def network(self, seed: Seed) -> nn.Module | None:
        return self._average.network(seed) if self._run.is_after(self._hook.after) else None

    def tensors(self) -> Mapping[str, Tensor]:
        return self._average.tensors()

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        self._average.load(tensors)
