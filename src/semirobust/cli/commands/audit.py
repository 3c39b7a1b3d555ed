"""``semirobust audit``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from semirobust.cli import flags
from semirobust.cli.console import print_json, show_table, tell
from semirobust.cli.header import header, subject_lines
from semirobust.cli.parse import compute
from semirobust.cli.progress import bars
from semirobust.cli.section_flags import SHARED
from semirobust.cli.show.accuracy import plain_accuracies, plain_checks, show_accuracies, show_checks
from semirobust.core.text import slug
from semirobust.experiments.commands.audit import Audited, audit_subject
from semirobust.experiments.subject import build_subject

__all__ = ["command"]

_SHOWN = 5  # layers


def audit(
    changes: dict[str, Any],
    target: str | None,
    out: Path | None,
    recipe: Path | None,
    model: str | None,
    checkpoint: Path | None,
    minutes: float,
    as_json: bool,
    **where: Any,
) -> None:
    """How robust is a model, how far can that be believed, and what to do next? Within some minutes.

    Clean accuracy and whether it is plausible, a quick and a strong attack, sanity checks, criticality of the
    layers, and a report. Interrupted, it goes on; with more --minutes it adds to what it found.

    MODEL is a run folder, an architecture, timm:NAME, torchvision:NAME, hf:OWNER/NAME, robustbench:NAME, or
    package.module:factory. Those of other libraries come with their own weights.
    """
    subject = build_subject(target, model, checkpoint, recipe, changes)
    folder = out or subject.folder or Path(f"audit-{slug(subject.recipe.model.name)}")
    devices = compute(**where)
    used, *said = subject.inputs.said()
    doing = {"time": f"about {minutes:g} minute{'s' * (minutes != 1)}; what fits into them is said next"}
    lines = subject_lines(subject, changes, checkpoint, used, doing, devices, folder, looks=True)
    first = header(lines, (*said, *subject.notes), as_json=as_json)

    def say(text: str) -> None:
        if not as_json:
            tell(text)

    with bars(first=first, quiet=as_json) as progress:
        found = audit_subject(subject, folder, minutes=minutes, devices=devices, progress=progress, say=say)
    if as_json:
        print_json(_content(found, subject.notes))
    else:
        _show(found, str(subject.recipe.threat.ball))


def _show(found: Audited, threat: str) -> None:
    threats = {each.attack: each.threat for each in found.accuracies if each.threat}
    show_accuracies(found.accuracies, threats, threat)
    show_checks(found.checks)
    if found.layers:
        rows = [(str(layer), f"{value:.3g}") for layer, value in list(found.layers.items())[:_SHOWN]]
        show_table(f"Most critical of {len(found.layers)} layers", ("layer", "criticality"), rows)
    for note in found.notes:
        tell(f"Note: {note.rstrip('.')}.")
    tell(f"Verdict: {found.verdict}")
    for step in found.steps:
        tell(f"Next: {step}.")
    tell(f"Report: {found.report}")


def _content(found: Audited, told: Sequence[str]) -> dict[str, Any]:
    return {
        "verdict": found.verdict,
        "next": found.steps,
        "plan": str(found.plan),
        "accuracy": {
            each.name: {**plain, "threat": each.threat}
            for each, plain in zip(found.accuracies, plain_accuracies(found.accuracies).values(), strict=True)
        },
        "checks": plain_checks(found.checks),
        "criticality": found.layers,
        "notes": [*told, *found.notes],
        "report": str(found.report),
    }


command = flags.command(
    audit,
    flags.TARGET,
    click.Option(
        ["--out"],
        type=flags.PATH,
        help="Folder for records and report; that of the model, or audit-MODEL here, by default.",
    ),
    flags.RECIPE,
    flags.MODEL,
    flags.CHECKPOINT,
    SHARED,
    click.Option(["--minutes"], type=float, default=10.0, show_default=True, help="The time, about."),
    flags.ONE_PROCESS,
    flags.AS_JSON,
)
