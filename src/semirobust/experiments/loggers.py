"""Loggers of every training of a command, by name."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semirobust.core.errors import InputError

if TYPE_CHECKING:  # what writes is imported when there is something to write
    from lightning_fabric.loggers.logger import Logger

__all__ = ["LOGGERS", "check_loggers", "make_loggers"]


def _csv(folder: Path, settings: Mapping[str, Any]) -> "Logger":
    from semirobust.experiments.log_writers import CSVTable

    return CSVTable(folder)


def _mlflow(folder: Path, settings: Mapping[str, Any]) -> "Logger":
    from semirobust.experiments.log_writers import MLflowRun

    return MLflowRun(folder, settings)


def _tensorboard(folder: Path, settings: Mapping[str, Any]) -> "Logger":
    from semirobust.experiments.log_writers import tensorboard_events

    return tensorboard_events(folder)


def _wandb(folder: Path, settings: Mapping[str, Any]) -> "Logger":
    from semirobust.experiments.log_writers import WandbRun

    return WandbRun(folder, settings)


LOGGERS: "dict[str, Callable[[Path, Mapping[str, Any]], Logger]]" = {
    "csv": _csv,
    "mlflow": _mlflow,
    "tensorboard": _tensorboard,
    "wandb": _wandb,
}
"""Name -> a logger that writes for a run folder with these settings."""


def check_loggers(names: Sequence[str]) -> None:
    """Raise ``InputError`` for a name that is none of :data:`LOGGERS`."""
    for name in names:
        if name not in LOGGERS:
            raise InputError(f"log: expected some of {', '.join(LOGGERS)}, with commas; got {name!r}")


def make_loggers(names: Sequence[str], folder: Path, settings: Mapping[str, Any]) -> "list[Logger]":
    """The loggers of these names, each once.

    Args:
        names: of :data:`LOGGERS`.
        folder: of the run.
        settings: in plain form, for those that keep them.

    Raises:
        InputError: an unknown name, or a package that is not installed.
    """
    check_loggers(names)
    return [LOGGERS[name](folder, settings) for name in dict.fromkeys(names)]
