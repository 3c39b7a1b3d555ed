"""Parts of one command by many workers, several methods in one command, and prune and recover by two processes."""

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from semirobust.core.errors import InputError
from semirobust.experiments.commands import methods
from semirobust.experiments.queue import of_commands, parts
from semirobust.experiments.queue.parts import Launch, Part, do_parts
from semirobust.experiments.queue.runner import Failed
from semirobust.experiments.subject import build_subject
from semirobust.records.schema import Number, Topic
from semirobust.records.store import read_records
from tests.experiments.test_commands import _SCRIPT
from tests.programs import finish

ROOT = Path(__file__).resolve().parents[2]
NET = ("--model", "resnet8", "--width", "0.25", "--set", "data.train=64", "--batch-size", "32")
SHORT = ("--attack", "pgd-1", "--epochs", "1", "--batch-size", "32", "--attacks", "pgd-1", "--examples", "12")
QUICK = (*SHORT, "--set", "profile.examples=12", "--set", "evaluate.pictures=0")
ALONE = ("--launcher", "local", "--workers", "1")  # a single worker is this process


@pytest.fixture
def trained(run):
    run("train", "--out", "a", *NET, "--epochs", 1, "--attack", "pgd-1")
    return "a"


def _numbers(folder):
    return {
        (r.quantity, r.about): r.value
        for r in read_records(Path(folder))
        if isinstance(r, Number) and "seconds" not in r.quantity and "ratio" not in r.quantity
    }


def test_methods_and_seeds_by_workers_give_the_numbers_of_one_process(run, trained, monkeypatch):
    sweep = (
        "harden",
        "--from",
        trained,
        "--method",
        "adversarial,selected",
        "--layers",
        "3",
        "--seeds",
        2,
        *QUICK,
    )
    text, err = run(*sweep, "--out", "one")
    assert "adversarial and selected" in text or "better than" in text
    assert "seed 2: selected, epoch 1 of 1" in err
    run(*sweep, "--out", "many", *ALONE)
    assert _numbers("one") == _numbers("many") and len(_numbers("one")) > 30
    verdicts = [r for r in read_records(Path("one")) if r.kind == "finding" and r.topic is Topic.VERDICT]
    assert {(r.about.arm, r.about.other) for r in verdicts} == {
        ("adversarial", "start"), ("selected", "start"), ("adversarial", "selected"),
    }  # fmt: skip
    assert build_subject("one/selected", None, None, None, {}).recipe.plain()["harden"]["options"] == {
        "layers": [3]
    }

    def never(*_, **__):
        raise AssertionError("it was done before")

    monkeypatch.setattr(of_commands, "harden_seed", never)
    run(*sweep, "--out", "many", *ALONE)


def test_options_of_several_methods_go_to_those_that_have_them(run, trained):
    subject = build_subject(trained, None, None, None, {})
    its = methods.by_method(subject, ["adversarial", "clat"], {"k": 2})
    assert its["clat"].recipe.plain()["harden"]["options"] == {"k": 2}
    with pytest.raises(InputError, match="none of adversarial, clat has 'kk'; did you mean 'k'"):
        methods.by_method(subject, ["adversarial", "clat"], {"kk": 2})
    with pytest.raises(InputError, match="each once"):
        methods.by_method(subject, ["clat", "clat"], {})
    _, err = run("harden", "--from", trained, "--method", "adversarial,clta", "--out", "h", code=2)
    assert "did you mean 'clat'?" in err
    _, err = run("harden", "--from", trained, "--out", "h", "--workers", 2, code=2)
    assert "--launcher" in err


def test_arms_of_a_pruning_by_workers_give_the_numbers_of_one_process(run):
    pruning = ("prune", *NET, "--attack", "pgd-1", "--epochs", 1, "--levels", 1, "--controls", "--attacks", "pgd-1",
               "--examples", 12)  # fmt: skip
    run(*pruning, "--out", "one")
    run(*pruning, "--out", "many", *ALONE)
    assert _numbers("one") == _numbers("many")
    assert len(list(Path("many").glob("seed-0/*/part.json"))) == 3


def test_trials_of_a_recovery_by_workers_give_the_numbers_of_one_process(run, trained):
    run("train", "--out", "n", *NET, "--epochs", 1, "--objective", "standard")
    recovery = ("recover", trained, "--normal", "n", *SHORT, "--set", "recover.layers=[2]", "--trials", 2,
                "--dependence", "", "--set", "recover.sharpness_examples=0")  # fmt: skip
    run(*recovery, "--out", "one")
    run(*recovery, "--out", "many", *ALONE)
    assert _numbers("one") == _numbers("many")
    assert len(list(Path("many").glob("parts/*/part.json"))) == 2
    _, err = run(*recovery, "--set", "recover.layers=auto", "--out", "auto", *ALONE, code=2)
    assert "one after the other" in err


def _do(place, progress):
    if Path(place, "broken").exists():
        raise ValueError("broken\nmore")
    with Path(place, "done").open("a") as file:
        file.write("x")


def test_a_part_that_fails_stops_no_other_and_is_done_the_next_time(tmp_path):
    made = [Part(name, tmp_path / name, partial(_do, tmp_path / name), "key") for name in "ab"]
    for part in made:
        part.folder.mkdir()
    (tmp_path / "a" / "broken").touch()
    with pytest.raises(Failed, match="a: ValueError: broken; what is done stays"):
        do_parts(made, Launch(workers=1))
    (tmp_path / "a" / "broken").unlink()
    for _ in range(2):
        do_parts(made, Launch(workers=1))
    assert [(tmp_path / name / "done").read_text() for name in "ab"] == ["x", "x"]
    (tmp_path / "a" / "part.json").write_text("{")
    do_parts([Part("a", made[0].folder, made[0].do, "other settings")], Launch(workers=1))
    assert (tmp_path / "a" / "done").read_text() == "xx"
    with pytest.raises(InputError, match="workers"):
        do_parts(made, Launch(workers=0))


def test_workers_wait_for_a_part_that_another_one_has(tmp_path, monkeypatch):
    part = Part("a", tmp_path / "a", partial(_do, tmp_path / "a"), "key")
    busy = iter([True, True, False])
    take = parts._take

    def taken(*arguments):
        return False if next(busy) else take(*arguments)

    monkeypatch.setattr(parts, "_take", taken)
    monkeypatch.setattr(parts, "_PAUSE", 0)
    do_parts([part], Launch(workers=1))
    assert (tmp_path / "a" / "done").read_text() == "x"


@pytest.mark.xdist_group("processes")
def test_two_processes_prune_and_recover(run, trained, tmp_path):
    """What one process writes, once; the other is silent."""
    both = ("--device", "cpu", "--devices", "2", "--threads", "1", "--json")
    commands = [
        ["prune", "--from", trained, *SHORT, "--levels", "1", "--out", "pruned", *both],
        ["recover", trained, "--normal", trained, *SHORT, "--set", "recover.layers=[2]", "--trials", "1",
         "--dependence", "", "--set", "recover.sharpness_examples=0", "--out", "recovered", *both],
    ]  # fmt: skip
    (tmp_path / "commands.json").write_text(json.dumps(commands))
    (tmp_path / "script.py").write_text(_SCRIPT)
    code, out, errors = finish(tmp_path, "script.py", program=(sys.executable,))
    assert code == 0, errors
    found, end = json.JSONDecoder().raw_decode(out)
    assert [level["left"] for level in found["levels"]] == [1.0, pytest.approx(0.7, abs=0.01)]
    assert json.loads(out[end:])["suffix"]["2"]["trials_converged"]
    for folder in ("pruned", "recovered"):
        assert build_subject(folder, None, None, None, {}).model is not None
        assert _numbers(folder)


def test_the_script_for_slurm_starts_the_command(run, trained, tmp_path):
    """With a stand-in for srun that starts what it is given."""
    place = tmp_path / "bin"
    place.mkdir()
    for name, does in (("srun", 'exec "$@"'), ("semirobust", f'exec "{sys.executable}" -m semirobust "$@"')):
        (place / name).write_text(f"#!/bin/sh\n{does}\n")
        (place / name).chmod(0o755)
    script = ROOT / "examples" / "harden.sbatch"
    environment = os.environ | {"PATH": f"{place}:{os.environ['PATH']}", "START": trained, "OUT": "h"}
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("needs bash")
    call = [bash, str(script), "--method", "adversarial", *QUICK, "--device", "cpu"]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert build_subject("h", None, None, None, {}).model is not None
    del environment["OUT"]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode and "the run folder to write" in done.stderr
