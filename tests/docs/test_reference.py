"""The reference is that of the code, and has everything."""

import inspect
import re

import pytest

import semirobust
from semirobust.cli import known
from semirobust.cli.app import COMMANDS
from semirobust.core.docstrings import _entries
from tests.docs.known import render_known
from tests.docs.reference import ROOT, drawn, homes, returned

PAGES = drawn()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_drawn_page_is_that_of_the_code(path):
    assert path.read_text() == PAGES[path], "run `make docs`"


def test_every_public_name_is_on_a_page():
    text = "\n".join(PAGES.values())
    assert homes().keys() == set(semirobust.__all__)
    assert not [name for name, module in homes().items() if f"::: {module}.{name}\n" not in text]


@pytest.mark.parametrize("name", sorted(semirobust.__all__))
def test_a_public_name_says_what_it_takes(name):
    """Each argument is described in its own docstring; a function says what it raises or gives."""
    value = getattr(semirobust, name)
    said = inspect.getdoc(value) or ""
    assert said, name
    if not callable(value):
        return
    assert not [p for p in inspect.signature(value).parameters if p not in _entries(said)]


def test_every_result_is_on_a_page():
    text = "\n".join(PAGES.values())
    for name in semirobust.__all__:
        for cls in returned(getattr(semirobust, name)):
            assert f"::: {cls.__module__}.{cls.__name__}\n" in text


def test_every_page_of_the_reference_is_listed():
    listed = (ROOT / "docs/reference/index.md").read_text()
    pages = {
        path.relative_to(ROOT / "docs/reference").as_posix()
        for path in (ROOT / "docs/reference").rglob("*.md")
    }
    assert pages - {"index.md"} == set(re.findall(r"\]\(((?:api/)?\w+\.md)\)", listed))


def test_the_table_of_names_is_in_step():
    assert known.TABLE.read_text() == render_known(), "draw it again: python -m tests.docs.tables"
    assert known.known().in_step()
    assert set(known.known().plain["commands"]) == set(COMMANDS)
