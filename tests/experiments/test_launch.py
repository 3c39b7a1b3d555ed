"""Many runs by several workers: processes, jobs, tasks of a cluster; failures, and what several share."""

import json
import warnings
from functools import partial
from pathlib import Path

import pytest

from semirobust.core.errors import InputError
from semirobust.experiments.launch import LAUNCHERS
from semirobust.experiments.queue.runner import Failed, reproduce, status

LIGHTER = Path(__file__).resolve().parents[2] / "papers" / "lighter"
_TOY = '''
"""Five runs of no cost: c needs b needs a."""

from functools import partial

from semirobust import InputError
from semirobust.experiments import AbstractStudy, Unit
from semirobust.records import About, Number, Origin, Quantity, Settings

AT = Origin(version="0", config="0", seed="0", device="cpu")


def work(name, home, folder, progress):
    """Notes that it ran; one of them fails until a file says otherwise."""
    with (folder / "ran").open("a") as file:
        file.write("x")
    if name == "b" and not (home / "mended").exists():
        raise RuntimeError("the disk burnt\\nand more")
    if name == "wrong":
        raise InputError("settings: expected others")
    numbers = [Number(quantity=Quantity.OTHER, value=1, about=About(measure="n", arm="x"), origin=AT)]
    return [Settings(stage="toy", settings={}, origin=AT), *numbers]


class Toy(AbstractStudy):
    paper = "none"
    scales = {"cpu": "toy"}

    def units(self, scale, seeds, changes):
        def unit(name, *needs):
            own = tuple(f"net/seed-0/{n}" for n in needs)
            return Unit("net", name, 0, (), f"key-{name}", partial(work, name), own, ())

        extra = [unit("wrong")] if changes.get("wrong") else []
        return [unit("a"), unit("b", "a"), unit("c", "b"), unit("d"), *extra]

    def page(self, source, scale):
        return ""
'''


@pytest.fixture
def toy(tmp_path):
    folder = tmp_path / "toy"
    folder.mkdir()
    (folder / "study.py").write_text(_TOY)
    return folder


def _states(toy, out, **changes):
    return {s.unit.name.rpartition("/")[2]: s.state for s in status(toy, "cpu", out, changes=changes)}


def _ran(out, name):
    return len((out / f"toy-cpu/net/seed-0/{name}/ran").read_text())


def test_what_fails_is_tried_again_and_the_others_go_on(toy, tmp_path):
    with pytest.raises(Failed, match=r"net/seed-0/b: the disk burnt; the runs that do not need it are done"):
        reproduce(toy, "cpu", tmp_path, workers=1, retries=2)
    assert _states(toy, tmp_path) == {"a": "done", "b": "failed", "c": "open", "d": "done"}
    assert _ran(tmp_path, "b") == 3 and _ran(tmp_path, "a") == 1
    assert "RuntimeError" in json.loads((tmp_path / "toy-cpu/net/seed-0/b/failed.json").read_text())["trace"]
    (tmp_path / "toy-cpu/mended").touch()
    reproduce(toy, "cpu", tmp_path, workers=1)
    assert (
        set(_states(toy, tmp_path).values()) == {"done"} and _ran(tmp_path, "a") == 1
    )  # what is done is not done again
    with pytest.raises(Failed, match="expected others"):
        reproduce(toy, "cpu", tmp_path, workers=1, retries=5, changes={"wrong": True})
    assert _ran(tmp_path, "wrong") == 1  # wrong settings stay wrong


def test_workers_take_one_run_each(run, tmp_path):
    """Two processes and real runs: every one is done once, and the table says so."""
    only = "capacity-mnist/seed-0/standard-0,capacity-mnist/seed-0/fgsm-0,capacity-mnist/seed-1/standard-0"
    arguments = ["reproduce", str(LIGHTER), "--out", "runs", "--only", only]
    changes = {
        "data.source": "digits",
        "model.name": "resnet8",
        "data.train": 100,
        "train.epochs": 1,
        "evaluate.examples": 20,
    }
    home = reproduce(
        LIGHTER, "cpu", tmp_path, only=only.split(","), workers=2, changes={**changes, "model.width": 0.25}
    )
    assert len(list((home / "records").iterdir())) == 3
    with pytest.raises(InputError, match="workers"):
        reproduce(LIGHTER, "cpu", tmp_path, workers=0)
    assert "launcher" in run(*arguments, "--launcher", "none", code=2)[1]


def _note(folder, number, progress):
    (Path(folder) / str(number)).touch()
    return [f"worker {number}", "both"]


@pytest.mark.parametrize("name", ["local", "slurm", "ray"])
def test_every_launcher_runs_all_workers_and_brings_back_what_failed(name, tmp_path):
    options = {
        "slurm": {"folder": str(tmp_path / "jobs"), "cluster": "local", "minutes": 2, "every": 0.2}
    }.get(name, {})
    pytest.importorskip({"slurm": "submitit", "ray": "ray"}.get(name, "torch"))
    home = tmp_path / "home"
    home.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own
        found = LAUNCHERS.make(name, options)(partial(_note, str(home)), 2, lambda task, done, total: None)
    assert sorted(p.name for p in home.iterdir()) == ["0", "1"]
    assert sorted(found) == ["both", "worker 0", "worker 1"]
