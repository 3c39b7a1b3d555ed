"""``semirobust recover``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from semirobust.cli import flags
from semirobust.cli.console import bars, print_json, show_table, tell, tell_notes
from semirobust.cli.parse import compute, end_of
from semirobust.cli.section_flags import SHARED, section
from semirobust.experiments.commands.recover import recover_subject
from semirobust.experiments.subject import build_subject, check_same_classes
from semirobust.records.schema import Finding, Number, Quantity, Topic
from semirobust.records.store import AnyRecord

__all__ = ["command"]


def recover(
    changes: dict[str, Any],
    robust: Path,
    out: Path,
    normal: Path,
    recipe: Path | None,
    model: str | None,
    as_json: bool,
    **where: Any,
) -> None:
    """How small may the robust prefix be? Trains only the layers behind it until the whole is robust again.

    ROBUST is the run folder of the robust network.
    """
    subject = build_subject(str(robust), model, None, recipe, changes)
    again = {key: value for key, value in changes.items() if key.startswith("model.options")}
    other = build_subject(str(normal), model, None, None, {**again, "data.root": changes.get("data.root")})
    check_same_classes(subject, other, "normal")
    said = subject.inputs.said(subject.recipe.evaluate.examples, training=True)
    tell_notes((*said, *subject.notes), as_json=as_json)
    with bars(quiet=as_json) as progress:
        records = recover_subject(subject, other, out, devices=compute(**where), progress=progress)
    _show_recovery(records, out, as_json=as_json)
    end_of(records)


_NAMES = {
    Quantity.RECOVERY_REFERENCE: "reference",
    Quantity.RECOVERY_START: "start",
    Quantity.RECOVERY_BEST: "best",
    Quantity.RECOVERY_DIFFERENCE: "difference",
    Quantity.RECOVERY_EPOCH: "converged",
    Quantity.RECOVERY_EPOCHS: "epochs",
    Quantity.RECOVERED_TRIALS: "trials_converged",
}


def _show_recovery(records: Sequence[AnyRecord], out: Path, *, as_json: bool) -> None:
    """One row for each size of the suffix, then the answer."""

    numbers = [r for r in records if isinstance(r, Number)]
    found: dict[int, dict[str, list[float]]] = {}
    for r in numbers:
        if r.quantity in _NAMES and r.about.suffix is not None:
            values = found.setdefault(r.about.suffix, {})
            values.setdefault(_NAMES[r.quantity], []).append(r.value)
    findings = [r for r in records if isinstance(r, Finding) and r.topic is not Topic.MEASURE]
    if as_json:
        rho = {
            f"{r.about.suffix}/{r.about.layer}": r.value
            for r in numbers
            if r.quantity is Quantity.RECOVERY_THRESHOLD
        }
        print_json(
            {"out": str(out), "suffix": found, "thresholds": rho, "findings": [f.text for f in findings]}
        )
        return
    rows = []
    for size, values in found.items():
        epochs = values.get("epochs", [])
        rows.append(
            (
                str(size),
                f"{values['reference'][0]:.1%}",
                " ".join(f"{v:.1%}" for v in values["start"]),
                " ".join(f"{v:.1%}" for v in values["best"]),
                f"{100 * values['difference'][0]:+.1f}",
                f"{epochs[0]:.1f}" if epochs else "–",
                f"{values['trials_converged'][0]:.0f} of {len(values['best'])}",
            )
        )
    head = ("layers of the suffix", "robust network", "before", "after", "difference", "epochs", "recovered")
    show_table("Accuracy under attack on the images that decide", head, rows)
    for finding in findings:
        tell(f"{finding.text}.")
    tell(f"wrote {out}; its records have the test accuracies, every epoch, rho_j and the bounds")


command = flags.command(
    recover,
    click.Argument(["robust"], type=click.Path(path_type=Path), metavar="ROBUST"),
    flags.OUT,
    click.Option(
        ["--normal"],
        type=click.Path(path_type=Path),
        required=True,
        help="Run folder of a network of the same build, trained on clean images.",
    ),
    flags.RECIPE,
    flags.MODEL,
    SHARED,
    section("recover"),
    section("evaluate", only=("attacks", "examples")),
    flags.ONE_PROCESS,
    flags.AS_JSON,
)
