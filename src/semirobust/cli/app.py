"""The program ``semirobust``."""

from pathlib import Path
from typing import Annotated

import typer

from semirobust.cli import options as o
from semirobust.cli import studies
from semirobust.cli.ending import carry_out
from semirobust.cli.parse import compute, layers_of, subject_of
from semirobust.cli.prune import prune

__all__ = ["app", "main"]

app = typer.Typer(
    help="Which layers of an image classifier carry its adversarial robustness,\n"
    "and how little must be trained to make all of it robust.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Target = Annotated[
    str | None, typer.Argument(help="Run folder, architecture, or package.module:factory.", metavar="[MODEL]")
]


def main() -> None:
    """Run the command line."""
    carry_out(app)


@app.command()
def demo(
    out: o.Out = Path("runs/demo"),
    seeds: Annotated[int, typer.Option("--seeds", help="How many times everything is repeated.")] = 4,
    workers: Annotated[
        int | None, typer.Option("--workers", help="Processes; one for each core by default.")
    ] = None,
    json: o.Json = False,
) -> None:
    """Train, profile, harden and compare on small real data; writes a report."""
    from semirobust.cli.console import bars
    from semirobust.cli.output import show_comparison
    from semirobust.experiments.commands.demo import demo as run

    with bars(quiet=json) as progress:
        records = run(out, seeds=seeds, workers=workers, progress=progress)
    show_comparison(records, out, as_json=json, report=out / "report.html")


@app.command()
def train(
    out: o.Out,
    recipe: o.RecipeFile = None,
    data: o.Data = None,
    data_root: o.DataRoot = None,
    image_size: o.ImageSize = None,
    model: o.Model = None,
    width: o.Width = None,
    norm: o.Norm = None,
    eps: o.Epsilon = None,
    objective: Annotated[
        str | None, typer.Option("--objective", help="standard, adversarial, trades, mart or score.")
    ] = None,
    attack: Annotated[
        str | None, typer.Option("--attack", help="Inner maximisation, such as pgd-10.")
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size")] = None,
    learning_rate: Annotated[str | None, typer.Option("--lr")] = None,
    schedule: Annotated[
        str | None, typer.Option("--schedule", help="constant, step, cosine, drops-50-75 ...")
    ] = None,
    augment: Annotated[
        str | None, typer.Option("--augment", help="none, crop, crop-flip, cutout, idbh-weak ...")
    ] = None,
    precision: Annotated[str | None, typer.Option("--precision", help="32-true or bf16-mixed.")] = None,
    seed: o.Seed = None,
    set_: o.Set = None,
    device: o.Accelerator = "auto",
    devices: o.Count = 1,
    nodes: o.Nodes = 1,
    threads: o.Threads = None,
    json: o.Json = False,
) -> None:
    """Train a model, robustly unless told otherwise. An interrupted run goes on when started again."""
    changes = o.common_changes(
        set_,
        data__source=data,
        data__root=data_root,
        data__image_size=image_size,
        model__name=model,
        model__width=width,
        threat__norm=norm,
        threat__epsilon=eps,
        train__objective=objective,
        train__attack=attack,
        train__epochs=epochs,
        train__batch_size=batch_size,
        train__learning_rate=learning_rate,
        train__schedule=schedule,
        train__augment=augment,
        train__precision=precision,
        seed=seed,
    )
    from semirobust.cli.console import bars
    from semirobust.cli.output import show_training
    from semirobust.experiments.commands.train import train as run
    from semirobust.experiments.recipe import read_recipe

    settings = read_recipe(recipe, changes)
    with bars(quiet=json) as progress:
        trained = run(settings, out, devices=compute(device, devices, threads, nodes), progress=progress)
    show_training(trained, out, as_json=json)
    if trained.stopped:
        raise typer.Exit(1)


@app.command()
def evaluate(
    target: Target = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Run folder for the records; that of the model by default.")
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
    attacks: o.Attacks = None,
    each: Annotated[
        bool, typer.Option("--each", help="Every attack on all images, not only on what is left.")
    ] = False,
    sweep: Annotated[
        str | None, typer.Option("--sweep", help="Radii of a security curve, such as 2/255,4/255,8/255.")
    ] = None,
    transfer: Annotated[
        list[Path] | None, typer.Option("--transfer", help="Run to make a transfer matrix with. Repeatable.")
    ] = None,
    examples: o.Examples = None,
    seed: o.Seed = None,
    set_: o.Set = None,
    device: o.Accelerator = "auto",
    devices: o.Count = 1,
    nodes: o.Nodes = 1,
    threads: o.Threads = None,
    json: o.Json = False,
) -> None:
    """Accuracy of a model, clean and under attack, with intervals."""
    changes = o.common_changes(
        set_,
        data__source=data,
        data__root=data_root,
        data__image_size=image_size,
        model__width=width,
        threat__norm=norm,
        threat__epsilon=eps,
        evaluate__attacks=attacks,
        evaluate__each=each or None,
        evaluate__sweep=None if sweep is None else [part.strip() for part in sweep.split(",")],
        evaluate__examples=examples,
        seed=seed,
    )
    from semirobust.cli.console import bars
    from semirobust.cli.output import show_accuracy
    from semirobust.experiments.commands.evaluate import evaluate_subject

    subject = subject_of(target, model, checkpoint, recipe, changes)
    names = [folder.name for folder in transfer or []]
    others = {
        folder.name if names.count(folder.name) == 1 else str(folder): subject_of(
            str(folder), None, None, None, {}
        ).model
        for folder in transfer or []
    }
    with bars(quiet=json) as progress:
        where = compute(device, devices, threads, nodes)
        found = evaluate_subject(
            subject, out or subject.folder, others=others, devices=where, progress=progress
        )
    show_accuracy(found, subject.recipe, as_json=json)


@app.command()
def profile(
    target: Target = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Run folder for the records; that of the model by default.")
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
    measures: Annotated[
        str | None, typer.Option("--measures", help="Measures with commas, such as criticality.")
    ] = None,
    examples: o.Examples = None,
    seed: o.Seed = None,
    set_: o.Set = None,
    device: o.Accelerator = "auto",
    devices: o.Count = 1,
    nodes: o.Nodes = 1,
    threads: o.Threads = None,
    json: o.Json = False,
) -> None:
    """What each layer of a model adds to its weakness."""
    changes = o.common_changes(
        set_,
        data__source=data,
        data__root=data_root,
        data__image_size=image_size,
        model__width=width,
        threat__norm=norm,
        threat__epsilon=eps,
        profile__measures=None if measures is None else [part.strip() for part in measures.split(",")],
        profile__examples=examples,
        seed=seed,
    )
    from semirobust.cli.console import bars
    from semirobust.cli.output import show_profile
    from semirobust.experiments.commands.profile import profile as run

    subject = subject_of(target, model, checkpoint, recipe, changes)
    with bars(quiet=json) as progress:
        layers, scores = run(
            subject,
            out or subject.folder,
            devices=compute(device, devices, threads, nodes),
            progress=progress,
        )
    show_profile(layers, scores, as_json=json)


@app.command()
def harden(
    out: o.Out,
    target: Annotated[
        str | None,
        typer.Option("--from", help="Run folder to start from; see above for none."),
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
    method: Annotated[
        str | None, typer.Option("--method", help="clat, selected, suffix, rift, lora, twins ...")
    ] = None,
    k: Annotated[int | None, typer.Option("--k", help="How many layers train.")] = None,
    layers: Annotated[
        str | None, typer.Option("--layers", help="Just these, such as 7,9; of suffix: how many.")
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs")] = None,
    learning_rate: Annotated[str | None, typer.Option("--lr")] = None,
    controls: Annotated[
        bool, typer.Option("--controls", help="Run the controls at equal budget beside the method.")
    ] = False,
    seeds: Annotated[
        int, typer.Option("--seeds", help="Repeat with so many seeds; a verdict needs several.")
    ] = 1,
    attacks: o.Attacks = None,
    examples: o.Examples = None,
    seed: o.Seed = None,
    set_: o.Set = None,
    device: o.Accelerator = "auto",
    devices: o.Count = 1,
    nodes: o.Nodes = 1,
    threads: o.Threads = None,
    json: o.Json = False,
) -> None:
    """Make a trained model more robust by training only the part that matters; evaluates before and after.

    With --recipe and neither --from nor --checkpoint, the model is first trained as the recipe says, into
    OUT/base."""
    changes = o.common_changes(
        set_,
        data__source=data,
        data__root=data_root,
        data__image_size=image_size,
        model__width=width,
        threat__norm=norm,
        threat__epsilon=eps,
        harden__method=method,
        harden__options__k=k,
        harden__options__layers=layers_of(layers),
        harden__epochs=epochs,
        harden__learning_rate=learning_rate,
        harden__controls=controls or None,
        evaluate__attacks=attacks,
        evaluate__examples=examples,
        seed=seed,
    )
    from semirobust.cli.console import bars
    from semirobust.cli.output import show_comparison
    from semirobust.experiments.commands.harden import harden_subject, train_base

    where = compute(device, devices, threads, nodes)
    with bars(quiet=json) as progress:
        if target is None and checkpoint is None and recipe is not None:
            changes = {**changes, "model.name": model}
            target, model = str(train_base(recipe, changes, out, devices=where, progress=progress)), None
        subject = subject_of(target, model, checkpoint, recipe, changes)
        records = harden_subject(subject, out, seeds=seeds, devices=where, progress=progress)
    show_comparison(records, out, as_json=json)
    if any(record.kind == "finding" and record.name == "stopped" for record in records):
        raise typer.Exit(1)


@app.command()
def data(
    fetch: Annotated[
        str | None, typer.Option("--fetch", help="Download this data set from its official address.")
    ] = None,
    data_root: o.DataRoot = None,
    json: o.Json = False,
) -> None:
    """Data sets known by name: where they are looked for, their size and licence."""
    from semirobust.cli.console import bars, tell
    from semirobust.cli.output import show_catalogue

    if fetch is None:
        show_catalogue(data_root, as_json=json)
        return
    from semirobust.data.base.locate import download

    with bars(quiet=json) as progress:
        folder = download(fetch, data_root, progress=progress)
    tell(f"{fetch} is in {folder}")


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.", metavar="RUN...")],
    out: Annotated[
        Path | None, typer.Option("--out", help="HTML file; report.html in the first run folder by default.")
    ] = None,
    title: Annotated[str, typer.Option("--title")] = "Robustness report",
) -> None:
    """One HTML file, from records alone, that needs nothing else to be read."""
    from semirobust.cli.console import tell
    from semirobust.reports.page import write_report

    tell(f"wrote {write_report(runs, out or runs[0] / 'report.html', title=title)}")


app.command()(prune)
app.command()(studies.recover)
app.command()(studies.reproduce)
