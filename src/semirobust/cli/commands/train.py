"""``semirobust train``."""

from pathlib import Path
from typing import Any

from click.exceptions import Exit

from semirobust.cli import flags
from semirobust.cli.header import fresh_lines, header, training_line
from semirobust.cli.parse import compute
from semirobust.cli.progress import bars
from semirobust.cli.section_flags import SHARED, section
from semirobust.cli.show.training import show_training
from semirobust.experiments.commands.train import train as run
from semirobust.experiments.inputs import Inputs
from semirobust.experiments.model_spec import at_its_size
from semirobust.experiments.recipe import read_recipe
from semirobust.experiments.work import training_work

__all__ = ["command"]


def train(
    changes: dict[str, Any], out: Path, recipe: Path | None, model: str | None, as_json: bool, **where: Any
) -> None:
    """Train a model, robustly unless told otherwise. An interrupted run continues when started again."""
    changes = {"model.name": model, **changes}
    settings = at_its_size(read_recipe(recipe, changes))
    devices, inputs = compute(**where), Inputs.of(settings)
    used, *said = inputs.said(training=True)
    doing = {"training": training_line(settings.train.training, recipe)}
    lines = fresh_lines(settings, inputs, changes, used, doing, devices, out)
    first = header(lines, said, as_json=as_json)
    with bars(training_work(settings), first=first, quiet=as_json) as progress:
        trained = run(settings, out, inputs=inputs, devices=devices, progress=progress)
    show_training(trained, out, as_json=as_json)
    if trained.stopped:
        raise Exit(1)


command = flags.command(
    train,
    flags.OUT,
    flags.RECIPE,
    flags.MODEL,
    SHARED,
    section("train"),
    flags.COMPUTE,
    flags.AS_JSON,
)
