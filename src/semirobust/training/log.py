"""The log of a training as a table and a chart."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from semirobust.core.table import Cell, Kind, Table
from semirobust.core.text import listed
from semirobust.training.state import EpochLog

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["drawn_log", "log_table"]

_SHARES = ("clean", "robust")
"""Scores of validation that are accuracies."""


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
    said += "; it stopped early" if stopped else ""
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
