"""One training run: what it trains, on what, and how far it has come."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from semirobust.augment import AbstractAugmentation
from semirobust.core.processes import Processes
from semirobust.core.seed import Seed
from semirobust.data.base.images import Images
from semirobust.fast.policy import FastFollower
from semirobust.layers.map import LayerMap
from semirobust.records.conditions import Conditions
from semirobust.training.alone import Alone, processes_of
from semirobust.training.hooks.base.hook import AbstractHookState
from semirobust.training.state import TrainState

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from semirobust.training.training import Training

__all__ = ["Batch", "Move", "Run"]

Move = Callable[[Tensor], Tensor]
"""An augmentation with its randomness drawn, so that two calls move pixels alike."""


@dataclass(frozen=True)
class Batch:
    """What one step trains on.

    Attributes:
        number: of the step in its epoch, from 0.
        rows: (N,) which training images.
        move: how they were augmented.
        x: (N, K, H, W) the images, augmented.
        y: (N,) their labels.
        shares: (N, C) how much of each is of each class, where the augmentation mixed images; else None.
    """

    number: int
    rows: Tensor
    move: Move
    x: Tensor
    y: Tensor
    shares: Tensor | None = None


@dataclass
class Run:
    """One run of a :class:`Training`. Hooks read it; only the engine changes it.

    Attributes:
        training: the settings.
        model: the network, on its device.
        layers: its layer map.
        images: what it trains on.
        seed: of the run.
        fabric: device, precision and processes.
        augment: the augmentation; None for none.
        steps: in one epoch.
        fast: the form of the network in which the attack runs.
        layout: the memory layout of images that the network takes.
        state: how far the run has come.
        best: the weights of its best epoch so far.
        head: the index of the logits where the network returns several tensors in train mode; else None.
        momentum: by parameter name, of what trained until layers were chosen last.
        optimiser: of what trains now; None until an epoch begins after a choice.
        hooks: the states of the training's hooks, in their order.
        conditions: under which this process computes.
        said: what validation noted of the network, by epoch; one that has hardly learned is not the one kept.
    """

    training: "Training"
    model: nn.Module
    layers: LayerMap
    images: Images
    seed: Seed
    fabric: "Fabric | Alone"
    augment: AbstractAugmentation | None
    steps: int
    fast: FastFollower
    layout: torch.memory_format
    state: TrainState
    best: Mapping[str, Tensor]
    head: int | None = None
    momentum: Mapping[str, Tensor] = field(default_factory=dict)
    optimiser: torch.optim.SGD | None = None
    hooks: tuple[AbstractHookState, ...] = ()
    conditions: Conditions = Conditions()
    said: dict[int, tuple[str, ...]] = field(default_factory=dict)

    @property
    def processes(self) -> Processes:
        """The processes that train together."""
        return processes_of(self.fabric)

    @property
    def selected(self) -> tuple[int, ...]:
        """The layers that train."""
        return self.layers.indices if self.state.layers is None else self.state.layers

    @property
    def marked(self) -> tuple[int, ...]:
        """The layers that the objective looks at."""
        return self.selected if self.state.marked is None else self.state.marked

    @property
    def singled_out(self) -> tuple[int, ...]:
        """The layers that the objective or a hook treats unlike others that train too."""
        found = set(self.state.marked or ())
        for hook in self.training.hooks:
            found.update(hook.apart(self.layers, self.state.epoch))
        return tuple(sorted(found))

    def is_after(self, fraction: float) -> bool:
        """Whether the epoch under way ends after this fraction of all epochs."""
        return (self.state.epoch + 1) > fraction * self.training.epochs
