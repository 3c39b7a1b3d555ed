"""``semirobust demo``."""

from pathlib import Path

import click

from semirobust.cli.console import bars
from semirobust.cli.flags import AS_JSON
from semirobust.cli.flags import command as command_of
from semirobust.cli.output import show_comparison
from semirobust.experiments.commands.demo import demo as run

__all__ = ["command"]


def demo(out: Path, seeds: int, workers: int | None, as_json: bool) -> None:
    """Train, profile, harden and compare on small real data; writes a report."""
    with bars(quiet=as_json) as progress:
        records = run(out, seeds=seeds, workers=workers, progress=progress)
    show_comparison(records, out, as_json=as_json, report=out / "report.html")


command = command_of(
    demo,
    click.Option(
        ["--out"], type=click.Path(path_type=Path), default=Path("runs/demo"), help="Run folder to write."
    ),
    click.Option(["--seeds"], type=int, default=4, help="How many times everything is repeated."),
    click.Option(["--workers"], type=int, help="Processes; one for each core by default."),
    AS_JSON,
)
