"""A learning rate that validation lowers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from semirobust.core.errors import InputError
from semirobust.training.hooks import AbstractHook
from semirobust.training.hooks.base.hook import AbstractHookState

if TYPE_CHECKING:
    from semirobust.training.run import Run

__all__ = ["AutomaticRate", "checkpoints", "lowers"]

# Epochs of 50 in the authors' code, from 0; the first window is the longest, as in AutoAttack.
_CHECKPOINTS, _OF = (16, 24, 28, 36, 40, 42, 44, 46, 48), 50


@dataclass(frozen=True)
class AutomaticRate(AbstractHook):
    """At certain epochs the learning rate is divided and the run goes back to its best epoch, where held-out
    robust accuracy has stopped rising.

    Source: the scheduler of AutoLoRA (Xu et al. 2024), which has the rule of the step size in APGD (Croce &
    Hein 2020). At a checkpoint the rate falls where accuracy rose in less than ``share`` of the epochs since
    the checkpoint before, or where none of these was the best so far. The second rule does not hold at the
    first checkpoint, as in their code; their text has it only where the rate did not fall at the checkpoint
    before. Momentum stays. Checkpoints are those of their 50 epochs (:func:`checkpoints`), as fractions of
    the epochs that there are (ours).

    Args:
        share: of epochs in which accuracy must rise; 0.75 in the authors' code.
        divide: what the rate is divided by; 2 in the authors' code.
    """

    role: ClassVar[str] = "sets the learning rate"
    needs_validation: ClassVar[bool] = True

    share: float = 0.75
    divide: float = 2.0

    def __post_init__(self) -> None:
        if not (0 <= self.share <= 1 and self.divide >= 1):
            raise InputError(
                f"share and divide: expected a fraction and at least 1, got {self.share} and {self.divide}"
            )

    def begin(self, run: "Run") -> AbstractHookState:
        return _State(self, run)


def checkpoints(epochs: int) -> tuple[int, ...]:
    """The epochs, from 0, after which the rate may fall: 16, 24, 28, 36, 40, 42, 44, 46 and 48 of 50."""
    found = {round(at * epochs / _OF) for at in _CHECKPOINTS}
    return tuple(sorted(at for at in found if 0 < at < epochs))


def lowers(scores: Sequence[float], at: Sequence[int], share: float) -> bool:
    """Whether the rate falls after the last of these scores, one an epoch, with checkpoints ``at``."""
    now = len(scores) - 1
    if now not in at:
        return False
    before = max((point for point in at if point < now), default=0)
    rises = sum(scores[i + 1] > scores[i] for i in range(before, now))
    no_better = before > 0 and max(scores) == max(scores[: before + 1])
    return rises < share * (now - before) or no_better


class _State(AbstractHookState):
    def __init__(self, hook: AutomaticRate, run: "Run") -> None:
        self._hook, self._at, self._last = hook, checkpoints(run.training.epochs), run.training.epochs
        self._scores: list[float] = []

    def after_validation(self, score: float) -> bool:
        self._scores.append(score)
        # Nothing trains after the last epoch, so it goes nowhere.
        if len(self._scores) == self._last or not lowers(self._scores, self._at, self._hook.share):
            return False
        self.rate /= self._hook.divide
        return True

    def tensors(self) -> Mapping[str, Tensor]:
        return {"scores": torch.tensor(self._scores, dtype=torch.float64)}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        self._scores, self.rate = [], 1.0
        # The rate follows from the scores.
        for score in tensors["scores"].tolist() if tensors else []:
            self.after_validation(float(score))
