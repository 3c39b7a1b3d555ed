"""The abstract class of every objective."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn

from semirobust.core.typed import Typed
from semirobust.layers.map import LayerMap

__all__ = ["AbstractObjective", "Step"]

_ONE_LABEL = "its losses are of one label for each image"


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
        y: (N,) its labels; where images were mixed, those of the images that they were mixed into.
        selected: the layers that train.
        reference: the value of :meth:`AbstractObjective.reference` when they were selected.
        measured: what :meth:`AbstractObjective.measure` gave before the epoch; None outside of a training.
        shares: (N, C) how much of each image is of each class, where an augmentation has mixed images; else
            None, and ``y`` says all.
    """

    model: nn.Module = field(repr=False)
    layers: LayerMap = field(repr=False)
    x: Tensor = field(repr=False)
    y: Tensor = field(repr=False)
    selected: tuple[int, ...]
    reference: float = 1.0
    measured: float | None = None
    shares: Tensor | None = field(default=None, repr=False)


@dataclass(frozen=True)
class AbstractObjective(Typed, ABC):
    """min over the trained weights of E[ outer(x_adv) ], x_adv = argmax over the threat model of inner.

    Attributes:
        best_by: the validation score that chooses the best epoch.
        flat_at_start: whether the gradient of the inner loss is 0 at the image itself. An attack must then
            start elsewhere.
        holds_back: whether a part of the outer loss gives no gradient to the layers in front of some layer,
            though it depends on them.
        needs_one_label: why it cannot train on images that are of several classes, as a clause after "since";
            empty where both losses go by ``step.shares``.
    """

    like: ClassVar[str] = "Adversarial()"

    best_by: ClassVar[str] = "robust"
    flat_at_start: ClassVar[bool] = False
    holds_back: ClassVar[bool] = False
    needs_one_label: ClassVar[str] = _ONE_LABEL

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # What a class says of its losses does not hold for one derived from it that has others.
        if {"inner", "outer"} & cls.__dict__.keys() and "needs_one_label" not in cls.__dict__:
            cls.needs_one_label = _ONE_LABEL

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
