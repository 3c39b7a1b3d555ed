"""The form of every training hook."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

from semirobust.core.seed import Seed
from semirobust.core.typed import Typed

if TYPE_CHECKING:
    from semirobust.layers.map import LayerMap
    from semirobust.training.run import Batch, Run
    from semirobust.training.training import Training

__all__ = ["AbstractHook", "AbstractHookState"]


class AbstractHookState:
    """What one hook does in one run, and what it remembers there.

    The training loop calls each method at its point, for all hooks in their order. A method that a hook does
    not define does nothing.

    Attributes:
        replays: optimiser steps in a row on each batch.
        replaces_attack: :meth:`perturbed` gives the perturbed images, and the attack never runs.
        rate: a factor on the learning rate of the schedule.
        rates: further factors, on that of single parameters, by name.
    """

    replays: int = 1
    replaces_attack: bool = False
    rate: float = 1.0
    rates: Mapping[str, float] = {}

    def perturbed(self, batch: "Batch", seed: Seed) -> Tensor | None:
        """``x_adv`` (N, ...) for the batch, in place of an attack; None leaves it to the attack."""
        return None

    def start(self, batch: "Batch") -> Tensor | None:
        """Points (N, ...) of the threat model from which the attack starts; None for the attack's own."""
        return None

    def after_attack(self, batch: "Batch", x_adv: Tensor) -> None:
        """Called with the perturbed images (N, ...) on which the network is about to train."""

    def before_loss(self, loss: Callable[[], Tensor]) -> None:
        """May perturb the weights at which the outer loss is taken; ``loss`` computes it at those of now."""

    def after_optimiser(self) -> None:
        """Called right after the optimiser's step; takes back what :meth:`before_loss` did to the weights."""

    def after_step(self, batch: "Batch", x_adv: Tensor) -> None:
        """Called when the weights are those after the step. The gradient of ``x_adv`` is there if it is a
        leaf that asked for one.
        """

    def after_epoch(self) -> None:
        """Called after the last step of an epoch, before validation."""

    def network(self, seed: Seed) -> nn.Module | None:
        """The network, in eval mode, that is validated after this epoch and kept if it is the best; None for
        the one that trains.
        """
        return None

    def after_validation(self, score: float) -> bool:
        """Called with the score of an epoch that decides which is best; its number where nothing is held out.
        True takes the run back to the weights of its best epoch, from which it goes on.
        """
        return False

    def tensors(self) -> Mapping[str, Tensor]:
        """What a resumed run needs of it."""
        return {}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from what :meth:`tensors` gave; empty if the run was saved before it gave any."""


@dataclass(frozen=True)
class AbstractHook(Typed, ABC):
    """Takes part in a training run at the points of :class:`AbstractHookState`.

    A concrete hook is a frozen dataclass whose fields are its hyper-parameters. What it remembers while a run
    lasts is in the state object that :meth:`begin` makes, so that one hook serves many runs.

    Attributes:
        role: what only one hook of a run can do, as a phrase that completes "expected at most one hook
            that"; empty for a hook that goes with all others.
        needs_validation: whether it decides by scores on held-out images.
    """

    like: ClassVar[str] = "EMA()"

    role: ClassVar[str] = ""
    needs_validation: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """That of its class. Its tensors are kept under this name, so no two hooks of a run may share it."""
        return type(self).__name__

    def check(self, training: "Training") -> None:
        """Raise ``InputError`` if it cannot take part in ``training``."""
        return

    def apart(self, layers: "LayerMap", epoch: int) -> tuple[int, ...]:
        """The layers that it treats unlike the others in an epoch, from 0; none where all alike."""
        return ()

    @abstractmethod
    def begin(self, run: "Run") -> AbstractHookState:
        """Its state in a new run, whose network has its initial weights."""
