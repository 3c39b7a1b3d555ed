"""``semirobust evaluate``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from semirobust.cli import flags
from semirobust.cli.console import tell_next
from semirobust.cli.header import attack_line, header, subject_lines
from semirobust.cli.parse import compute
from semirobust.cli.progress import bars
from semirobust.cli.section_flags import SHARED, section
from semirobust.cli.show.accuracy import show_accuracy
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
    devices, settings = compute(**where), subject.recipe.evaluate
    used, *said = subject.inputs.said(settings.examples)
    place = out or subject.folder
    doing = {"attacks": attack_line(subject.recipe)}
    lines = subject_lines(subject, changes, checkpoint, used, doing, devices, place, looks=True)
    first = header(lines, (*said, *subject.notes), as_json=as_json)
    names = [folder.name for folder in transfer]
    others = {}
    for folder in transfer:
        other = build_subject(str(folder), None, None, None, {})
        check_same_classes(subject, other, "transfer")
        others[folder.name if names.count(folder.name) == 1 else str(folder)] = other.model
    with bars(first=first, quiet=as_json) as progress:
        found = evaluate_subject(subject, place, others=others, devices=devices, progress=progress)
    show_accuracy(found, subject.recipe, as_json=as_json, told=subject.notes)
    if place is not None and not as_json:
        tell_next(place, "report", "profile", "harden --from")


command = flags.command(
    evaluate,
    flags.TARGET,
    flags.RUN_OUT,
    flags.RECIPE,
    flags.MODEL,
    flags.CHECKPOINT,
    SHARED,
    section("evaluate"),
    flags.FixedFlag("--no-checks", "evaluate.checks", 0, "Leave the sanity checks out; records say so."),
    click.Option(
        ["--transfer"],
        type=flags.PATH,
        multiple=True,
        help="Run to make a transfer matrix with. Repeatable.",
    ),
    flags.COMPUTE,
    flags.AS_JSON,
)
