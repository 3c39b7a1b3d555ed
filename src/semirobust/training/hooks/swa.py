"""Stochastic weight averaging."""

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

__all__ = ["SWA"]


@HOOKS.register("swa")
@dataclass(frozen=True)
class SWA(AbstractHook):
    """Validates and keeps the mean of the weights at the ends of epochs (Izmailov et al. 2018).

    Args:
        after: fraction of the epochs after which the mean begins; before that the network itself is
            validated.
    """

    role: ClassVar[str] = VALIDATED

    after: float = 0.0

    def __post_init__(self) -> None:
        check_fraction(after=self.after)

    def begin(self, run: "Run") -> AbstractHookState:
        return _State(self, run)


class _State(AbstractHookState):
    def __init__(self, hook: SWA, run: "Run") -> None:
        self._hook, self._run, self._average = hook, run, Average(run, None)

    def network(self, seed: Seed) -> nn.Module | None:
        if not self._run.is_after(self._hook.after):
            return None
        self._average.update()
        return self._average.network(seed)

    def tensors(self) -> Mapping[str, Tensor]:
        return self._average.tensors()

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        self._average.load(tensors)
