"""``semirobust demo``."""

from pathlib import Path

import click

from semirobust.cli.console import print_text
from semirobust.cli.flags import AS_JSON, PATH
from semirobust.cli.flags import command as command_of
from semirobust.cli.header import attack_line, fresh_lines, header, method_line, training_line
from semirobust.cli.progress import bars
from semirobust.cli.show.comparison import show_comparison
from semirobust.experiments.build import Devices
from semirobust.experiments.commands.demo import DEMO
from semirobust.experiments.commands.demo import demo as run
from semirobust.experiments.inputs import Inputs
from semirobust.experiments.printed import as_toml
from semirobust.experiments.recipe import read_recipe
from semirobust.experiments.run_files import REPORT_FILE

__all__ = ["command"]


def demo(out: Path, seeds: int, workers: int | None, print_settings: bool, as_json: bool) -> None:
    """Train, profile, harden and compare on small real data; writes a report."""
    settings = read_recipe(None, DEMO)
    if print_settings:
        print_text(as_toml(settings.plain()))
        return
    inputs = Inputs.of(settings)
    used, *_ = inputs.said(settings.evaluate.examples, training=True)
    doing = {
        "first": training_line(settings.train.training),
        "then": method_line(settings, seeds),
        "attacks": attack_line(settings),
    }
    lines = fresh_lines(settings, inputs, DEMO, used, doing, Devices("cpu"), out)
    with bars(first=header(lines, as_json=as_json), quiet=as_json) as progress:
        records = run(out, seeds=seeds, workers=workers, progress=progress)
    show_comparison(records, out, as_json=as_json, report=out / REPORT_FILE)


command = command_of(
    demo,
    click.Option(["--out"], type=PATH, default=Path("runs/demo"), help="Run folder to write."),
    click.Option(["--seeds"], type=int, default=4, help="How many times everything is repeated."),
    click.Option(["--workers"], type=int, help="Processes; one for each core by default."),
    click.Option(["--print-settings"], is_flag=True, help="Print its recipe, with every setting, and leave."),
    AS_JSON,
)
