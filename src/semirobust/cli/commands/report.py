"""``semirobust report``."""

from collections.abc import Sequence
from pathlib import Path

import click

from semirobust.cli.console import tell
from semirobust.cli.flags import PATH
from semirobust.cli.flags import command as command_of
from semirobust.experiments.run_files import REPORT_FILE
from semirobust.records.export import write_csv
from semirobust.reports.comparison import export as write_comparison
from semirobust.reports.page import write_report
from semirobust.reports.source import read_source

__all__ = ["command"]


def report(
    runs: Sequence[Path], out: Path | None, title: str | None, csv: Path | None, export: Path | None
) -> None:
    """One HTML file, from records alone, that needs nothing else to be read.

    Of several runs it leads with a table that can be sorted, and each network against each other; runs whose
    numbers do not compare stand in tables of their own.
    """
    several = len(runs) > 1
    if csv is not None:
        count = write_csv(csv, read_source(runs).numbers)
        tell(f"wrote {csv}: {count} numbers")
    if export is not None:
        tell(f"wrote {export}: {write_comparison(runs, export)} networks")
    page = out or runs[0] / ("comparison.html" if several else REPORT_FILE)
    title = title or (f"Comparison of {len(runs)} runs" if several else "Robustness report")
    tell(f"wrote {write_report(runs, page, title=title)}")


command = command_of(
    report,
    click.Argument(["runs"], type=PATH, nargs=-1, required=True, metavar="RUN..."),
    click.Option(
        ["--out"],
        type=PATH,
        help="HTML file; report.html in the run folder by default, comparison.html in the first of several.",
    ),
    click.Option(["--title"], help="Of the page."),
    click.Option(["--csv"], type=PATH, help="Write all numbers as a table into this file, too."),
    click.Option(
        ["--export"],
        type=PATH,
        help="Write the table of accuracies into this file, too: .csv or .tex.",
    ),
)
