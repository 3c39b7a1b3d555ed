"""``semirobust recover``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from semirobust.cli import flags
from semirobust.cli.console import print_json, show_table, tell
from semirobust.cli.header import attack_line, header, subject_lines, training_line
from semirobust.cli.parse import compute, end_of, failures, launch_of
from semirobust.cli.progress import bars
from semirobust.cli.section_flags import SHARED, section
from semirobust.experiments.commands.recover import recover_subject
from semirobust.experiments.queue.of_commands import Typed, recover_parts
from semirobust.experiments.queue.parts import do_parts
from semirobust.experiments.subject import build_subject, check_same_classes
from semirobust.experiments.work import recovery_work
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
    launcher: str | None,
    workers: int | None,
    launcher_set: Sequence[str],
    as_json: bool,
    **where: Any,
) -> None:
    """How small may the robust prefix be? Trains only the layers behind it until the whole is robust again.

    ROBUST is the run folder of the robust network.
    """
    launch = launch_of(launcher, workers, launcher_set)
    subject = build_subject(str(robust), model, None, recipe, changes)
    again = {key: value for key, value in changes.items() if key.startswith("model.options")}
    other = build_subject(str(normal), model, None, None, {**again, "data.root": changes.get("data.root")})
    check_same_classes(subject, other, "normal")
    devices, settings = compute(**where), subject.recipe.recover
    used, *said = subject.inputs.said(subject.recipe.evaluate.examples, training=True)
    layers = settings.layers if settings.layers == "auto" else ", ".join(map(str, settings.layers))
    cuts = f"suffixes of {layers} layers of {normal}, {settings.recovery.trials} trials each, at most"
    doing = {
        "training": f"{cuts} {training_line(settings.recovery.training, recipe)}",
        "attacks": attack_line(subject.recipe),
    }
    lines = subject_lines(subject, changes, None, used, doing, devices, out)
    first = header(lines, (*said, *subject.notes), as_json=as_json)
    with bars(recovery_work(subject.recipe), first=first, quiet=as_json) as progress, failures():
        if launch is not None:
            one = Typed(str(robust), model, None, recipe, changes)
            two = Typed(str(normal), model, None, None, {**again, "data.root": changes.get("data.root")})
            do_parts(recover_parts(one, two, subject, out, devices), launch, progress)
        records = recover_subject(subject, other, out, devices=devices, progress=progress)
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
    click.Argument(["robust"], type=flags.PATH, metavar="ROBUST"),
    flags.OUT,
    click.Option(
        ["--normal"],
        type=flags.PATH,
        required=True,
        help="Run folder of a network of the same build, trained on clean images.",
    ),
    flags.RECIPE,
    flags.MODEL,
    SHARED,
    section("recover"),
    section("evaluate", only=("attacks", "examples")),
    flags.COMPUTE,
    flags.LAUNCH,
    flags.AS_JSON,
)
