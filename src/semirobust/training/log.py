"""The log of a training as a table and a chart."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from semirobust.core.shown import AbstractResult
from semirobust.core.table import Cell, Kind, Table
from semirobust.core.text import listed
from semirobust.layers.scores import ScoreName
from semirobust.records.quantity import Quantity
from semirobust.training.state import EpochLog

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from semirobust.records.schema import Number

__all__ = ["OF_TRAINING", "TrainingLog", "drawn_log", "log_table"]

_SHARES = ("clean", "robust")
"""Scores of validation that are accuracies."""
_OF_EPOCH = {
    Quantity.TRAINING_LOSS: "loss",
    Quantity.LEARNING_RATE: "learning_rate",
    Quantity.EPOCH_SECONDS: "seconds",
    Quantity.TRAINED_PARAMETERS: "trained_parameters",
}
_SCORES = {Quantity.VALIDATION_CLEAN: "clean", Quantity.VALIDATION_ROBUST: "robust"}
_LAYERS = (Quantity.TRAINED_LAYER, Quantity.MARKED_LAYER)
OF_TRAINING = frozenset({*_OF_EPOCH, *_SCORES, *_LAYERS, Quantity.VALIDATION_MEASURE})
"""Quantities of the epochs of a training."""


@dataclass(frozen=True, eq=False, repr=False)
class TrainingLog(AbstractResult):
    """The epochs of a training, as a run folder keeps them.

    Attributes:
        logs: one entry an epoch.
        best_epoch: the one whose weights were kept, from 1; 0 for the weights it started from.
    """

    logs: tuple[EpochLog, ...]
    best_epoch: int

    @classmethod
    def of_numbers(cls, numbers: "Sequence[Number]", best_epoch: int) -> "TrainingLog":
        """From the records of one training."""
        logs = []
        for epoch in sorted({n.about.epoch for n in numbers if n.about.epoch is not None}):
            here = [n for n in numbers if n.about.epoch == epoch]
            values = {_OF_EPOCH[n.quantity]: n.value for n in here if n.quantity in _OF_EPOCH}
            if "loss" not in values:
                continue  # before training
            layers, marked = (
                tuple(sorted({n.about.layer or 0 for n in here if n.quantity is q})) for q in _LAYERS
            )
            by_layer: dict[ScoreName, dict[int, float]] = {}
            for n in here:
                if n.quantity is Quantity.VALIDATION_MEASURE and n.about.layer is not None:
                    key = ScoreName(n.about.measure or "", n.about.part or "")
                    by_layer.setdefault(key, {})[n.about.layer] = n.value
            logs.append(
                EpochLog(
                    epoch,
                    values["loss"],
                    values.get("learning_rate", math.nan),
                    values.get("seconds", math.nan),
                    layers or None,
                    False,
                    int(values.get("trained_parameters", 0)),
                    {_SCORES[n.quantity]: n.value for n in here if n.quantity in _SCORES},
                    by_layer,
                    marked=marked,
                )
            )
        return cls(tuple(logs), best_epoch)

    def table(self) -> Table:
        return log_table(self.logs, self.best_epoch)

    @staticmethod
    def drawn(table: Table) -> "Figure":
        return drawn_log(table)


def log_table(
    logs: Sequence[EpochLog], best_epoch: int, stopped: str = "", notes: Sequence[str] = ()
) -> Table:
    """One row an epoch; the scores of validation under their names."""
    names = list(dict.fromkeys(name for log in logs for name in log.metrics))
    scores: dict[str, Kind] = {name: "share" if name in _SHARES else "number" for name in names}
    columns: dict[str, Kind] = {"epoch": "count", "loss": "number", **scores}
    columns |= {
        "learning_rate": "number",
        "seconds": "number",
        "layers": "text",
        "trained_parameters": "count",
    }
    rows: list[tuple[Cell, ...]] = []
    for log in logs:
        layers = "all" if log.layers is None else listed(log.layers, "layer") if log.layers else "none"
        layers += f", {listed(log.marked, 'layer')} singled out" if log.marked else ""
        values = [log.metrics.get(name) for name in names]
        rows.append(
            (log.epoch, log.loss, *values, log.learning_rate, log.seconds, layers, log.trained_parameters)
        )
    said = f"{len(logs)} epoch{'s' * (len(logs) != 1)}"
    best = next((log for log in logs if log.epoch == best_epoch), None)
    if best is None:
        said += ", the weights are those it started from"
    else:
        shown = [f"{name} {best.metrics[name]:.1%}" for name in _SHARES if name in best.metrics]
        said += f", epoch {best_epoch} {'validated best' if best.metrics else 'is kept'}"
        said += f": {', '.join(shown)}" if shown else ""
    said += f"; {stopped}" if stopped else ""
    told = [*notes, *([stopped] if stopped else [])]
    return Table(said, columns, rows, {"best epoch": best_epoch, "stopped": stopped}, told)


def drawn_log(table: Table) -> "Figure":
    """Accuracy on held-out images by epoch, or the loss where none was validated."""
    from semirobust.figures import Curve, lines

    epochs = table.numbers("epoch")
    shares = [name for name, kind in table.columns.items() if kind == "share"]
    if not shares:
        curves = [Curve("loss of training", epochs, table.numbers("loss"))]
        return lines(curves, x_label="epoch", y_label="loss (nats)", x_scale="integer")
    curves = [Curve(name, epochs, [100 * value for value in table.numbers(name)]) for name in shares]
    return lines(
        curves, x_label="epoch", y_label="accuracy on held-out images, %", x_scale="integer", percent=True
    )
