"""``semirobust evaluate``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from semirobust.cli import flags
from semirobust.cli.console import bars, tell_notes, tell_nothing_kept
from semirobust.cli.output import show_accuracy
from semirobust.cli.parse import compute
from semirobust.cli.section_flags import SHARED, section
from semirobust.experiments.commands.evaluate import evaluate_subject
from semirobust.experiments.subject import build_subject, check_same_classes

__all__ = ["command"]


def evaluate(
    changes: dict[str, Any],
    target: str | None,
    out: Path | None,
    recipe: Path | None,
    model: str | None,
    checkpoint: Path | None,
    transfer: Sequence[Path],
    as_json: bool,
    **where: Any,
) -> None:
    """Accuracy of a model, clean and under attack, with intervals.

    MODEL is a run folder, an architecture, timm:NAME, torchvision:NAME, hf:OWNER/NAME, robustbench:NAME, or
    package.module:factory. Those of other libraries come with their own weights.
    """
    subject = build_subject(target, model, checkpoint, recipe, changes)
    tell_notes(subject.inputs.said(subject.recipe.evaluate.examples), as_json=as_json)
    tell_notes(subject.notes, as_json=as_json)
    if out is None and subject.folder is None:
        tell_nothing_kept()
    names = [folder.name for folder in transfer]
    others = {}
    for folder in transfer:
        other = build_subject(str(folder), None, None, None, {})
        check_same_classes(subject, other, "transfer")
        others[folder.name if names.count(folder.name) == 1 else str(folder)] = other.model
    with bars(quiet=as_json) as progress:
        found = evaluate_subject(
            subject, out or subject.folder, others=others, devices=compute(**where), progress=progress
        )
    show_accuracy(found, subject.recipe, as_json=as_json, told=subject.notes)


command = flags.command(
    evaluate,
    flags.TARGET,
    flags.RUN_OUT,
    flags.RECIPE,
    flags.MODEL,
    flags.CHECKPOINT,
    SHARED,
    section("evaluate"),
    click.Option(
        ["--transfer"],
        type=click.Path(path_type=Path),
        multiple=True,
        help="Run to make a transfer matrix with. Repeatable.",
    ),
    flags.COMPUTE,
    flags.AS_JSON,
)
