"""The abstract class of every objective."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn

from semirobust.layers.map import LayerMap

__all__ = ["AbstractObjective", "Step"]


@dataclass(frozen=True)
class Step:
    """What an objective may look at in one training step.

    Attributes:
        model: the network. During the attack it is in eval mode without gradients of weights; for the outer
            loss it is in train mode, except for frozen layers.
        layers: its layer map.
        x: (N, K, H, W) the batch.
        y: (N,) its labels.
        selected: the layers that were chosen; but for objectives that mark some, those that train.
        reference: the value of :meth:`AbstractObjective.reference` when they were selected.
        measured: what :meth:`AbstractObjective.measure` gave before the epoch; None outside of a training.
    """

    model: nn.Module = field(repr=False)
    layers: LayerMap = field(repr=False)
    x: Tensor = field(repr=False)
    y: Tensor = field(repr=False)
    selected: tuple[int, ...]
    reference: float = 1.0
    measured: float | None = None


@dataclass(frozen=True)
class AbstractObjective(ABC):
    """min over the trained weights of E[ outer(x_adv) ], x_adv = argmax over the threat model of inner.

    Attributes:
        best_by: the validation score that chooses the best epoch.
        flat_at_start: whether the gradient of the inner loss is 0 at the image itself. An attack must then
            start elsewhere.
        holds_back: whether a part of the outer loss gives no gradient to the layers in front of some layer,
            though it depends on them.
    """

    best_by: ClassVar[str] = "robust"
    flat_at_start: ClassVar[bool] = False
    holds_back: ClassVar[bool] = False

    @abstractmethod
    def inner(self, step: Step) -> Callable[[Tensor], Tensor] | None:
        """The loss ``x_adv -> (N,)`` that the attack maximises; None trains without an attack."""

    @abstractmethod
    def outer(self, step: Step, x_adv: Tensor) -> Tensor:
        """The loss () that training minimises, a mean over the batch."""

    def measure(self, model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> float | None:
        """What the steps of an epoch are to know of the network before it, from all training images, in
        batches (x, y) as the epoch augments them; the model is in eval mode. None for nothing.
        """
        return None

    def reference(self, step: Step, x_adv: Tensor) -> float:
        """A scale measured on the first batch after layers were selected; 1 for objectives without one."""
        return 1.0
