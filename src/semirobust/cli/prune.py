"""The command that prunes."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semirobust.cli import options as o
from semirobust.cli.parse import compute, subject_of
from semirobust.core.errors import InputError

if TYPE_CHECKING:
    from semirobust.records.store import AnyRecord

__all__ = ["prune"]


def prune(
    out: o.Out,
    target: Annotated[
        str | None, typer.Option("--from", help="Run folder to prune; a fresh model without.")
    ] = None,
    recipe: o.RecipeFile = None,
    model: o.Model = None,
    checkpoint: o.Checkpoint = None,
    data: o.Data = None,
    data_root: o.DataRoot = None,
    image_size: o.ImageSize = None,
    width: o.Width = None,
    norm: o.Norm = None,
    eps: o.Epsilon = None,
    levels: Annotated[int | None, typer.Option("--levels", help="How often to prune.")] = None,
    fraction: Annotated[
        str | None, typer.Option("--fraction", help="Share of what is left that goes each time.")
    ] = None,
    saliency: Annotated[
        str | None, typer.Option("--saliency", help="magnitude, gradient, layered, usefulness, random.")
    ] = None,
    rewind: Annotated[
        str | None, typer.Option("--rewind", help="initial (a ticket), reinitialise, or none.")
    ] = None,
    objective: Annotated[
        str | None, typer.Option("--objective", help="standard, adversarial, mixed, trades ...")
    ] = None,
    attack: Annotated[
        str | None, typer.Option("--attack", help="Inner maximisation, such as fgsm or pgd-10.")
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Of each level.")] = None,
    learning_rate: Annotated[str | None, typer.Option("--lr")] = None,
    operations: Annotated[
        str | None,
        typer.Option("--operations", help="Remove channels until this share of the multiplications is left."),
    ] = None,
    export: Annotated[
        Path | None, typer.Option("--export", help="Write the network for torch.export.load, too.")
    ] = None,
    keep: Annotated[
        str | None, typer.Option("--keep", help="sparsest, most-robust, or a level: the run's network.")
    ] = None,
    controls: Annotated[
        bool, typer.Option("--controls", help="Fresh and random weights beside it, at equal budget.")
    ] = False,
    seeds: Annotated[int, typer.Option("--seeds", help="Repeat with so many seeds.")] = 1,
    attacks: o.Attacks = None,
    examples: o.Examples = None,
    seed: o.Seed = None,
    set_: o.Set = None,
    device: o.Accelerator = "auto",
    threads: o.Threads = None,
    json: o.Json = False,
) -> None:
    """Prune a model level by level, train what is left, and evaluate each level. An interrupted run goes on
    where it was.

    Without --from and --checkpoint the model starts fresh, and with rewinding its levels are lottery tickets.
    With --operations whole channels go at once, and the network is really smaller."""
    changes = o.common_changes(
        set_,
        data__source=data,
        data__root=data_root,
        data__image_size=image_size,
        model__width=width,
        threat__norm=norm,
        threat__epsilon=eps,
        prune__levels=levels,
        prune__fraction=fraction,
        prune__saliency=saliency,
        prune__rewind=rewind,
        prune__objective=objective,
        prune__attack=attack,
        prune__epochs=epochs,
        prune__learning_rate=learning_rate,
        prune__operations=operations,
        prune__keep=keep,
        prune__controls=controls or None,
        evaluate__attacks=attacks,
        evaluate__examples=examples,
        seed=seed,
    )
    from semirobust.cli.console import bars
    from semirobust.experiments.commands.prune import prune_fresh, prune_subject
    from semirobust.experiments.recipe import read_recipe

    where = compute(device, threads=threads)
    asked = changes.get("prune.operations") is not None or (
        recipe and read_recipe(recipe, changes).prune.operations
    )
    if asked:
        if seeds != 1:
            raise InputError(f"seeds: expected one with --operations, got {seeds}")
        _shrink(subject_of(target, model, checkpoint, recipe, changes), out, where, export, as_json=json)
        return
    if export is not None:
        raise InputError(
            "--export: expected with --operations; a pruned weight that is 0 makes no smaller program"
        )
    with bars(quiet=json) as progress:
        if target is None and checkpoint is None:
            settings = read_recipe(recipe, {**changes, "model.name": model})
            records = prune_fresh(settings, out, seeds=seeds, devices=where, progress=progress)
        else:
            subject = subject_of(target, model, checkpoint, recipe, changes)
            records = prune_subject(subject, out, seeds=seeds, devices=where, progress=progress)
    _show(records, out, as_json=json)
    _end(records)


def _end(records: "Sequence[AnyRecord]") -> None:
    """With exit code 1 where a training stopped."""
    if any(record.kind == "finding" and record.name == "stopped" for record in records):
        raise typer.Exit(1)


def _shrink(subject: Any, out: Path, where: Any, file: Path | None, *, as_json: bool) -> None:
    from semirobust.cli.console import bars, print_json, show_table, tell
    from semirobust.cli.output import show_comparison
    from semirobust.experiments.commands.shrink import export, shrink_subject
    from semirobust.experiments.subject import build_subject
    from semirobust.records.schema import Number

    with bars(quiet=as_json) as progress:
        records = shrink_subject(subject, out, devices=where, progress=progress)
    if file is not None:
        name = subject.spec.name if ":" in subject.spec.name else None
        x, _ = subject.inputs.test.first(2).all()
        export(
            build_subject(str(out), name, None, None, {"data.root": subject.recipe.data.root}).model, x, file
        )
    found = [r for r in records if isinstance(r, Number) and r.name.startswith("cost.")]
    arms = list(dict.fromkeys(str(n.labels["arm"]) for n in found))
    cost = {arm: {n.name.removeprefix("cost."): n for n in found if n.labels["arm"] == arm} for arm in arms}
    if as_json:
        print_json(
            {
                "out": str(out),
                "cost": {arm: {k: n.value for k, n in own.items()} for arm, own in cost.items()},
            }
        )
        _end(records)
        return
    rows = []
    for arm, own in cost.items():
        ratio, low, high = (f"{v:.2f}" for v in (own[f"ratio{end}"].value for end in ("", ".least", ".most")))
        sizes = [f"{own[key].value:,.0f}" for key in ("parameters", "multiplications")]
        rows.append(
            (
                arm,
                *sizes,
                f"{own['megabytes'].value:.1f}",
                f"{1e3 * own['seconds'].value:.1f}",
                f"{ratio} ({low} to {high})",
            )
        )
    batch = found[0].labels["batch"]
    show_table(
        f"Cost, batches of {batch}",
        ("", "parameters", "multiplications", "MB", "ms", "time, before = 1"),
        rows,
    )
    show_comparison(records, out, as_json=False)
    if file is not None:
        tell(f"wrote {file}")
    _end(records)


def _show(records: "Sequence[AnyRecord]", out: Path, *, as_json: bool) -> None:
    """One row for each level of each arm, then what was found."""
    from semirobust.cli.console import print_json, show_table, tell
    from semirobust.cli.output import percent
    from semirobust.records.schema import Finding, Number
    from semirobust.reports.pruning import pruned_rows
    from semirobust.reports.source import Source

    findings = [record for record in records if isinstance(record, Finding)]
    rows = pruned_rows(
        Source(numbers=[record for record in records if isinstance(record, Number)], findings=findings)
    )
    if as_json:
        levels = [
            {
                "arm": arm,
                "left": left,
                "accuracy": {
                    name: {"value": c.value, "low": c.low, "high": c.high} for name, c in cells.items()
                },
            }
            for arm, left, cells in rows
        ]
        notes = [{"name": f.name, "level": f.level, "text": f.text} for f in findings]
        print_json({"out": str(out), "levels": levels, "findings": notes})
        return
    attacks = list(rows[0][2]) if rows else []
    lines = []
    for arm, left, cells in rows:
        shown = [cells[name] for name in attacks if name in cells]
        lines.append((arm, f"{100 * left:.3g}", *map(percent, shown)))
    show_table("Accuracy by weights left, %", ("", "left", *attacks), lines)
    for finding in findings:
        tell(f"{finding.text}.")
    tell(f"wrote {out}; go on with `semirobust evaluate {out}`, `report {out}`")
