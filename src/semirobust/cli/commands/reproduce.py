"""``semirobust reproduce``."""

from collections.abc import Sequence
from pathlib import Path

import click

from semirobust.cli import flags
from semirobust.cli.console import print_json, show_table, tell
from semirobust.cli.parse import failures
from semirobust.cli.progress import bars
from semirobust.experiments.queue.archive import pack_runs, unpack_runs
from semirobust.experiments.queue.find import find_study
from semirobust.experiments.queue.runner import reproduce as run
from semirobust.experiments.queue.runner import runs_of_page, status, write_page

__all__ = ["command"]


def reproduce(
    name: str,
    scale: str,
    out: Path,
    list_: bool,
    only: str | None,
    seeds: int | None,
    page: Path | None,
    packed: bool,
    pack: bool,
    unpack: bool,
    workers: int | None,
    launcher: str,
    launcher_set: Sequence[str],
    retries: int,
    data_root: str | None,
    as_json: bool,
) -> None:
    """Make the tables and figures of a paper again: runs what is not done, resumes what was interrupted.

    NAME_OR_PATH is the name of an installed study or of a folder in papers/, or the path of a folder with
    study.py, whose code is run. Several of these may run at once with the same --out, on machines that share
    it.
    """
    study = find_study(name)
    if pack or unpack or page is not None:
        written: dict[str, Path] = {}
        said: list[str] = []
        if pack:
            written["packed"] = pack_runs(study, scale, out)
            said.append(f"wrote {written['packed']}")
        if unpack:
            written["unpacked into"] = unpack_runs(study, scale, out)
            said.append(f"unpacked into {written['unpacked into']}")
        if page is not None:
            home = runs_of_page(name, scale, out, packed=packed)
            origin = "the records that come with the study" if home is None else f"the runs in {home}"
            written["page"] = write_page(name, scale, out, page, packed=packed)
            said.append(f"wrote {written['page']} from {origin}")
        if as_json:
            print_json(written)
        for sentence in () if as_json else said:
            tell(sentence)
        return
    changes = {"data.root": data_root}
    if not list_:
        parts = [part.strip() for part in (only or "").split(",") if part.strip()]
        options = flags.entries(launcher_set)
        with bars(quiet=as_json) as progress, failures():
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
    if as_json:
        print_json({"units": [{"name": s.unit.name, "for": s.unit.items, "state": s.state} for s in found]})
    else:
        states: dict[tuple[str, str], list[str]] = {}
        for entry in found:
            unit = entry.unit
            key = f"{unit.network}: {unit.run}", ", ".join(unit.items)
            states.setdefault(key, []).append(entry.state)
        rows = [(run, items, _counted(each)) for (run, items), each in states.items()]
        show_table(f"{study.name}, scale {scale}", ("run", "for", "seeds"), rows)
        done = sum(s.state == "done" for s in found)
        tell(f"{done} of {len(found)} runs are done; records in {out / f'{study.name}-{scale}' / 'records'}")


def _counted(states: Sequence[str]) -> str:
    """``3 of 5 done, 1 running``, and what is not as it should be."""
    words = {"running": "running", "failed": "failed", "other settings": "with other settings"}
    more = [f"{states.count(state)} {text}" for state, text in words.items() if state in states]
    return ", ".join([f"{states.count('done')} of {len(states)} done", *more])


command = flags.command(
    reproduce,
    click.Argument(["name"], metavar="NAME_OR_PATH"),
    click.Option(
        ["--scale"], default="cpu", help="One that the study has: cpu, or paper for the full setting."
    ),
    click.Option(
        ["--out"], type=flags.PATH, default=Path("runs/reproduced"), help="Where networks and records go."
    ),
    click.Option(["--list", "list_"], is_flag=True, help="Only say what there is and what is done."),
    click.Option(["--only"], help="Names of runs, or parts of them, with commas."),
    click.Option(["--seeds"], type=int, help="How many; as many as the scale asks for by default."),
    click.Option(
        ["--page"],
        type=flags.PATH,
        help="Render the tables into this file, in Markdown, or with tables that can be sorted where its name"
        " ends in .html: from the runs below --out, or where there are none from the records that come with"
        " the study.",
    ),
    click.Option(
        ["--packed"],
        is_flag=True,
        help="With --page: from the records that come with the study in any case.",
    ),
    click.Option(
        ["--pack"], is_flag=True, help="Put the records of the runs below --out into the study's folder."
    ),
    click.Option(
        ["--unpack"],
        is_flag=True,
        help="Put the records that come with the study below --out, so that they count as done.",
    ),
    click.Option(["--workers"], type=int, help="How many; one for each core by default."),
    click.Option(["--launcher"], default="local", help="Where they run: local, slurm or ray."),
    click.Option(
        ["--launcher-set"],
        multiple=True,
        help="Its options, such as minutes=60 or gpus=1. Repeatable.",
    ),
    click.Option(["--retries"], type=int, default=1, help="How often a run that failed is tried again."),
    click.Option(["--data-root"], help="Folder in which a known data set lies."),
    flags.AS_JSON,
)
