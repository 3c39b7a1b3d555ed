"""Commands that answer a question by many runs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semirobust.cli import options as o
from semirobust.cli.parse import compute, layers_of, subject_of

if TYPE_CHECKING:
    from semirobust.records.store import AnyRecord

__all__ = ["recover", "reproduce"]


def recover(
    robust: Annotated[Path, typer.Argument(help="Run folder of the robust network.", metavar="ROBUST")],
    out: o.Out,
    normal: Annotated[
        Path,
        typer.Option("--normal", help="Run folder of a network of the same build, trained on clean images."),
    ],
    recipe: o.RecipeFile = None,
    model: o.Model = None,
    data_root: o.DataRoot = None,
    layers: Annotated[
        str | None, typer.Option("--layers", help="Sizes of the suffix, such as 4,8,12; or auto.")
    ] = None,
    trials: Annotated[int | None, typer.Option("--trials")] = None,
    tolerance: Annotated[
        str | None, typer.Option("--tolerance", help="How much less accurate is still recovered: 0.01.")
    ] = None,
    protocol: Annotated[
        str | None, typer.Option("--protocol", help="holdout, or paper: selects on the test images.")
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs")] = None,
    learning_rate: Annotated[str | None, typer.Option("--lr")] = None,
    controls: Annotated[
        bool, typer.Option("--controls", help="Train also everything, and behind a normal prefix.")
    ] = False,
    attacks: o.Attacks = None,
    examples: o.Examples = None,
    seed: o.Seed = None,
    set_: o.Set = None,
    device: o.Accelerator = "auto",
    threads: o.Threads = None,
    json: o.Json = False,
) -> None:
    """How small may the robust prefix be? Trains only the layers behind it until the whole is robust
    again.
    """
    changes = o.common_changes(
        set_,
        data__root=data_root,
        recover__layers=layers if layers == "auto" else layers_of(layers),
        recover__trials=trials,
        recover__tolerance=tolerance,
        recover__protocol=protocol,
        recover__epochs=epochs,
        recover__learning_rate=learning_rate,
        recover__controls=controls or None,
        evaluate__attacks=attacks,
        evaluate__examples=examples,
        seed=seed,
    )
    from semirobust.cli.console import bars
    from semirobust.experiments.commands.recover import recover_subject

    subject = subject_of(str(robust), model, None, recipe, changes)
    other = subject_of(str(normal), model, None, None, {"data.root": data_root})
    with bars(quiet=json) as progress:
        records = recover_subject(
            subject, other, out, devices=compute(device, threads=threads), progress=progress
        )
    _show_recovery(records, out, as_json=json)
    if any(record.kind == "finding" and record.name == "stopped" for record in records):
        raise typer.Exit(1)


def reproduce(
    name: Annotated[
        str,
        typer.Argument(
            help="Which study: the name of an installed one or of a folder in papers/, or the path of a"
            " folder with study.py, whose code is run.",
            metavar="NAME_OR_PATH",
        ),
    ],
    scale: Annotated[
        str, typer.Option("--scale", help="One that the study has: cpu, or paper for the full setting.")
    ] = "cpu",
    out: Annotated[Path, typer.Option("--out", help="Where networks and records go.")] = Path(
        "runs/reproduced"
    ),
    list_: Annotated[bool, typer.Option("--list", help="Only say what there is and what is done.")] = False,
    only: Annotated[
        str | None, typer.Option("--only", help="Names of runs, or parts of them, with commas.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", help="How many; as many as the scale asks for by default.")
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(
            "--page",
            help="Render the tables into this Markdown file: from the runs below --out, or where there are"
            " none from the records that come with the study.",
        ),
    ] = None,
    packed: Annotated[
        bool,
        typer.Option("--packed", help="With --page: from the records that come with the study in any case."),
    ] = False,
    pack: Annotated[
        bool,
        typer.Option("--pack", help="Put the records of the runs below --out into the study's folder."),
    ] = False,
    unpack: Annotated[
        bool,
        typer.Option(
            "--unpack",
            help="Put the records that come with the study below --out, so that they count as done.",
        ),
    ] = False,
    workers: Annotated[
        int | None, typer.Option("--workers", help="How many; one for each core by default.")
    ] = None,
    launcher: Annotated[
        str, typer.Option("--launcher", help="Where they run: local, slurm or ray.")
    ] = "local",
    launcher_set: Annotated[
        list[str] | None,
        typer.Option("--launcher-set", help="Its options, such as minutes=60 or gpus=1. Repeatable."),
    ] = None,
    retries: Annotated[
        int, typer.Option("--retries", help="How often a run that failed is tried again.")
    ] = 1,
    data_root: o.DataRoot = None,
    json: o.Json = False,
) -> None:
    """Make the tables and figures of a paper again: runs what is not done, resumes what was interrupted.

    Several of these may run at once with the same --out, on machines that share it.
    """
    from semirobust.cli.console import bars, print_json, show_table, tell
    from semirobust.experiments.queue.archive import pack_runs, unpack_runs
    from semirobust.experiments.queue.find import find_study
    from semirobust.experiments.queue.runner import reproduce as run
    from semirobust.experiments.queue.runner import runs_of_page, status, write_page

    study = find_study(name)
    if pack:
        tell(f"wrote {pack_runs(study, scale, out)}")
    if unpack:
        tell(f"unpacked into {unpack_runs(study, scale, out)}")
    if page is not None:
        home = runs_of_page(name, scale, out, packed=packed)
        source = "the records that come with the study" if home is None else f"the runs in {home}"
        tell(f"wrote {write_page(name, scale, out, page, packed=packed)} from {source}")
    if pack or unpack or page is not None:
        return
    changes = {"data.root": data_root}
    if not list_:
        parts = [part.strip() for part in (only or "").split(",") if part.strip()]
        options = o.common_changes(launcher_set)
        with bars(quiet=json) as progress, _failures():
            run(
                name,
                scale,
                out,
                seeds=seeds,
                only=parts,
                workers=workers,
                launcher=launcher,
                launcher_options=options,
                retries=retries,
                changes=changes,
                progress=progress,
            )
    found = status(name, scale, out, seeds=seeds, changes=changes)
    if json:
        print_json({"units": [{"name": s.unit.name, "for": s.unit.items, "state": s.state} for s in found]})
    else:
        states: dict[tuple[str, str], list[str]] = {}
        for entry in found:
            network, _, rest = entry.unit.name.partition("/")
            states.setdefault(
                (f"{network}: {rest.rpartition('/')[2]}", ", ".join(entry.unit.items)), []
            ).append(entry.state)
        rows = [(run, items, _counted(each)) for (run, items), each in states.items()]
        show_table(f"{study.name}, scale {scale}", ("run", "for", "seeds"), rows)
        done = sum(s.state == "done" for s in found)
        tell(f"{done} of {len(found)} runs are done; records in {out / f'{study.name}-{scale}' / 'records'}")


@contextmanager
def _failures() -> Iterator[None]:
    """Runs that failed are said, with code 1: what was typed is not wrong."""
    from semirobust.experiments.queue.runner import Failed

    try:
        yield
    except Failed as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None


def _counted(states: "Sequence[str]") -> str:
    """``3 of 5 done, 1 running``, and what is not as it should be."""
    words = {"running": "running", "failed": "failed", "other settings": "with other settings"}
    more = [f"{states.count(state)} {text}" for state, text in words.items() if state in states]
    return ", ".join([f"{states.count('done')} of {len(states)} done", *more])


def _show_recovery(records: "Sequence[AnyRecord]", out: Path, *, as_json: bool) -> None:
    """One row for each size of the suffix, then the answer."""
    from semirobust.cli.console import print_json, show_table, tell
    from semirobust.records.schema import Finding, Number

    numbers = [r for r in records if isinstance(r, Number) and r.name.startswith("recover.")]
    found: dict[int, dict[str, list[float]]] = {}
    for r in numbers:
        if "suffix" in r.labels and "layer" not in r.labels:
            found.setdefault(int(r.labels["suffix"]), {}).setdefault(
                r.name.removeprefix("recover."), []
            ).append(r.value)
    findings = [r for r in records if isinstance(r, Finding) and not r.name.startswith("measure.")]
    if as_json:
        rho = {
            f"{r.labels['suffix']}/{r.labels['layer']}": r.value
            for r in numbers
            if r.name == "recover.threshold"
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
