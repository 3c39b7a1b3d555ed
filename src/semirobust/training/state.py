"""How far a training run has come."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from semirobust.core.state import State
from semirobust.core.tensor_files import bytes_of
from semirobust.data.base.images import Images
from semirobust.layers.scores import ScoreName
from semirobust.records.conditions import Conditions
from semirobust.training.validation import ValidationScores

__all__ = ["EpochLog", "EpochProgress", "TrainState", "digest", "snapshot"]


@dataclass(frozen=True)
class EpochLog:
    """What happened in one epoch.

    Attributes:
        epoch: its number, from 1.
        loss: mean outer loss over its steps.
        learning_rate: at its last step.
        seconds: how long its steps took, validation left out.
        layers: the layers that trained; None for all.
        selected: whether they were chosen at its start.
        trained_parameters: how many parameters that is.
        metrics: what validation gave, by name.
        by_layer: measures by layer that were followed, by measure and then by the layer's index.
        conditions: those under which its steps were computed; several where it was interrupted and went on
            under others.
        marked: the layers that were singled out, beside those that trained: what the objective looks at, or a
            hook treats unlike the others.
    """

    epoch: int
    loss: float
    learning_rate: float
    seconds: float
    layers: tuple[int, ...] | None
    selected: bool
    trained_parameters: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    by_layer: Mapping[ScoreName, Mapping[int, float]] = field(default_factory=dict)
    conditions: tuple[Conditions, ...] = ()
    marked: tuple[int, ...] = ()

    @property
    def scores(self) -> ValidationScores:
        """What validation gave."""
        return ValidationScores(self.metrics, self.by_layer)

    def __str__(self) -> str:
        return f"epoch {self.epoch}: {self.line}"

    @property
    def line(self) -> str:
        """Loss, and accuracies on held-out images, as a line says them."""
        shares = [f"{name} {self.metrics[name]:.1%}" for name in ("clean", "robust") if name in self.metrics]
        held_out = f"; held out: {', '.join(shares)}" if shares else ""
        return f"loss {self.loss:.4f}{held_out}"


@dataclass
class EpochProgress:
    """How far an epoch has come.

    Attributes:
        selected: whether layers were chosen at its start.
        form: the form of the network that its attacks search.
        step: steps done.
        loss: sum of the outer loss over the images seen.
        seen: images seen.
        seconds: how long that took.
        conditions: those under which they were done, in order.
        measured: what the objective measured before its first step.
    """

    selected: bool = False
    form: str = ""
    step: int = 0
    loss: float = 0.0
    seen: int = 0
    seconds: float = 0.0
    conditions: tuple[Conditions, ...] = ()
    measured: float | None = None


@dataclass
class TrainState:
    """How far a run has come, beside its weights and its optimiser.

    Attributes:
        epoch: epochs done.
        layers: the layers that train; None for all.
        marked: the layers that the objective looks at, where those are others; else None.
        reference: the objective's scale since they were selected; None until it is measured.
        best: highest validation score so far, and the epoch it came from.
        logs: one entry an epoch.
        stopped: why it ended early; empty if it did not.
        underway: the epoch that is not done yet; None between two.
    """

    epoch: int = 0
    layers: tuple[int, ...] | None = None
    marked: tuple[int, ...] | None = None
    reference: float | None = None
    best: float = float("-inf")
    best_epoch: int = 0
    logs: list[EpochLog] = field(default_factory=list)
    stopped: str = ""
    underway: EpochProgress | None = None


def snapshot(model: nn.Module) -> State:
    """A copy of the parameters and buffers."""
    state = model.state_dict()
    return State({name: tensor.detach().clone() for name, tensor in state.items()}, state)


def digest(weights: Mapping[str, Tensor], images: Images) -> str:
    """What a run starts from, in twelve hex digits: its weights, its labels and its pixels (of files: some of
    them).
    """
    checksum = hashlib.sha256()
    pixels = (
        images.pixels
        if isinstance(images.pixels, Tensor)
        else images.pixels[torch.arange(min(64, len(images)))]
    )
    for tensor in (*weights.values(), images.y, pixels):
        checksum.update(bytes_of(tensor))
    return checksum.hexdigest()[:12]
