"""The abstract class of every method."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn

from semirobust.attacks import AbstractAttack
from semirobust.core.seed import Seed
from semirobust.core.typed import Typed
from semirobust.data.base.images import Images
from semirobust.fast.policy import Fast
from semirobust.layers.map import LayerMap
from semirobust.objectives import AbstractObjective
from semirobust.training.hooks import AbstractHook
from semirobust.training.trainable import AbstractTrainable
from semirobust.training.training import Trained, Validate

__all__ = ["AbstractMethod", "After", "Context", "Plan"]


@dataclass(frozen=True)
class Context:
    """What is known when a method plans the training.

    Attributes:
        layers: the layer map of the model to harden.
        images: the training images.
        attack: the attack of training, with its threat model.
        fast: whether it may search in a faster copy of the network, as in
            :class:`semirobust.training.training.Training`.
    """

    layers: LayerMap
    images: Images = field(repr=False)
    attack: AbstractAttack
    fast: Fast = "auto"


@dataclass(frozen=True)
class Plan:
    """What the training loop does for a method.

    Attributes:
        objective: what is minimised, and what the attack maximises.
        trainable: which layers train.
        collapse: fraction of the highest clean validation accuracy below which training stops.
        after: changes the weights after training, such as by interpolation.
        prepare: a context in which the model trains, such as with low-rank updates.
        as_before: converts the best weights of a run to the form that the model has outside of ``prepare``.
        prefix_epochs: the first epochs, which prepare for the others; there must be more epochs than these.
        hooks: what takes part in the steps beside the hooks of the training.
        schedule: of the learning rate, where the method has one of its own; empty for that of the training.
    """

    objective: AbstractObjective
    trainable: AbstractTrainable
    collapse: float = 0.0
    after: "After | None" = None
    prepare: Callable[[nn.Module, Seed], AbstractContextManager[None]] | None = None
    as_before: Callable[[Trained], Trained] | None = None
    prefix_epochs: int = 0
    hooks: tuple[AbstractHook, ...] = ()
    schedule: str = ""


After = Callable[[Trained, Mapping[str, Tensor], Validate | None, Seed], Trained]
"""``after(run, start, validate, seed)``: the run with other weights as its best; ``start`` are the weights
before training.
"""


@dataclass(frozen=True)
class AbstractMethod(Typed, ABC):
    """A way to harden a trained model at a given budget of epochs.

    Attributes:
        trains_all: all layers train, whichever it chooses, so that PGD-AT of the same layers is that of all.
        needs_batch_norm: a network without is refused.
        package: what must be installed beside what an installation brings; empty for nothing.
    """

    like: ClassVar[str] = "METHODS.make('clat')"

    trains_all: ClassVar[bool] = False
    needs_batch_norm: ClassVar[bool] = False
    package: ClassVar[str] = ""

    @abstractmethod
    def plan(self, context: Context) -> Plan:
        """The objective and the layers that make up the method."""

    def with_random_layers(self) -> "AbstractMethod | None":
        """The same on as many random layers, as a control; None where it does not choose layers."""
        return None
