"""A study is a folder, by anybody: found by path, by name, or installed; run, rendered, packed."""

import importlib.metadata
import json
import lzma
import re
import subprocess
import sys
from pathlib import Path

import pytest

from semirobust.core.errors import InputError
from semirobust.experiments.queue import find
from semirobust.experiments.queue.archive import pack_runs, read_packed, unpack_runs
from semirobust.experiments.queue.find import find_study, study_names
from semirobust.experiments.queue.runner import reproduce, status, study_source, write_page
from semirobust.records.store import read_records

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "studies.md"


@pytest.fixture
def tiny(tmp_path):
    """The folder of the study in the documentation."""
    folder = tmp_path / "lab" / "papers" / "tiny"
    folder.mkdir(parents=True)
    for content, name in re.findall(r"```\w+\n((?:# |\{# )(\S+\.\w+):.*?)```", PAGE.read_text(), re.S):
        (folder / name).write_text(content)
    return folder


def test_the_study_of_the_documentation_is_listed_run_by_workers_and_rendered(
    tiny, run, tmp_path, monkeypatch
):
    listed = json.loads(run("reproduce", tiny, "--list", "--json", "--out", tmp_path / "runs")[0])
    assert {unit["state"] for unit in listed["units"]} == {"open"} and len(listed["units"]) == 4
    monkeypatch.chdir(tiny.parents[1])
    assert study_names() == ["tiny"] and find_study("tiny").reference == str(tiny)
    home = reproduce("tiny", "cpu", tmp_path / "runs", workers=2)
    assert home == tmp_path / "runs/tiny-cpu"
    assert {entry.state for entry in status("tiny", "cpu", tmp_path / "runs")} == {"done"}
    said, _ = run("reproduce", tiny, "--out", tmp_path / "runs", "--page", "page.md")
    page = Path("page.md").read_text()
    assert "from the runs in" in said and "| width |" in page and page.count("\n| ") == 4
    other = subprocess.run(  # another process, from elsewhere, by the same path
        [sys.executable, "-m", "semirobust", "reproduce", str(tiny), "--out", str(tmp_path / "runs"), "--list"],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert "4 of 4 runs are done" in other.stdout + other.stderr


def test_runs_are_packed_into_one_file_and_unpacked_again(tiny, run, tmp_path):
    study = find_study(tiny)
    reproduce(tiny, "cpu", tmp_path / "runs", workers=1)
    write_page(tiny, "cpu", tmp_path / "runs", tmp_path / "runs.md")
    file = pack_runs(study, "cpu", tmp_path / "runs")
    assert file == tiny / "records.jsonl.xz"
    first = file.read_bytes()
    run("reproduce", tiny, "--out", tmp_path / "runs", "--pack")
    assert file.read_bytes() == first  # the same runs give the same bytes
    said, _ = run("reproduce", tiny, "--out", tmp_path / "none", "--page", tmp_path / "packed.md")
    assert "that come with the study" in said
    assert (tmp_path / "packed.md").read_text() == (tmp_path / "runs.md").read_text()
    assert study_source(tiny, "cpu").numbers == study_source(tiny, "cpu", tmp_path / "runs").numbers
    home = unpack_runs(study, "cpu", tmp_path / "again")
    files = sorted(path.name for path in (tmp_path / "runs/tiny-cpu/records").iterdir())
    assert sorted(path.name for path in (home / "records").iterdir()) == files
    assert {entry.state for entry in status(tiny, "cpu", tmp_path / "again")} == {"done"}
    assert [run.unit for run in read_packed(study)] == [u.name for u in study.study.units("cpu", None, {})]
    with pytest.raises(InputError, match="found none"):
        unpack_runs(study, "paper", tmp_path / "again")
    with pytest.raises(InputError, match="found none"):
        pack_runs(study, "cpu", tmp_path / "none")


def test_a_study_that_is_installed_is_known_by_its_name(tiny, monkeypatch):
    point = importlib.metadata.EntryPoint("installed", "somewhere.study:Tiny", find._GROUP)
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda group: [point] if group == find._GROUP else []
    )
    monkeypatch.setattr(type(point), "load", lambda self: type(find_study(tiny).study))
    found = find_study("installed")
    assert found.reference == found.name == "installed" and found.study.folder == tiny
    assert "installed" in study_names()


def test_what_is_no_study_is_said_in_one_sentence(run, tmp_path, monkeypatch):
    assert (
        "expected the path of a folder with study.py; got 'nothing'" in run("reproduce", "nothing", code=2)[1]
    )
    folder = tmp_path / "papers" / "other"
    folder.mkdir(parents=True)
    (folder / "study.py").write_text("")
    monkeypatch.chdir(tmp_path)
    said = run("reproduce", "nothing", code=2)[1]
    assert "study: expected one of other, or the path of a folder with study.py; got 'nothing'" in said
    assert "expected one subclass of AbstractStudy" in run("reproduce", "other", code=2)[1]
    (folder / "records.jsonl.xz").write_bytes(b"no xz")
    with pytest.raises(InputError, match="cannot be read"):
        read_records(folder / "records.jsonl.xz")
    (folder / "records.jsonl.xz").write_bytes(lzma.compress(bytes(1 << 27)))
    with pytest.raises(InputError, match="would unpack"):
        read_records(folder / "records.jsonl.xz")
