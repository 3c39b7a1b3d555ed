"""``semirobust profile``."""

from pathlib import Path
from typing import Any

from semirobust.cli import flags
from semirobust.cli.console import tell_next
from semirobust.cli.header import header, measure_line, subject_lines
from semirobust.cli.parse import compute
from semirobust.cli.progress import bars
from semirobust.cli.section_flags import SHARED, section
from semirobust.cli.show.profile import show_profile
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
    devices, place = compute(**where), out or subject.folder
    used, *said = subject.inputs.said(subject.recipe.profile.examples)
    doing = {"measures": measure_line(subject.recipe)}
    lines = subject_lines(subject, changes, checkpoint, used, doing, devices, place, looks=True)
    first = header(lines, (*said, *subject.notes), as_json=as_json)
    with bars(first=first, quiet=as_json) as progress:
        layers, scores = run(subject, place, devices=devices, progress=progress)
    show_profile(layers, scores, as_json=as_json, told=subject.notes)
    if place is not None and not as_json:
        tell_next(place, "report", "evaluate", "harden --from")


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
