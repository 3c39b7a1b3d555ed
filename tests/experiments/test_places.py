"""Where a command stands, reads and writes, and what it prints."""

import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from semirobust.core.files import is_unfinished
from tests.kinds import attempt, kind
from tests.programs import finish

_FEW = ["--attacks", "fgsm", "--set", "evaluate.checks=0", "--image-size", "8", "--threads", "1"]


@pytest.fixture
def pictures(run):
    """A folder of two classes, and a network that prints while it is made."""
    for label, grey in (("cats", 40), ("dogs", 200)):
        for number in range(6):
            place = Path("pets", label)
            place.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), grey + number).save(place / f"{number}.png")
    Path("talking.py").write_text(
        "from torch import nn\n\ndef made():\n    print('made for you')\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(192, 2))\n"
    )
    return ["evaluate", "--model", "talking:made", "--data", "pets", *_FEW]


@kind("a network whose code prints", "JSON stays JSON: what it prints goes to standard error", about="runs")
def test_json_is_all_that_is_printed(run, pictures):
    out, errors = run(*pictures, "--json")
    assert json.loads(out)["notes"] and "made for you" in errors
    assert "made for you" in run(*pictures)[0]


@kind(
    "`--out` among the classes of a folder of pictures, or empty as an unset variable is",
    "refused before anything is written",
    about="runs",
)
def test_a_run_is_not_written_among_the_pictures(run, pictures):
    before = sorted(Path().rglob("*"))
    for out in ("pets", "pets/runs/a"):
        assert "choose another folder" in run(*pictures, "--out", out, code=2)[1]
    assert "--out: expected the name" in run(*pictures, "--out", "", code=2)[1]
    new = {path.name for path in set(Path().rglob("*")) - set(before)}
    assert new <= {"__pycache__"} | {name for name in new if name.endswith(".pyc")}
    run(*pictures, "--out", "runs/a")
    assert Path("runs/a/records").is_dir()


@attempt(
    "`--out` that names a folder of others, in which some program is just writing a file",
    "only folders that a run has written to are swept, three levels deep",
    promise="outside",
)
def test_files_that_others_are_writing_stay(run, pictures):
    others = Path("work/deep/.page.html.abcd.semirobust-part")
    assert is_unfinished(others.name)
    others.parent.mkdir(parents=True)
    others.write_text("half")
    run(*pictures, "--out", "work")
    assert others.read_text() == "half"
    left = Path("work/records/.a.jsonl.abcd.semirobust-part")  # as of a run that was killed
    left.write_text("half")
    run(*pictures, "--out", "work")
    assert not left.exists()


def test_classes_of_test_images_without_pictures(run, pictures):
    Path("split").mkdir()
    Path("pets").rename("split/train")
    for label in ("cats", "dogs"):
        Path("split/test", label).mkdir(parents=True)
    asked = [word if word != "pets" else "split" for word in pictures]
    assert "found none" in run(*asked, code=2)[1]


def test_so_many_threads_are_refused(run, pictures):
    assert "threads: expected at most" in run(*pictures[:-2], "--threads", "100000", code=2)[1]


@kind("a current folder that was deleted", "one sentence and code 2", about="runs")
def test_a_folder_that_is_gone(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    program = (
        sys.executable,
        "-c",
        f"import os; os.rmdir({str(gone)!r})\nfrom semirobust.cli.app import main\nmain()",
    )
    code, _, errors = finish(gone, "list", "attacks", program=program)
    assert code == 2 and "has been deleted" in errors and "Traceback" not in errors
