"""What the project says of itself: one version everywhere, notes for it, and a report that can be drawn."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
from scripts.house import File, report
from scripts.notes import notes

ROOT = Path(__file__).resolve().parents[2]


def test_the_version_is_the_same_everywhere():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert re.search(rf"^version: {re.escape(version)}$", (ROOT / "CITATION.cff").read_text(), re.M)
    assert notes(version).startswith("### ")
    with pytest.raises(SystemExit, match="expected a heading"):
        notes("0.0.0")


def test_every_room_is_on_the_page():
    page = (ROOT / "docs/explanation/house.md").read_text()
    rooms = [p.name for p in (ROOT / "src/semirobust").iterdir() if p.is_dir() and p.name != "__pycache__"]
    rooms += [path.parent.name for path in (ROOT / "tests").glob("*/__init__.py")]
    assert not [room for room in rooms if f"| `{room}/` |" not in page]


def test_the_report_of_the_house_counts_as_it_says(tmp_path):
    text = '"""One.\n\nTwo."""\n\n\nclass A:\n    """A\n\n    thing."""\n    x: int = 0\n\n    def f(self, y: int, *, z=1) -> int:\n        return y  # why\n'
    (tmp_path / "a.py").write_text(text)
    file = File.read(tmp_path / "a.py")
    assert (file.docstring_lines(), file.comments(), len(file.functions())) == (3, 1, 1)
    assert file.declared() == {"x"} and {"A", "y"} <= file.names()
    assert isinstance(file.tree, ast.Module)


def test_nothing_is_exempted_and_a_member_is_one_file():
    rows = dict(report(sizes=False))
    assert rows["exempted files"] == rows["quantities named by literals"] == "0"
    assert rows["typed"] == "100 %" and rows["files to add a member: method"] == "1"
    assert rows["files to add a member: measure"] == rows["files to add a training option"] == "1"
