"""What training and hardening share: devices, logs as records."""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from semirobust.core.errors import InputError
from semirobust.core.state import load_state
from semirobust.core.text import first_line
from semirobust.records.schema import About, Finding, Number, Origin, Quantity, Topic
from semirobust.records.store import AnyRecord
from semirobust.training.state import EpochLog
from semirobust.training.training import Trained
from semirobust.training.validation import ValidationScores

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from lightning_fabric.loggers.logger import Logger

__all__ = [
    "Devices",
    "launch",
    "log_records",
    "make_fabric",
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


def make_fabric(where: Devices, precision: str, loggers: "Sequence[Logger]" = ()) -> "Fabric":
    """A Lightning Fabric for these devices, whose loggers get the numbers of every epoch.

    Raises:
        InputError: Lightning does not know the device or the precision, or there is none of it.
    """
    from lightning_fabric import Fabric

    strategy = "ddp" if where.devices * where.nodes > 1 else "auto"
    try:
        return Fabric(
            accelerator=where.accelerator,
            devices=where.devices,
            num_nodes=where.nodes,
            strategy=strategy,
            precision=precision,  # type: ignore[arg-type]
            loggers=list(loggers),
        )
    except Exception as error:  # each accelerator complains in its own way
        raise InputError(
            f"device {where.accelerator!r}, precision {precision!r}: {first_line(error)}"
        ) from None


def launch(fabric: "Fabric") -> None:
    """Start the other processes of a run, and meet them.

    Raises:
        InputError: they cannot meet, as where the port is taken; none of them is left behind.
    """
    if fabric.world_size > 1:
        _check_port()
    try:
        fabric.launch()
    except (RuntimeError, ValueError, OSError) as error:
        for process in getattr(fabric.strategy.launcher, "procs", ()):
            process.kill()
        place = ":".join(os.environ.get(name, "") for name in ("MASTER_ADDR", "MASTER_PORT"))
        raise InputError(
            f"processes: cannot meet at {place} ({first_line(error)}); set MASTER_ADDR and MASTER_PORT to"
            " where they can, or neither"
        ) from None


def _check_port() -> None:
    """Before others are started that would wait half an hour for this one."""
    port = os.environ.get("MASTER_PORT")
    if port is None or "LOCAL_RANK" in os.environ or os.environ.get("NODE_RANK", "0") != "0":
        return
    if not port.isascii() or not port.isdigit() or not 0 < int(port[:6]) < 1 << 16:
        raise InputError(f"MASTER_PORT: expected a port, 1 to 65535, got {port!r}")
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("", int(port)))
        except OSError as error:
            raise InputError(
                f"MASTER_PORT: expected a free port, got {port} ({error.strerror}); set another, or none"
            ) from None


def log_records(trained: Trained, at: Origin, examples: int, about: About) -> list[AnyRecord]:
    """The epochs of a run as records: loss, rate, seconds, validation, and which layers trained."""
    records: list[AnyRecord] = []
    last = at
    for log in trained.logs:
        at = _origin_of(log, trained, last)
        here = replace(about, epoch=log.epoch)
        values = {
            Quantity.TRAINING_LOSS: log.loss,
            Quantity.LEARNING_RATE: log.learning_rate,
            Quantity.EPOCH_SECONDS: log.seconds,
            Quantity.TRAINED_PARAMETERS: log.trained_parameters,
        }
        records += [Number(quantity=q, value=v, about=here, origin=at) for q, v in values.items()]
        records += validation_records(log.scores, examples, here, at)
        # Which layers trained, where not all did, and which were singled out.
        layers = {Quantity.TRAINED_LAYER: log.layers or (), Quantity.MARKED_LAYER: log.marked}
        records += [
            Number(quantity=q, value=1, about=replace(here, layer=i), origin=at)
            for q, indices in layers.items()
            for i in indices
        ]
    at = last
    records.append(Number(quantity=Quantity.BEST_EPOCH, value=trained.best_epoch, about=about, origin=at))
    records += [Finding(topic=Topic.NOTE, text=note, about=about, origin=at) for note in trained.notes]
    if trained.stopped:
        records.append(
            Finding(topic=Topic.STOPPED, text=trained.stopped, level="error", about=about, origin=at)
        )
    return records


def _origin_of(log: EpochLog, trained: Trained, at: Origin) -> Origin:
    """The origin of an epoch's records: where it was computed under other conditions than the last one, it
    names them.
    """
    now = trained.logs[-1].conditions[-1:]
    if set(log.conditions) <= set(now):
        return at
    version = " and ".join(dict.fromkeys(each.version or "unknown" for each in log.conditions))
    device = " and ".join(dict.fromkeys(each.place for each in log.conditions))
    return at.model_copy(update={"version": version, "device": device})


# What validation gives beside measures by layer.
_METRICS = {
    "clean": Quantity.VALIDATION_CLEAN,
    "robust": Quantity.VALIDATION_ROBUST,
    "loss": Quantity.VALIDATION_LOSS,
    "loss_difference": Quantity.LOSS_DIFFERENCE,
    "quadratic_bound": Quantity.QUADRATIC_BOUND,
    "parameter_distance": Quantity.PARAMETER_DISTANCE,
}


def validation_records(scores: ValidationScores, examples: int, about: About, at: Origin) -> list[AnyRecord]:
    """Scores on so many held-out images as records, one for each metric and for each layer of a measure."""
    records: list[AnyRecord] = []
    for name, value in scores.metrics.items():
        quantity = _METRICS.get(name, Quantity.OTHER)
        here = replace(about, measure=name) if quantity is Quantity.OTHER else about
        records.append(Number(quantity=quantity, value=value, n=examples, about=here, origin=at))
    for key, values in scores.by_layer.items():
        here = replace(about, measure=key.measure, part=key.part or None)
        records += [
            Number(
                quantity=Quantity.VALIDATION_MEASURE,
                value=value,
                n=examples,
                about=replace(here, layer=layer),
                origin=at,
            )
            for layer, value in values.items()
        ]
    return records


def load_best(trained: Trained) -> nn.Module:
    """The model with the weights of its best epoch."""
    with torch.no_grad():
        load_state(trained.model, trained.best)
    return trained.model.eval()
