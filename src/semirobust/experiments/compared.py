"""Several runs beside each other in Python: their accuracies, and which is better than which."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from semirobust.core.errors import InputError
from semirobust.core.links import given_folder
from semirobust.core.shown import AbstractResult
from semirobust.core.table import Cell, Table
from semirobust.reports.comparison import AccuracyTable, accuracy_tables
from semirobust.reports.source import read_source

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Comparison", "Verdicts", "compare"]


@dataclass(frozen=True, eq=False, repr=False)
class Verdicts(AbstractResult):
    """Each network against each other that was measured under the same condition.

    Attributes:
        tables: one for each condition.
    """

    tables: Sequence[AccuracyTable]

    def table(self) -> Table:
        rows: list[tuple[Cell, ...]] = []
        notes: list[str] = []
        for table in self.tables:
            if (matrix := table.verdicts) is None:
                continue
            for name, row in zip(matrix.arms, matrix.cells, strict=True):
                for other, cell in zip(matrix.arms, row, strict=True):
                    if cell is not None:
                        on = str(table.condition)
                        rows.append((str(name), str(other), cell.outcome, cell.lead, cell.p, cell.why, on))
            notes += [f"compared {over}, p adjusted for the number of pairs" for over in matrix.over if over]
            notes += [f"{matrix.left_out} networks have no room"] if matrix.left_out else []
        better = sum(row[2] == "better" for row in rows)
        return Table(
            f"{len(rows) // 2} pairs of networks, {better} of them told apart",
            {
                "network": "text",
                "against": "text",
                "outcome": "text",
                "lead": "number",
                "p": "number",
                "why": "text",
                "condition": "text",
            },
            rows,
            {"lead in": "points of accuracy under attack"},
            tuple(dict.fromkeys(notes)),
        )

    @staticmethod
    def drawn(table: Table) -> "Figure":
        from semirobust.figures import Verdict, verdict_matrix

        rows = table.dicts()
        first = [row for row in rows if row["condition"] == rows[0]["condition"]]
        names = list(dict.fromkeys(row["network"] for row in first))
        found = {
            (row["network"], row["against"]): Verdict(
                row["outcome"], "" if row["lead"] is None else f"{row['lead']:+.1f}"
            )
            for row in first
        }
        cells = [[found.get((name, other)) for other in names] for name in names]
        return verdict_matrix(names, cells, title=str(rows[0]["condition"]))


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(AbstractResult):
    """The accuracies of several runs; those under other conditions (data, images, threat model) are told
    apart and never set against each other.

    Attributes:
        folders: of the runs.
        tables: one for each condition.
    """

    folders: tuple[Path, ...]
    tables: tuple[AccuracyTable, ...]

    @property
    def verdicts(self) -> Verdicts:
        """Which network is better than which, where that can be told."""
        return Verdicts(self.tables)

    def table(self) -> Table:
        rows: list[tuple[Cell, ...]] = []
        for table in self.tables:
            for row in table.rows:
                for attack, cell in zip(table.attacks, row.cells, strict=True):
                    if cell is not None:
                        value: list[Cell] = [cell.value, cell.low, cell.high, len(cell.values), cell.n]
                        rows.append((str(row.arm), str(attack), *value, str(table.condition)))
        networks = len({(row[0], row[-1]) for row in rows})
        said = f"{networks} networks of {len(self.folders)} runs"
        if len(self.tables) > 1:
            said += f" under {len(self.tables)} conditions, which are not set against each other"
        return Table(
            said,
            {
                "network": "text",
                "attack": "text",
                "accuracy": "share",
                "low": "share",
                "high": "share",
                "seeds": "count",
                "examples": "count",
                "condition": "text",
            },
            rows,
        )

    @staticmethod
    def drawn(table: Table) -> "Figure":
        from semirobust.figures import Points, points

        rows = table.dicts()
        several = len({row["condition"] for row in rows}) > 1
        for row in rows:
            row["shown"] = f"{row['network']} ({row['condition']})" if several else row["network"]
        names = list(dict.fromkeys(row["shown"] for row in rows))
        attacks = list(dict.fromkeys(row["attack"] for row in rows))
        found = {(row["shown"], row["attack"]): row for row in rows}

        def of(attack: str, key: str) -> list[float | None]:
            values = [found.get((name, attack), {}).get(key) for name in names]
            return [None if value is None else 100 * value for value in values]

        series = [Points(a, of(a, "accuracy"), of(a, "low"), of(a, "high")) for a in attacks]
        return points(names, series)


def compare(*folders: str | Path) -> Comparison:
    """The accuracies of runs beside each other: ``sr.compare("runs/a", "runs/b")``.

    ``.verdicts`` says which is better than which, ``.plot()`` draws them, ``.to_frame()`` is a table, and
    ``.save("x.csv")`` keeps it. ``semirobust report runs/a runs/b`` makes a page of the same.

    Args:
        folders: of runs, or files of records.

    Returns:
        accuracies with 95 % intervals: over the seeds of a run that has several, over images otherwise.

    Raises:
        InputError: no folders, or none with accuracies.
    """
    if not folders:
        raise InputError("folders: expected those of runs, such as sr.compare('runs/a', 'runs/b'); got none")
    given = tuple(given_folder(folder) if Path(folder).is_dir() else Path(folder) for folder in folders)
    tables = tuple(accuracy_tables(read_source(given), charts=False))
    if not tables:
        raise InputError("folders: expected runs with accuracies, found none; semirobust evaluate makes some")
    return Comparison(given, tables)
