"""Accuracies of many networks in tables that can be sorted, each with its verdicts, and as CSV or LaTeX."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from semirobust.core.errors import InputError
from semirobust.core.ours import write_out
from semirobust.core.text import in_a_cell, printable
from semirobust.records.schema import Quantity
from semirobust.reports.arm import Arm, AttackColumn
from semirobust.reports.chart import Drawn, drawn
from semirobust.reports.conditions import Condition, by_condition
from semirobust.reports.figures import accuracy_chart
from semirobust.reports.source import Cell, Source, read_source
from semirobust.reports.verdicts import Matrix, verdict_table

__all__ = ["AccuracyTable", "Cost", "Row", "accuracy_tables", "export"]

# Quantity -> heading, factor, and how it is written.
_COSTS = {
    Quantity.TRAINED_PARAMETERS: ("trained parameters", 1, ",.0f"),
    Quantity.EPOCH_SECONDS: ("seconds an epoch", 1, ".2f"),
    Quantity.PARAMETERS: ("parameters", 1, ",.0f"),
    Quantity.MACS: ("MACs", 1, ",.0f"),
    Quantity.INFERENCE_SECONDS: ("ms a batch", 1000, ".3g"),
}
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_",
    "%": r"\%", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}", "–": "--", "×": r"$\times$",
    "ε": r"$\varepsilon$", "−": r"$-$", "…": r"\ldots{}",
}  # fmt: skip


@dataclass(frozen=True)
class Cost:
    """One of the columns beside the accuracies.

    Attributes:
        value: to be sorted by; None where there is none.
        text: as it is read.
    """

    value: float | None
    text: str


@dataclass(frozen=True)
class Row:
    """One arm in a table of accuracies."""

    arm: Arm
    cells: list[Cell | None]
    costs: list[Cost]

    @property
    def seeds(self) -> int:
        """How many seeds its accuracies are means of."""
        return max((len(cell.values) for cell in self.cells if cell), default=0)


@dataclass(frozen=True)
class AccuracyTable:
    """The arms that were measured under one condition.

    Attributes:
        condition: what they share.
        attacks, costs: columns.
        rows: one for each arm.
        chart: the same as points.
        verdicts: each against each; None where there is nothing to compare.
    """

    condition: Condition
    attacks: list[AttackColumn]
    costs: list[str]
    rows: list[Row]
    chart: Drawn | None
    verdicts: Matrix | None

    @property
    def over(self) -> str:
        """What the intervals are over."""
        found = dict.fromkeys(cell.over for row in self.rows for cell in row.cells if cell and cell.over)
        return " or ".join(found)

    @property
    def undecided(self) -> bool:
        """Whether an attack leaves something undecided."""
        return any(cell is not None and cell.undecided for row in self.rows for cell in row.cells)

    @property
    def plus(self) -> bool:
        """Whether an attack counts together with those before it."""
        return any(attack.cumulative for attack in self.attacks)


def accuracy_tables(source: Source, *, charts: bool = True) -> list[AccuracyTable]:
    """The accuracies, those under each condition in a table of its own."""
    tables = list[AccuracyTable]()
    for condition, arms in by_condition(source).items():
        attacks = [a for a in source.attacks() if any(source.accuracy(arm, a) for arm in arms)]
        costs = [q for q in _COSTS if any(_cost(source, arm, q).value is not None for arm in arms)]
        rows = [
            Row(arm, [source.accuracy(arm, a) for a in attacks], [_cost(source, arm, q) for q in costs])
            for arm in arms
        ]
        chart = accuracy_chart(source, arms, f"accuracies-{len(tables) + 1}") if charts else None
        names = [_COSTS[q][0] for q in costs]
        verdicts = verdict_table(source, arms)
        tables.append(AccuracyTable(condition, attacks, names, rows, drawn(chart), verdicts))
    return tables


def _cost(source: Source, arm: Arm, quantity: Quantity) -> Cost:
    cell = source.cell(quantity, arm)
    if cell is None and quantity is Quantity.PARAMETERS and arm.name is None:
        total = sum(entry.parameters for entry in source.layers if entry.about.run == arm.run)
        return Cost(total, f"{total:,}") if total else Cost(None, "–")
    if cell is None:
        return Cost(None, "–")
    _, factor, form = _COSTS[quantity]
    middle = sorted(cell.values)[len(cell.values) // 2] if quantity is Quantity.EPOCH_SECONDS else cell.value
    return Cost(factor * middle, format(factor * middle, form))


def export(runs: Sequence[Path], out: Path) -> int:
    """Write the table of accuracies of some runs as CSV or LaTeX, by the ending of ``out``.

    A spreadsheet calculates no text of it, and LaTeX reads none as a command.

    Returns:
        how many networks it has.

    Raises:
        InputError: no accuracies, another ending, or it cannot be written.
    """
    form = {".csv": _as_csv, ".tex": _as_latex}.get(out.suffix.lower())
    if form is None:
        raise InputError(f"export: expected a name that ends in .csv or .tex, got {out.name!r}")
    tables = accuracy_tables(read_source(runs), charts=False)
    if not tables:
        raise InputError("export: expected runs with accuracies, found none; semirobust evaluate makes some")
    try:
        write_out(out, form(tables).encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise InputError(f"export: cannot write {out} ({error.strerror})") from None
    return sum(len(table.rows) for table in tables)


def _as_csv(tables: Sequence[AccuracyTable]) -> str:
    """A row for each network, accuracies in per cent, all conditions in one table that names them."""
    attacks = list(dict.fromkeys(attack for table in tables for attack in table.attacks))
    costs = list(dict.fromkeys(name for table in tables for name in table.costs))
    head = ["network", "run", "data", "images", "attacker", "seeds"]
    for attack in attacks:
        head += [f"{attack} %", f"{attack} low", f"{attack} high", f"{attack} not decided"]
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(map(in_a_cell, [*head, *costs]))
    for table in tables:
        for row in table.rows:
            found = dict(zip(table.attacks, row.cells, strict=True))
            spent = {name: cost.value for name, cost in zip(table.costs, row.costs, strict=True)}
            condition = table.condition
            texts = [str(row.arm), row.arm.run or "", condition.data]
            line: list[object] = [
                *map(in_a_cell, texts),
                condition.count,
                in_a_cell(condition.threat),
                row.seeds,
            ]
            line += [value for attack in attacks for value in _percents(found.get(attack))]
            writer.writerow([*line, *(spent.get(name) for name in costs)])
    return written.getvalue()


def _percents(cell: Cell | None) -> list[float | None]:
    if cell is None:
        return [None] * 4
    parts = (cell.value, cell.low, cell.high, cell.undecided)
    return [None if part is None else round(100 * part, 4) for part in parts]


def _as_latex(tables: Sequence[AccuracyTable]) -> str:
    """A table for each condition, with booktabs; intervals in small type."""
    lines = ["% written by semirobust; needs \\usepackage{booktabs} and \\usepackage{textcomp}"]
    for table in tables:
        names = ["network", *(f"{attack}, %" for attack in table.attacks), *table.costs]
        lines += [
            "\\begin{table}", "  \\centering", f"  \\caption{{Accuracy, {_latex(str(table.condition))}.}}",
            f"  \\begin{{tabular}}{{l{'r' * (len(names) - 1)}}}", "    \\toprule",
            f"    {' & '.join(map(_latex, names))} \\\\", "    \\midrule",
        ]  # fmt: skip
        for row in table.rows:
            cells = [_latex(str(row.arm)), *map(_in_latex, row.cells), *(_latex(c.text) for c in row.costs)]
            lines.append(f"    {' & '.join(cells)} \\\\")
        lines += ["    \\bottomrule", "  \\end{tabular}", "\\end{table}"]
    return "\n".join(lines) + "\n"


def _in_latex(cell: Cell | None) -> str:
    if cell is None:
        return "--"
    ends = cell.ends.replace(" to ", "--")
    return f"{100 * cell.value:.1f}" + (f" {{\\scriptsize ({ends})}}" if ends else "")


def _latex(text: str) -> str:
    """The text with nothing in it that LaTeX reads."""
    return re.sub(r".", lambda found: _LATEX.get(found[0], found[0]), printable(text))
