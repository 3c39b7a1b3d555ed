"""Hooks of mkdocs for the site: pages that stand outside of ``docs/`` are part of it, below ``project/``.

Links in the pages are those of the repository, so that both readings work. A link that leads out of ``docs/``
is led to the page of that file or, of a folder, of its README. Any other file of the repository is named, not
linked.
"""

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "papers/README.md")
_LINK = re.compile(r"(!?\[(?:[^\]\[]|\[[^\]]*\])*\])\(([^)\s#]+)(#[^)\s]*)?\)")


def _outside() -> list[str]:
    return [
        *OUTSIDE,
        *(path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("papers/*/README.md"))),
    ]


def on_files(files: Files, config: Any) -> Files:
    """The pages of ``project/`` join the others."""
    for name in _outside():
        files.append(
            File.generated(config, f"project/{name}", content=(ROOT / name).read_text(encoding="utf-8"))
        )
    return files


def _place(uri: str) -> str:
    """Where a page of the site stands in the repository."""
    return uri.removeprefix("project/") if uri.startswith("project/") else f"docs/{uri}"


def _uri(place: str) -> str | None:
    """The page of a file or folder of the repository; ``None`` if it has none."""
    if place.startswith("docs/"):
        return place.removeprefix("docs/")
    if (ROOT / place).is_dir():
        place = f"{place}/README.md"
    return f"project/{place}" if place in _outside() else None


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links of the repository become links of the site."""
    here = page.file.src_uri

    def led(found: re.Match[str]) -> str:
        text, target, anchor = found[1], found[2], found[3] or ""
        if ":" in target:
            return found[0]
        place = os.path.normpath(os.path.join(os.path.dirname(_place(here)), target))  # noqa: PTH118, PTH120
        uri = _uri(place)
        if uri is None:
            return text[1:-1] if (ROOT / place).exists() else found[0]
        return f"{text}({os.path.relpath(uri, os.path.dirname(here) or '.')}{anchor})"  # noqa: PTH120

    fences = re.split(r"(^```.*?^```$)", markdown, flags=re.S | re.M)
    return "".join(part if part.startswith("```") else _LINK.sub(led, part) for part in fences)


def on_post_page(output: str, **_: Any) -> str:
    """Those who do not see the page can tell what the dialogue is for."""
    return output.replace(' role="dialog"', ' role="dialog" aria-label="Search"')
