"""What writes the numbers of every epoch: a table, Weights & Biases, MLflow, TensorBoard."""

import csv
import importlib.util
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_fabric.loggers.logger import Logger

from semirobust.core.errors import InputError
from semirobust.core.files import make_folder, read_text, write_atomically
from semirobust.core.links import check_inside
from semirobust.core.ours import check_ours
from semirobust.core.text import in_a_cell

__all__ = ["CSVTable", "MLflowRun", "WandbRun", "tensorboard_events"]

_FIRST = "training,epoch,loss"
_DIGITS = 10  # of a number of an epoch, with which a row is left out
_PROJECT = "semirobust"


class _Ours(Logger):
    """What loggers here have in common."""

    @property
    def name(self) -> str:
        return _PROJECT

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        return


class CSVTable(_Ours):
    """A row for each epoch of each training, in ``log.csv``.

    The file is written whole after each epoch, with the rows that are there: of a run that goes on, and of
    other processes that train for the same run. What two of them wrote at the same moment is written again
    when a later process finds the training done.
    """

    whole = True

    def __init__(self, folder: Path) -> None:
        self.path = folder / "log.csv"
        self._rows: dict[tuple[str, int], dict[str, str]] = {}
        check_ours(self.path, begins=_FIRST.encode())

    def _read(self) -> None:
        if not self.path.is_file():
            return
        for row in csv.DictReader(io.StringIO(read_text(self.path))):
            epoch = row.get("epoch") or ""
            if epoch.isdecimal() and len(epoch) < _DIGITS:
                known = {key: value for key, value in row.items() if key and value}
                self._rows.setdefault((row.get("training") or "", int(epoch)), known)

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        training = next(iter(metrics), "").rpartition("/")[0]
        self._read()
        values = {key.rpartition("/")[2]: repr(float(value)) for key, value in metrics.items()}
        row = {"training": in_a_cell(training), "epoch": str(step), **values}
        self._rows[row["training"], int(step or 0)] = row
        columns = list(
            dict.fromkeys([*_FIRST.split(","), *(name for r in self._rows.values() for name in r)])
        )
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows[key] for key in sorted(self._rows))
        write_atomically(self.path, text.getvalue().encode())


def tensorboard_events(folder: Path) -> Logger:
    """The event files of TensorBoard."""
    _check_installed("tensorboard")
    from lightning_fabric.loggers.tensorboard import TensorBoardLogger

    check_inside(folder / "tensorboard" / "events")
    return TensorBoardLogger(folder, name="tensorboard", version="", default_hp_metric=False)


class WandbRun(_Ours):
    """A run of Weights & Biases, which begins with the first number."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        _check_installed("wandb")
        self.folder, self.settings = folder, dict(settings)
        self._run: Any = None

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        if self._run is None:
            import wandb  # type: ignore[import-not-found]

            make_folder(self.folder)
            place = {"name": self.folder.name, "dir": str(self.folder)}
            self._run = wandb.init(project=_PROJECT, config=self.settings, reinit=True, **place)
        # Several trainings of a run have epochs of the same number, so the epoch is one of the numbers.
        training = next(iter(metrics), "").rpartition("/")[0]
        self._run.log({**metrics, f"{training}/epoch" if training else "epoch": step})


class MLflowRun(_Ours):
    """A run of MLflow, where its settings say; it begins with the first number."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        _check_installed("mlflow")
        self.folder, self.settings = folder, dict(settings)
        self._client: Any = None
        self._run = ""

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        if self._client is None:
            import mlflow  # type: ignore[import-not-found]

            self._client = mlflow.MlflowClient()
            experiment = mlflow.set_experiment(_PROJECT).experiment_id
            self._run = self._client.create_run(experiment, run_name=self.folder.name).info.run_id
            self._client.log_dict(self._run, self.settings, "settings.json")
        for key, value in metrics.items():
            self._client.log_metric(self._run, re.sub(r"[^\w\-./ ]", "_", key), float(value), step=step)

    def save(self) -> None:
        if self._client is not None:  # it may go on with the next training
            self._client.set_terminated(self._run)


def _check_installed(name: str) -> None:
    if importlib.util.find_spec(name) is None:
        raise InputError(f"log: {name} is not installed; pip install 'semirobust[{name}]', or log to csv")
