"""The levels of a lottery: what each gave, and the files in which they are kept."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from semirobust.core.errors import InputError
from semirobust.core.shown import AbstractResult
from semirobust.core.state import grouped, in_groups
from semirobust.core.table import Table
from semirobust.core.tensor_files import read_checked, write_tensors
from semirobust.pruning.masks import Masks
from semirobust.records.conditions import Conditions
from semirobust.training.training import Trained

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Level", "Levels", "level_file", "read_level", "write_level"]


@dataclass(frozen=True)
class Level:
    """One round: what was left, and what training it gave.

    Attributes:
        number: 0 is the whole network.
        masks: what was left while it trained.
        best: its weights at the epoch that validated best.
        last: its weights at the last epoch, from which the next level is pruned.
        trained: the run; None where the level was done before and is only read.
        conditions: those under which it was trained; several where it was interrupted and went on under
            others.
    """

    number: int
    masks: Masks
    best: Mapping[str, Tensor] = field(repr=False)
    last: Mapping[str, Tensor] = field(repr=False)
    trained: Trained | None = field(default=None, repr=False)
    conditions: tuple[Conditions, ...] = ()


class Levels(AbstractResult, list[Level]):
    """The levels of a lottery, the whole network first."""

    def table(self) -> Table:
        rows = []
        for level in self:
            trained, masks = level.trained, level.masks
            best = (
                None
                if trained is None
                else next((log for log in trained.logs if log.epoch == trained.best_epoch), None)
            )
            clean, robust = (None if best is None else best.metrics.get(name) for name in ("clean", "robust"))
            empty = ", ".join(masks.empty)
            epoch = None if trained is None else trained.best_epoch
            rows.append((level.number, masks.density, masks.remaining, clean, robust, epoch, empty or None))
        last = self[-1].masks if self else None
        read = any(level.trained is None for level in self)
        note = "levels that were done before are read, without their validation: its records have that"
        return Table(
            f"{len(self)} levels" + ("" if last is None else f", down to {last.density:.1%} of the weights"),
            {
                "level": "count",
                "density": "share",
                "weights": "count",
                "clean": "share",
                "robust": "share",
                "best_epoch": "count",
                "empty": "text",
            },
            rows,
            notes=[note] if read else [],
        )

    @staticmethod
    def drawn(table: Table) -> "Figure":
        from semirobust.figures import Curve, lines

        left = [100 * value for value in table.numbers("density")]
        curves = [
            Curve(name, left, [100 * value for value in table.numbers(name)])
            for name in ("clean", "robust")
            if any(value is not None for value in table.column(name))
        ]
        if not curves:
            raise InputError("plot: expected levels that were validated, got none with an accuracy")
        return lines(
            curves,
            x_label="weights that are left, %",
            y_label="accuracy on held-out images, %",
            x_scale="log, falling",
            percent=True,
        )


def write_level(folder: Path, level: Level, key: str) -> None:
    """Keep a level for :func:`read_level`, with the ``key`` of what it depends on."""
    tensors = in_groups({"best": level.best, "last": level.last, "mask": level.masks.by_name})
    conditions = [each.plain() for each in level.conditions]
    entries = {"key": key, "level": level.number, "conditions": conditions}
    write_tensors(level_file(folder, level.number), tensors, entries)


def read_level(folder: Path, number: int) -> Level:
    """A level that a lottery kept in its ``folder``.

    Raises:
        InputError: it is not there, or damaged.
    """
    entries, tensors = read_checked(level_file(folder, number))
    groups = grouped(tensors, ("best", "last", "mask"))
    conditions = tuple(map(Conditions.read, entries.get("conditions", [])))
    return Level(number, Masks(groups["mask"]), groups["best"], groups["last"], conditions=conditions)


def level_file(folder: Path, number: int) -> Path:
    """Where a level is kept."""
    return folder / f"level-{number}.safetensors"
