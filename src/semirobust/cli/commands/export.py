"""``semirobust export``."""

from pathlib import Path
from typing import Any

import click

from semirobust.cli import flags
from semirobust.cli.console import print_json, tell, tell_notes
from semirobust.cli.section_flags import SHARED
from semirobust.core.ours import check_ours
from semirobust.experiments.subject import build_subject
from semirobust.models.export import export as write

__all__ = ["command"]


def export(
    changes: dict[str, Any],
    target: str | None,
    out: Path,
    recipe: Path | None,
    model: str | None,
    checkpoint: Path | None,
    opset: int | None,
    as_json: bool,
) -> None:
    """Write a model as ONNX or for torch.export, and check that it answers alike.

    The normalisation is written too, so pixels go from 0 to 1. What was written is run on two images and must
    give the same logits. An ONNX file can be evaluated in
    turn: semirobust evaluate onnx:FILE --attacks square.

    MODEL is a run folder, an architecture, timm:NAME, torchvision:NAME, hf:OWNER/NAME, robustbench:NAME, or
    package.module:factory. The images of the data say their shape.
    """
    check_ours(out)
    subject = build_subject(target, model, checkpoint, recipe, changes)
    tell_notes(subject.notes, as_json=as_json)
    x, _ = subject.inputs.test.first(2).all()
    names = [each[0] for each in subject.spec.classes]
    place = write(subject.model, x, out, classes=names, opset=opset)
    size, shape = place.stat().st_size, tuple(x.shape[1:])
    if as_json:
        print_json({"out": str(place), "bytes": size, "images": list(shape), "classes": names})
        return
    tell(
        f"Wrote {place} ({size / 1e6:.1f} MB). It takes batches of images {' x '.join(map(str, shape))} with"
        " pixels from 0 to 1; run on two images it gave the logits of the model."
    )


command = flags.command(
    export,
    flags.TARGET,
    click.Option(
        ["--out"],
        type=flags.PATH,
        required=True,
        help="File to write: .onnx for ONNX, .pt2 for torch.export.load.",
    ),
    flags.RECIPE,
    flags.MODEL,
    flags.CHECKPOINT,
    SHARED,
    click.Option(["--opset"], type=int, help="Of ONNX; what PyTorch takes by default."),
    flags.AS_JSON,
)
