"""Documentation runs and is true."""

import re
from pathlib import Path

import pytest
from scripts import claims

from semirobust.attacks import ATTACKS
from semirobust.experiments.queue.runner import write_page
from tests.docs.tables import HOSTILE, KINDS, LIMITS, PAGE, SETTINGS, render, render_limits, render_settings
from tests.kinds import render_attempts, render_kinds

ROOT = Path(__file__).resolve().parents[2]


def test_method_tables_are_those_of_the_code():
    assert PAGE.read_text() == render(), "run `make docs`"


def test_the_page_of_settings_is_that_of_the_code():
    assert SETTINGS.read_text() == render_settings(), "run `make docs`"


def test_the_page_of_kinds_is_that_of_the_tests():
    assert KINDS.read_text() == render_kinds(), "run `make docs`"


def test_the_page_of_attempts_is_that_of_the_tests():
    assert HOSTILE.read_text() == render_attempts(), "run `make docs`"


def test_the_page_of_limits_is_drawn_from_the_code():
    assert LIMITS.read_text() == render_limits(), "run `make docs`"


@pytest.mark.parametrize(
    "page", sorted((ROOT / "docs/explanation/reproduced").glob("*.md")), ids=lambda f: f.stem
)
def test_reproduced_tables_are_those_of_the_records(page, tmp_path):
    """The pages are rendered, not written."""
    name, _, scale = page.stem.rpartition("-")
    write_page(ROOT / "papers" / name, scale, tmp_path, tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text() == page.read_text()


def test_the_page_of_claims_is_drawn_from_the_records():
    assert claims.PAGE.read_text() == claims.drawn(), "run `python -m scripts.claims`"


def _blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.S)


def _pages() -> list[str]:
    """Every page that somebody wrote."""
    paths = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("**/*.md"))]
    return [path.relative_to(ROOT).as_posix() for path in paths]


# The code in the page of studies is three files, which test_queue writes and runs; tutorials run from their sources.
@pytest.mark.parametrize(
    "page", [p for p in _pages() if _blocks(p) and "studies" not in p and "tutorials" not in p]
)
def test_every_python_example_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ATTACKS.names()
    monkeypatch.setattr(ATTACKS, "_members", dict(ATTACKS._members))  # an example registers one more
    names: dict[str, object] = {}
    for block in _blocks(page):
        exec(compile(block, page, "exec"), names)


def test_every_command_in_the_pages_exists():
    from semirobust.cli.app import COMMANDS

    known = set(COMMANDS)
    for page in _pages():
        used = set(re.findall(r"^\s*semirobust (\w+)", (ROOT / page).read_text(), re.M))
        assert used <= known, used - known


def test_links_lead_somewhere():
    others = (
        "CHANGELOG.md",
        "SECURITY.md",
        *(f"papers/{name}README.md" for name in ("", "clat/", "lighter/")),
    )
    for page in (*_pages(), *others):
        for target in re.findall(r"\]\((?!http)([^)#]+)", (ROOT / page).read_text()):
            assert ((ROOT / page).parent / target).exists(), (page, target)


def test_the_readme_is_short_and_shows_a_report():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 120
    picture = ROOT / "docs/images/report.png"
    assert picture.relative_to(ROOT).as_posix() in text and picture.stat().st_size < 200_000
