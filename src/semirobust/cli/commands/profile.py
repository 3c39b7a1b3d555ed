"""``semirobust profile``."""

from pathlib import Path
from typing import Any

from semirobust.cli import flags
from semirobust.cli.console import bars, tell_notes, tell_nothing_kept
from semirobust.cli.output import show_profile
from semirobust.cli.parse import compute
from semirobust.cli.section_flags import SHARED, section
from semirobust.experiments.commands.profile import profile as run
from semirobust.experiments.subject import build_subject

__all__ = ["command"]


def profile(
    changes: dict[str, Any],
    target: str | None,
    out: Path | None,
    recipe: Path | None,
    model: str | None,
    checkpoint: Path | None,
    as_json: bool,
    **where: Any,
) -> None:
    """What each layer of a model adds to its weakness.

    MODEL is a run folder, an architecture, timm:NAME, torchvision:NAME, hf:OWNER/NAME, robustbench:NAME, or
    package.module:factory. Those of other libraries come with their own weights.
    """
    subject = build_subject(target, model, checkpoint, recipe, changes)
    tell_notes(subject.inputs.said(subject.recipe.profile.examples), as_json=as_json)
    tell_notes(subject.notes, as_json=as_json)
    if out is None and subject.folder is None:
        tell_nothing_kept()
    with bars(quiet=as_json) as progress:
        layers, scores = run(subject, out or subject.folder, devices=compute(**where), progress=progress)
    show_profile(layers, scores, as_json=as_json, told=subject.notes)


command = flags.command(
    profile,
    flags.TARGET,
    flags.RUN_OUT,
    flags.RECIPE,
    flags.MODEL,
    flags.CHECKPOINT,
    SHARED,
    section("profile"),
    flags.COMPUTE,
    flags.AS_JSON,
)
