"""The tutorials run from their sources, and pages and notebooks are made from these."""

import sys

import pytest

nbformat = pytest.importorskip("nbformat", reason="notebooks need the extra `docs`")
pytest.importorskip("nbclient", reason="notebooks need the extra `docs`")

from scripts.tutorials import NOTEBOOKS, ROOT, SOURCES, TUTORIALS, cells, notebook, page, place  # noqa: E402

from semirobust.methods import METHODS  # noqa: E402


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_tutorial_runs_from_its_source(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    METHODS.names()
    monkeypatch.setattr(METHODS, "_members", dict(METHODS._members))  # one of them registers a method
    before = set(sys.modules)
    exec(compile(source.read_text(encoding="utf-8"), source.name, "exec"), {})
    for name in {"ends"} & set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_page_and_notebook_are_made_from_the_source(source, monkeypatch, tmp_path):
    to_page, to_notebook = place(source)
    kept = nbformat.read(to_notebook, 4)
    assert [(cell.cell_type, cell.source) for cell in kept.cells] == [
        (cell.cell_type, cell.source) for cell in notebook(source).cells
    ], f"run `python -m scripts.tutorials {source.stem}`"
    monkeypatch.setattr("scripts.tutorials.TUTORIALS", tmp_path)  # its pictures go there
    monkeypatch.setattr("scripts.tutorials.ROOT", ROOT)
    assert page(source, kept) == to_page.read_text(encoding="utf-8"), "run `python -m scripts.tutorials`"
    for picture in tmp_path.glob("*.png"):
        assert picture.read_bytes() == (TUTORIALS / picture.name).read_bytes()


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_notebook_was_run_shows_a_picture_and_is_small(source):
    _, to_notebook = place(source)
    assert to_notebook.stat().st_size < 300_000
    code = [cell for cell in nbformat.read(to_notebook, 4).cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    outputs = [output for cell in code for output in cell.outputs]
    assert not [
        output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"
    ]
    assert any("image/png" in output.get("data", {}) for output in outputs)


def test_nothing_is_left_of_a_tutorial_that_is_gone():
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == {source.stem for source in SOURCES}
    assert {p.stem for p in TUTORIALS.glob("*.md")} == {"index", *(place(s)[0].stem for s in SOURCES)}
    pages = "".join(path.read_text(encoding="utf-8") for path in TUTORIALS.glob("*.md"))
    assert all(path.name in pages for path in TUTORIALS.glob("*.png"))


def test_a_source_is_read_in_parts():
    text = "# %% [markdown]\n# # Head\n#\n# text\n\n# %% what it shows\nx = 1\n\n# %%\nx\n"
    assert [tuple(part) for part in cells(text)] == [
        (True, "", "# Head\n\ntext"),
        (False, "what it shows", "x = 1"),
        (False, "", "x"),
    ]
