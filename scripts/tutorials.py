"""The tutorials: from each source in ``docs/tutorials`` its page and its executed notebook.

A source is a Python file whose parts begin with ``# %%``, as editors and Jupytext know it, followed by what
its picture shows. Parts that begin with ``# %% [markdown]`` are text. ``python -m scripts.tutorials`` runs
them all, or those that are named. It writes ``examples/NAME.ipynb`` with what came out, and from that
``docs/tutorials/NAME.md`` with its pictures.
"""

import base64
import html
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

__all__ = ["NOTEBOOKS", "SOURCES", "TUTORIALS", "cells", "notebook", "page", "place"]

ROOT = Path(__file__).resolve().parents[1]
TUTORIALS = ROOT / "docs" / "tutorials"
NOTEBOOKS = ROOT / "examples"
SOURCES = sorted(TUTORIALS.glob("*.py"))
_LINK = re.compile(r"\]\((?!https?:|#)([^)\s]+)\)")


class Part(NamedTuple):
    """A part of a source."""

    is_text: bool
    title: str  # what its picture shows
    body: str


def cells(source: str) -> Iterator[Part]:
    """The parts of a source, in order."""
    for part in re.split(r"^# %%", source, flags=re.M)[1:]:
        head, _, body = part.partition("\n")
        is_text = head.strip() == "[markdown]"
        body = re.sub(r"^# ?", "", body, flags=re.M) if is_text else body
        yield Part(is_text, "" if is_text else head.strip(), body.strip())


def place(source: Path) -> tuple[Path, Path]:
    """Where the page and the notebook of a source stand."""
    return TUTORIALS / f"{source.stem.replace('_', '-')}.md", NOTEBOOKS / f"{source.stem}.ipynb"


def _link_from(folder: Path, text: str) -> str:
    """The text with links that hold in another folder."""

    def led(found: re.Match[str]) -> str:
        path, _, anchor = found[1].partition("#")
        moved = os.path.relpath((TUTORIALS / path).resolve(), folder)
        return f"]({moved}{'#' + anchor if anchor else ''})"

    return _LINK.sub(led, text)


def notebook(source: Path) -> Any:
    """The notebook of a source, not yet run."""
    made = [
        new_markdown_cell(_link_from(NOTEBOOKS, part.body), id=f"part-{number}")
        if part.is_text
        else new_code_cell(part.body, id=f"part-{number}")
        for number, part in enumerate(cells(source.read_text(encoding="utf-8")))
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return new_notebook(cells=made, metadata=kernel)


def _table(shown: str) -> str:
    """The table of a result that a notebook shows in HTML, in Markdown."""
    rows = re.findall(r"<tr>(.*?)</tr>", shown, re.S)
    lines = [
        [html.unescape(cell).replace("|", "\\|") for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)]
        for row in rows
    ]
    head, *body = ["| " + " | ".join(cells) + " |" for cells in lines]
    return "\n".join([head, "|---" * len(lines[0]) + "|", *body])


def _outputs(cell: Any, title: str, picture: str) -> Iterator[str]:
    """What came out of a cell, in Markdown; its picture is written."""
    if printed := "".join(output.text for output in cell.outputs if output.output_type == "stream").rstrip():
        yield f"```text\n{printed}\n```"
    for output in cell.outputs:
        data = output.get("data", {})
        if "image/png" in data:
            (TUTORIALS / f"{picture}.png").write_bytes(base64.b64decode(data["image/png"]))
            yield f"![{title}]({picture}.png)"
        elif "text/html" in data:
            yield _table(data["text/html"])
        elif "text/plain" in data:
            yield f"```text\n{data['text/plain']}\n```"


def page(source: Path, executed: Any) -> str:
    """The page of a source, with the outputs of its executed notebook."""
    parts = []
    made = zip(cells(source.read_text(encoding="utf-8")), executed.cells, strict=True)
    for number, (part, cell) in enumerate(made):
        if part.is_text:
            parts.append(part.body)
            continue
        picture = f"{source.stem.replace('_', '-')}-{number}"
        parts += [f"```python\n{part.body}\n```", *_outputs(cell, part.title, picture)]
    note = (
        f"This page is drawn from [a notebook that was run](../../examples/{source.stem}.ipynb).\n"
        "Your numbers may differ in the last digits: other processors round in another way."
    )
    first, *rest = parts[0].split("\n\n## ", 1)
    return "\n\n".join([first, note, *(f"## {part}" for part in rest), *parts[1:]]) + "\n"


def main() -> None:
    """Run the tutorials that are named, or all."""
    for source in SOURCES:
        if sys.argv[1:] and source.stem not in sys.argv[1:]:
            continue
        made = notebook(source)
        with tempfile.TemporaryDirectory() as folder:
            NotebookClient(made, timeout=1200, resources={"metadata": {"path": folder}}).execute()
        for cell in made.cells:
            cell.metadata.pop("execution", None)
        to_page, to_notebook = place(source)
        nbformat.write(made, to_notebook)
        to_page.write_text(page(source, made), encoding="utf-8")
        print(f"{to_notebook.relative_to(ROOT)}: {to_notebook.stat().st_size // 1024} kB")


if __name__ == "__main__":
    main()
