"""What a command writes never replaces, follows or waits for what it did not make."""

import os
import shutil
import stat
import sys
from pathlib import Path

import pytest

from semirobust.cli.app import main
from semirobust.experiments.run_lock import claimed
from semirobust.reports.page import write_report
from tests.kinds import attempt


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "run"
    assert _main(*_TRAIN, "--out", folder) == 0
    return folder


_TRAIN = ("train", "--data", "digits", "--model", "mlp_300_100_100", "--epochs", "1", "--eps", "0.1")
_TRAIN = (*_TRAIN, "--set", "data.train=60", "--set", "data.test=20", "--set", "train.attack=fgsm")


def _main(*arguments: object) -> int:
    before, sys.argv = sys.argv, ["semirobust", *map(str, arguments)]
    try:
        main()
        return 0
    except SystemExit as ended:
        return int(ended.code or 0)
    finally:
        sys.argv = before


def _kinds(folder: Path) -> dict[str, tuple[int, int]]:
    return {p.name: (os.lstat(p).st_mode, os.lstat(p).st_ino) for p in folder.iterdir()}


def _hard_link(path: Path) -> None:
    path.with_name("other").write_text("mine")
    path.hardlink_to(path.with_name("other"))


def _device(path: Path) -> None:
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("this user may not make devices")


_THINGS = {
    "a file of the user": lambda path: path.write_text("<html>mine</html>"),
    "a private file": lambda path: (path.write_text("x"), path.chmod(0o600)),
    "a link": lambda path: (path.with_name("other").write_text("mine"), path.symlink_to("other")),
    "a dangling link": lambda path: path.symlink_to("nowhere"),
    "a link to a folder": lambda path: (path.with_name("d").mkdir(), path.symlink_to("d")),
    "a hard link": _hard_link,
    "a folder": lambda path: path.mkdir(),
    "a pipe": os.mkfifo,
    "a device": _device,
}


@pytest.mark.parametrize("option", ["--out", "--csv"])
@pytest.mark.parametrize("thing", _THINGS)
@attempt(
    "`report --out` or `--csv` where a user's file, a link, a hard link, a folder, a pipe or a device lies",
    "refused with exit code 2; it stays what it was, with its mode",
    promise="outside",
)
def test_a_report_replaces_nothing_of_others(run, tmp_path, capsys, thing, option) -> None:
    _THINGS[thing](tmp_path / "x.html")
    before = _kinds(tmp_path)
    other = () if option == "--out" else ("--out", tmp_path.parent / f"{tmp_path.name}.html")
    assert _main("report", run, option, tmp_path / "x.html", *other) == 2
    assert "x.html" in capsys.readouterr().err
    assert _kinds(tmp_path) == before
    assert all(p.read_text() in ("mine", "x", "<html>mine</html>") for p in tmp_path.iterdir() if p.is_file())


@pytest.mark.parametrize("place", ["/dev/full", "/dev/null", "/dev/stdout"])
@attempt(
    "`report --out` to a device of the system", "refused in a sentence; the device stays", promise="outside"
)
def test_a_report_goes_to_no_device(run, place) -> None:
    before = os.lstat(place).st_mode
    assert _main("report", run, "--out", place) == 2
    assert os.lstat(place).st_mode == before


@attempt(
    "`report --out` where an older report or an empty file lies, or in a folder that is typed as a link",
    "written; an older report is known by its head",
    promise="outside",
)
def test_a_report_replaces_a_report(run, tmp_path) -> None:
    (tmp_path / "empty.html").touch(mode=0o600)
    (tmp_path / "linked").symlink_to(tmp_path)
    for name in ("x.html", "x.html", "empty.html", "linked/y.html"):
        assert _main("report", run, "--out", tmp_path / name, "--csv", tmp_path / "x.csv") == 0
    assert stat.S_IMODE((tmp_path / "empty.html").stat().st_mode) == 0o600
    assert (tmp_path / "y.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    "name", ["settings.json", "model.safetensors", "records", ".lock", "state.safetensors"]
)
@pytest.mark.parametrize(
    "thing", ["a link", "a dangling link", "a link to a folder", "a hard link", "a pipe", "a device"]
)
@attempt(
    "a run folder in which settings, weights, records, state or the lock are a link, a hard link, a pipe or a device",
    "refused with exit code 2; nothing behind it is written, emptied or waited for",
    promise="outside",
)
def test_a_run_is_written_through_no_link(tmp_path, thing, name) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    _THINGS[thing](folder / name)
    before = _kinds(folder)
    assert _main(*_TRAIN, "--out", folder) == 2
    after = _kinds(folder)
    assert {key: after.get(key) for key in before} == before
    if (folder / "other").exists():
        assert (folder / "other").read_text() == "mine"
    assert (
        not any(p.name not in (".lock",) for p in (folder / "d").iterdir())
        if (folder / "d").exists()
        else True
    )


@pytest.mark.parametrize("name", ["settings.json", "model.safetensors", ".lock"])
@attempt(
    "`train --out` in a folder with settings, weights or a lock of something else",
    "refused before the work; they stay",
    promise="outside",
)
def test_a_run_is_not_made_where_others_keep_theirs(tmp_path, capsys, name) -> None:
    content = '{"editor.tabSize": 4}' + " " * 600
    (tmp_path / name).write_text(content)
    assert _main(*_TRAIN, "--out", tmp_path) == 2
    assert name in capsys.readouterr().err
    assert (tmp_path / name).read_text() == content


@attempt("a run folder of a stranger whose weights or records are links", "not read", promise="outside")
def test_a_run_is_read_through_no_link(run, tmp_path) -> None:
    for name in ("model.safetensors", "records", "settings.json"):
        copy = tmp_path / name / "run"
        shutil.copytree(run, copy)
        (copy / name).rename(tmp_path / name / "moved")
        (copy / name).symlink_to(tmp_path / name / "moved")
        assert (
            _main(
                "report" if name == "records" else "evaluate",
                copy,
                *(() if name == "records" else ("--attacks", "fgsm")),
            )
            == 2
        )


@attempt(
    "a run folder, weights and data that are typed through links",
    "work as if typed without",
    promise="outside",
)
def test_what_is_typed_may_be_a_link(run, tmp_path) -> None:
    (tmp_path / "home").symlink_to(run.parent)
    (tmp_path / "weights.safetensors").symlink_to(run / "model.safetensors")
    typed = tmp_path / "home" / run.name
    few = ("--attacks", "fgsm", "--set", "evaluate.examples=10")
    assert _main("evaluate", typed, *few, "--out", tmp_path / "home" / "evaluated") == 0
    assert (
        _main(
            "evaluate", typed, "--checkpoint", tmp_path / "weights.safetensors", *few, "--out", tmp_path / "e"
        )
        == 0
    )
    assert (run.parent / "evaluated" / "records").is_dir()
    assert _main("report", typed, "--out", tmp_path / "home" / "r.html") == 0
    assert write_report([typed], tmp_path / "home" / "r.html").name == "r.html"


def test_a_lock_that_is_a_link_is_not_emptied(tmp_path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / ".lock").hardlink_to(tmp_path / "mine")
    with pytest.raises(ValueError, match="hard links"), claimed(tmp_path):
        pass
    assert (tmp_path / "mine").read_text() == "mine"
