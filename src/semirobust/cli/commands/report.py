"""``semirobust report``."""

from collections.abc import Sequence
from pathlib import Path

import click

from semirobust.cli.console import tell
from semirobust.cli.flags import command as command_of
from semirobust.records.export import write_csv
from semirobust.reports.page import write_report
from semirobust.reports.source import read_source

__all__ = ["command"]


def report(runs: Sequence[Path], out: Path | None, title: str, csv: Path | None) -> None:
    """One HTML file, from records alone, that needs nothing else to be read."""
    if csv is not None:
        count = write_csv(csv, read_source(runs).numbers)
        tell(f"wrote {csv}: {count} numbers")
    tell(f"wrote {write_report(runs, out or runs[0] / 'report.html', title=title)}")


command = command_of(
    report,
    click.Argument(["runs"], type=click.Path(path_type=Path), nargs=-1, required=True, metavar="RUN..."),
    click.Option(
        ["--out"],
        type=click.Path(path_type=Path),
        help="HTML file; report.html in the first run folder by default.",
    ),
    click.Option(["--title"], default="Robustness report"),
    click.Option(
        ["--csv"], type=click.Path(path_type=Path), help="Write all numbers as a table into this file, too."
    ),
)
