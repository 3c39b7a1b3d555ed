"""``semirobust harden``."""

from pathlib import Path
from typing import Any

import click

from semirobust.cli import flags
from semirobust.cli.console import bars, tell_notes
from semirobust.cli.output import show_comparison
from semirobust.cli.parse import compute, end_of, layers_of
from semirobust.cli.section_flags import SHARED, section
from semirobust.experiments.commands.harden import harden_subject, train_base
from semirobust.experiments.model_spec import has_own_weights
from semirobust.experiments.recipe import read_recipe
from semirobust.experiments.subject import build_subject
from semirobust.methods import METHODS

__all__ = ["command"]


def harden(
    changes: dict[str, Any],
    out: Path,
    target: str | None,
    recipe: Path | None,
    model: str | None,
    checkpoint: Path | None,
    k: int | None,
    layers: str | None,
    seeds: int,
    as_json: bool,
    **where: Any,
) -> None:
    """Make a trained model more robust by training only the part that matters; evaluates before and after.

    With --recipe and neither --from nor --checkpoint, the model is first trained as the recipe says, into
    OUT/base; one of another library is hardened with its own weights.
    """
    of_method = {"harden.options.k": k, "harden.options.layers": layers_of(layers)}
    changes = {**{key: value for key, value in of_method.items() if value is not None}, **changes}
    devices = compute(**where)
    with bars(quiet=as_json) as progress:
        if target is None and checkpoint is None and recipe is not None:
            named = {**changes, "model.name": model}
            if not has_own_weights(read_recipe(recipe, named).model):
                base = train_base(recipe, named, out, devices=devices, progress=progress)
                target, changes = str(base), named
                model = model if model and ":" in model else None  # a name of code is said again
        subject = build_subject(target, model, checkpoint, recipe, changes)
        said = subject.inputs.said(subject.recipe.evaluate.examples, training=True)
        tell_notes((*said, *subject.notes), as_json=as_json)
        records = harden_subject(subject, out, seeds=seeds, devices=devices, progress=progress)
    show_comparison(records, out, as_json=as_json, told=(*said, *subject.notes))
    end_of(records)


def _of_methods(option: str) -> str:
    """What an option of methods means, by the methods that have it."""
    found: dict[str, list[str]] = {}
    for method in METHODS.names():
        for setting in METHODS.options_of(method):
            if setting.name == option:
                found.setdefault(setting.brief, []).append(method)
    return "; ".join(f"{', '.join(names)}: {text}" for text, names in found.items()) + "."


command = flags.command(
    harden,
    flags.OUT,
    flags.START,
    flags.RECIPE,
    flags.MODEL,
    flags.CHECKPOINT,
    SHARED,
    section("harden"),
    click.Option(["--k"], type=int, help=_of_methods("k")),
    click.Option(["--layers"], metavar="LIST", help=_of_methods("layers")),
    flags.SEEDS,
    section("evaluate", only=("attacks", "examples")),
    flags.COMPUTE,
    flags.AS_JSON,
)
