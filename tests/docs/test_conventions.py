"""The table of conventions: each that is here names a test that shows it."""

import ast
import re

import pytest

from tests.docs.reference import ROOT

_PAGE = (ROOT / "docs/how-to/coming-from/conventions.md").read_text(encoding="utf-8")
_ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in _PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| convention")
]


@pytest.mark.parametrize("row", _ROWS, ids=lambda row: row[0])
def test_what_is_here_is_shown_by_a_test(row):
    _, whose, here, how, shown = row
    assert whose and how and here in ("yes", "no")
    if here == "yes" or shown:
        path, _, name = shown.strip("`").partition("::")
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_library_is_looked_at():
    for name in (
        "torchattacks",
        "Foolbox",
        "RobustBench",
        "ART",
        "captum",
        "MAIR",
        "Torch-Pruning",
        "Lightning",
    ):
        assert re.search(rf"{name}[^|]*\| (yes|no) \|", _PAGE), name
