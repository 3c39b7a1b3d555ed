"""What training and hardening share: devices, logs as records."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import nn

from semirobust.core.errors import InputError
from semirobust.core.text import first_line
from semirobust.experiments.recipe import Recipe
from semirobust.records.schema import Finding, Label, Number, Origin
from semirobust.records.store import AnyRecord
from semirobust.threats import AbstractBall
from semirobust.training.state import EpochLog, TrainState
from semirobust.training.training import Trained
from semirobust.training.validation import ValidationScores

__all__ = [
    "Devices",
    "log_records",
    "make_fabric",
    "tensorboard_log",
    "threat_of",
    "validation_records",
]


@dataclass(frozen=True)
class Devices:
    """Where to compute.

    Attributes:
        accelerator: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        devices: how many.
        nodes: over how many machines.
    """

    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1


def make_fabric(where: Devices, precision: str) -> Fabric:
    """A Lightning Fabric for these devices.

    Raises:
        InputError: Lightning does not know the device or the precision, or there is none of it.
    """
    strategy = "ddp" if where.devices * where.nodes > 1 else "auto"
    try:
        return Fabric(
            accelerator=where.accelerator,
            devices=where.devices,
            num_nodes=where.nodes,
            strategy=strategy,
            precision=precision,  # type: ignore[arg-type]
        )
    except Exception as error:  # each accelerator complains in its own way
        raise InputError(
            f"device {where.accelerator!r}, precision {precision!r}: {first_line(error)}"
        ) from None


def threat_of(recipe: Recipe) -> AbstractBall:
    """The threat model of a recipe."""
    return recipe.threat.ball


def log_records(trained: Trained, at: Origin, examples: int, labels: Mapping[str, Label]) -> list[AnyRecord]:
    """The epochs of a run as records: loss, rate, seconds, validation, and which layers trained."""
    records: list[AnyRecord] = []
    for log in trained.logs:
        here = {**labels, "epoch": log.epoch}
        values = {
            "loss": (log.loss, "nats"),
            "learning_rate": (log.learning_rate, "1"),
            "seconds": (log.seconds, "s"),
        }
        records += [
            Number(name=f"train.{k}", value=v, unit=u, labels=here, origin=at) for k, (v, u) in values.items()
        ]
        records.append(Number(name="train.parameters", value=log.trained_parameters, labels=here, origin=at))
        records += validation_records(log.scores, examples, here, at)
        # Which layers trained, where not all did.
        records += [
            Number(name="train.layer", value=1, labels={**here, "layer": i}, origin=at)
            for i in log.layers or ()
        ]
    records.append(Number(name="train.best_epoch", value=trained.best_epoch, labels=dict(labels), origin=at))
    records += [Finding(name="note", text=note, labels=dict(labels), origin=at) for note in trained.notes]
    if trained.stopped:
        records.append(
            Finding(name="stopped", text=trained.stopped, level="error", labels=dict(labels), origin=at)
        )
    return records


def validation_records(
    scores: ValidationScores, examples: int, labels: Mapping[str, Label], at: Origin
) -> list[Number]:
    """Scores on so many held-out images as records, one for each metric and for each layer of a measure."""
    by_layer = [
        (name, value, {**labels, "layer": layer})
        for name, values in scores.by_layer.items()
        for layer, value in values.items()
    ]
    metrics = [(name, value, dict(labels)) for name, value in scores.metrics.items()]
    return [
        Number(name=f"validation.{name}", value=value, n=examples, labels=here, origin=at)
        for name, value, here in (*metrics, *by_layer)
    ]


def tensorboard_log(folder: Path) -> Callable[[EpochLog, TrainState], None]:
    """Writes each epoch to a TensorBoard log below ``folder``.

    Raises:
        InputError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError(
            "tensorboard: expected the package, found none; pip install 'semirobust[tensorboard]'"
        ) from None
    writer = SummaryWriter(str(folder / "tensorboard"))

    def write(log: EpochLog, state: TrainState) -> None:
        for name, value in {"loss": log.loss, "learning_rate": log.learning_rate, **log.metrics}.items():
            writer.add_scalar(name, value, log.epoch)
        for name, values in log.by_layer.items():
            for layer, value in values.items():
                writer.add_scalar(f"{name}/{layer}", value, log.epoch)
        writer.flush()

    return write


def load_best(trained: Trained) -> nn.Module:
    """The model with the weights of its best epoch."""
    with torch.no_grad():
        trained.model.load_state_dict(dict(trained.best))
    return trained.model.eval()
