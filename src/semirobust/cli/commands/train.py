"""``semirobust train``."""

from pathlib import Path
from typing import Any

from click.exceptions import Exit

from semirobust.cli import flags
from semirobust.cli.console import bars, tell_notes
from semirobust.cli.output import show_training
from semirobust.cli.parse import compute
from semirobust.cli.section_flags import SHARED, section
from semirobust.experiments.commands.train import train as run
from semirobust.experiments.inputs import Inputs
from semirobust.experiments.model_spec import at_its_size
from semirobust.experiments.recipe import read_recipe

__all__ = ["command"]


def train(
    changes: dict[str, Any], out: Path, recipe: Path | None, model: str | None, as_json: bool, **where: Any
) -> None:
    """Train a model, robustly unless told otherwise. An interrupted run continues when started again."""
    settings = at_its_size(read_recipe(recipe, {"model.name": model, **changes}))
    devices, inputs = compute(**where), Inputs.of(settings)
    tell_notes(inputs.said(training=True), as_json=as_json)
    with bars(quiet=as_json) as progress:
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
