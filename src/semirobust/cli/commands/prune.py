"""``semirobust prune``."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from semirobust.cli import flags
from semirobust.cli.console import print_json, show_table, tell, tell_next
from semirobust.cli.header import attack_line, fresh_lines, header, pruning_line, subject_lines
from semirobust.cli.parse import compute, end_of, failures, launch_of
from semirobust.cli.progress import bars
from semirobust.cli.section_flags import SHARED, section
from semirobust.cli.show.comparison import percent, show_comparison
from semirobust.core.errors import InputError
from semirobust.core.ours import check_ours
from semirobust.experiments.build import Devices
from semirobust.experiments.commands.prune import prune_fresh, prune_subject
from semirobust.experiments.commands.shrink import shrink_subject
from semirobust.experiments.inputs import Inputs
from semirobust.experiments.model_spec import at_its_size, has_own_weights, named_again
from semirobust.experiments.queue.of_commands import Typed, prune_parts
from semirobust.experiments.queue.parts import do_parts
from semirobust.experiments.recipe import read_recipe
from semirobust.experiments.subject import Subject, build_subject
from semirobust.experiments.work import pruning_work
from semirobust.models.export import export as write_program
from semirobust.records.schema import Finding, Number, Quantity
from semirobust.records.store import AnyRecord
from semirobust.reports.pruning import pruned_rows
from semirobust.reports.source import Source

__all__ = ["command"]


def prune(
    changes: dict[str, Any],
    out: Path,
    target: str | None,
    recipe: Path | None,
    model: str | None,
    checkpoint: Path | None,
    export: Path | None,
    seeds: int,
    launcher: str | None,
    workers: int | None,
    launcher_set: Sequence[str],
    as_json: bool,
    **where: Any,
) -> None:
    """Prune a model level by level, train what is left, and evaluate each level. An interrupted run continues
    where it was.

    Without --from and --checkpoint the model starts fresh (one of another library from its own weights with
    --set model.options.pretrained=true), and with rewinding its levels are lottery tickets.
    With --macs whole channels go at once, and the network is really smaller.
    """
    devices, typed = compute(**where), {"model.name": model, **changes}
    launch = launch_of(launcher, workers, launcher_set)
    asked = changes.get("prune.macs") is not None or (recipe and read_recipe(recipe, changes).prune.macs)
    if asked:
        if export is not None:
            check_ours(export)  # before the hours that it takes
        if seeds != 1 or launch is not None:
            raise InputError("seeds and launcher: expected one seed and no launcher with --macs")
        subject = build_subject(target, model, checkpoint, recipe, changes)
        first, _ = _header(subject, typed, checkpoint, devices, out, seeds, as_json=as_json)
        _shrink(subject, out, devices, export, first, as_json=as_json)
        return
    if export is not None:
        raise InputError("--export: expected with --macs; a pruned weight that is 0 makes no smaller program")
    fresh = target is None and checkpoint is None
    settings = read_recipe(recipe, {**changes, "model.name": model}) if fresh else None
    if settings is not None and not has_own_weights(settings.model, default=False):
        settings = at_its_size(settings)
        inputs = Inputs.of(settings)
        used, *notes = inputs.said(settings.evaluate.examples, training=True)
        doing = {"pruning": pruning_line(settings, seeds), "attacks": attack_line(settings)}
        lines = fresh_lines(settings, inputs, typed, used, doing, devices, out)
        first = header(lines, notes, as_json=as_json)
        with bars(pruning_work(settings, seeds), first=first, quiet=as_json) as progress, failures():
            if launch is not None:
                do_parts(prune_parts(Typed(None), None, settings, out, seeds, devices), launch, progress)
            records = prune_fresh(
                settings, out, seeds=seeds, inputs=inputs, devices=devices, progress=progress
            )
    else:
        subject = build_subject(target, model, checkpoint, recipe, changes)
        first, notes = _header(subject, typed, checkpoint, devices, out, seeds, as_json=as_json)
        with bars(pruning_work(subject.recipe, seeds), first=first, quiet=as_json) as progress, failures():
            if launch is not None:
                named = Typed(target, model, checkpoint, recipe, changes)
                parts = prune_parts(named, subject, subject.recipe, out, seeds, devices)
                do_parts(parts, launch, progress)
            records = prune_subject(subject, out, seeds=seeds, devices=devices, progress=progress)
    _show(records, out, as_json=as_json, told=notes)
    end_of(records)


def _header(
    subject: Subject,
    changes: Mapping[str, Any],
    checkpoint: Path | None,
    devices: Devices,
    out: Path,
    seeds: int,
    *,
    as_json: bool,
) -> tuple[Callable[[], None], list[str]]:
    """What says the header of pruning a network that is there, and the notes on it."""
    used, *said = subject.inputs.said(subject.recipe.evaluate.examples, training=True)
    doing = {"pruning": pruning_line(subject.recipe, seeds), "attacks": attack_line(subject.recipe)}
    notes = [*said, *subject.notes]
    lines = subject_lines(subject, changes, checkpoint, used, doing, devices, out)
    return header(lines, notes, as_json=as_json), notes


_COST = {
    Quantity.INFERENCE_SECONDS: "seconds",
    Quantity.INFERENCE_RATIO: "ratio",
    Quantity.INFERENCE_RATIO_MIN: "ratio_min",
    Quantity.INFERENCE_RATIO_MAX: "ratio_max",
    Quantity.MACS: "macs",
    Quantity.PARAMETERS: "parameters",
    Quantity.MEGABYTES: "megabytes",
}


def _shrink(
    subject: Subject,
    out: Path,
    devices: Devices,
    file: Path | None,
    first: Callable[[], None],
    *,
    as_json: bool,
) -> None:
    with bars(pruning_work(subject.recipe, 1), first=first, quiet=as_json) as progress:
        records = shrink_subject(subject, out, devices=devices, progress=progress)
    if file is not None:
        name, changes = named_again(subject.spec)
        changes = {**changes, "data.root": subject.recipe.data.root}
        x, _ = subject.inputs.test.first(2).all()
        write_program(build_subject(str(out), name, None, None, changes).model, x, file)
    found = [r for r in records if isinstance(r, Number) and r.about.batch is not None]
    cost: dict[str, dict[Quantity, float]] = {}
    for number in found:
        cost.setdefault(str(number.about.arm), {})[number.quantity] = number.value
    if as_json:
        content = {arm: {name: values[q] for q, name in _COST.items()} for arm, values in cost.items()}
        print_json({"out": str(out), "cost": content})
        end_of(records)
        return
    rows = []
    ratios = (Quantity.INFERENCE_RATIO, Quantity.INFERENCE_RATIO_MIN, Quantity.INFERENCE_RATIO_MAX)
    for arm, values in cost.items():
        ratio, low, high = (f"{values[quantity]:.2f}" for quantity in ratios)
        sizes = [f"{values[quantity]:,.0f}" for quantity in (Quantity.PARAMETERS, Quantity.MACS)]
        rows.append(
            (
                arm,
                *sizes,
                f"{values[Quantity.MEGABYTES]:.1f}",
                f"{1e3 * values[Quantity.INFERENCE_SECONDS]:.1f}",
                f"{ratio} ({low} to {high})",
            )
        )
    batch = found[0].about.batch
    show_table(
        f"Cost, in batches of {batch} images",
        ("network", "parameters", "multiply-accumulates", "megabytes", "milliseconds", "time, before = 1"),
        rows,
    )
    show_comparison(records, out, as_json=False)
    if file is not None:
        tell(f"wrote {file}")
    end_of(records)


def _show(records: Sequence[AnyRecord], out: Path, *, as_json: bool, told: Sequence[str]) -> None:
    """One row for each level of each arm, then what was found, but for what has been told before."""

    findings = [record for record in records if isinstance(record, Finding)]
    rows = pruned_rows(
        Source(numbers=[record for record in records if isinstance(record, Number)], findings=findings)
    )
    if as_json:
        levels = [
            {
                "arm": str(arm),
                "left": left,
                "accuracy": {
                    str(name): {"value": c.value, "low": c.low, "high": c.high} for name, c in cells.items()
                },
            }
            for arm, left, cells in rows
        ]
        notes = [{"name": f.topic, "level": f.level, "text": f.text} for f in findings]
        print_json({"out": str(out), "levels": levels, "findings": notes})
        return
    attacks = list(rows[0][2]) if rows else []
    lines = []
    for arm, left, cells in rows:
        shown = [cells[name] for name in attacks if name in cells]
        lines.append((str(arm), f"{100 * left:.3g}", *(percent(cell).split("\n") for cell in shown)))
    show_table(
        "Accuracy by weights left, % (95 % interval)",
        ("network", "weights left, %", *map(str, attacks)),
        lines,
    )
    for finding in (each for each in findings if each.text not in told):
        tell(f"{finding.text}.")
    tell_next(out, "evaluate", "report")


command = flags.command(
    prune,
    flags.OUT,
    flags.START,
    flags.RECIPE,
    flags.MODEL,
    flags.CHECKPOINT,
    SHARED,
    section("prune"),
    click.Option(
        ["--export"],
        type=flags.PATH,
        help="Write the network for other programs, too: .onnx for ONNX, else for torch.export.load.",
    ),
    flags.SEEDS,
    section("evaluate", only=("attacks", "examples")),
    flags.COMPUTE,
    flags.LAUNCH,
    flags.AS_JSON,
)
