"""How hard the prose is to read: ``python -m scripts.readability [ROOT]``, also shown by ``make house``.

Of every page: the median and the longest sentence in words, lines over 110 characters, and semicolons in a
hundred sentences. Code, headings and tables are no prose. A cell of a table counts apart. Code within a
sentence is one word. ``--wrap FILE ...`` breaks the lines of these files anew: one sentence a line, and a
long one at a comma.
"""

import argparse
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

__all__ = ["LONGEST_LINE", "Page", "cells", "long_lines", "pages", "read", "sentences", "wrapped"]

ROOT = Path(__file__).resolve().parents[1]
LONGEST_LINE = 110
_FENCE = re.compile(r"^ *(```|~~~).*?^ *\1 *$", re.S | re.M)
_SHORT = (
    "e.g.",
    "i.e.",
    "et al.",
    "vs.",
    "cf.",
    "Sec.",
    "sec.",
    "Fig.",
    "eq.",
    "approx.",
    "no.",
    "St.",
    "D.",
    "p.",
)
_ITEM = re.compile(r"^( *)([-*+]|\d+\.) +")


@dataclass(frozen=True)
class Page:
    """The numbers of one page, or of several together."""

    name: str
    sentences: tuple[str, ...]
    long_lines: int
    longest_cell: int

    @property
    def lengths(self) -> list[int]:
        """Words of each sentence."""
        return [words(sentence) for sentence in self.sentences] or [0]

    @property
    def semicolons(self) -> float:
        """In a hundred sentences."""
        return 100 * sum(s.count(";") for s in self.sentences) / max(1, len(self.sentences))

    def row(self) -> str:
        """A row of a table in Markdown."""
        return (
            f"| {self.name} | {len(self.sentences)} | {median(self.lengths):.0f} | {max(self.lengths)}"
            f" | {self.long_lines} | {self.semicolons:.0f} | {self.longest_cell} |"
        )


HEAD = (
    "| page | sentences | median words | longest | lines over 110 | semicolons / 100 | longest in a table |\n"
    "|---|---|---|---|---|---|---|"
)


def pages(root: Path = ROOT) -> list[Path]:
    """Every page of prose."""
    found = [*root.glob("*.md"), *root.glob("docs/**/*.md"), *root.glob("papers/**/*.md")]
    return sorted(path for path in found if "node_modules" not in path.parts)


def _without_code(text: str) -> str:
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.S)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    text = re.sub(
        r"^::: .*(?:\n+ {4}.*)*", "", text, flags=re.M
    )  # a docstring, which mkdocstrings puts there
    return _FENCE.sub("", text)


def _plain(text: str) -> str:
    """A text without marks; code is one word, a link its text."""
    text = re.sub(r"`+[^`]*`+", "Code", text)
    text = re.sub(r"!\[([^\]]*)\]\([^)]*\)", "", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"[*_]{1,3}(\S.*?\S|\S)[*_]{1,3}", r"\1", text)


def words(sentence: str) -> int:
    """How many there are; signs alone are none."""
    return sum(bool(re.search(r"\w", word)) for word in sentence.split())


def _paragraphs(text: str) -> Iterator[str]:
    """Paragraphs and items of lists, each on one line."""
    lines: list[str] = []
    for line in [*_without_code(text).splitlines(), ""]:
        begins = bool(_ITEM.match(line))
        apart = not line.strip() or line.startswith("#") or line.lstrip().startswith("|")
        if lines and (begins or apart):
            yield " ".join(lines)
            lines = []
        if not apart:
            lines.append(_ITEM.sub("", line).strip().removeprefix("> "))


def split(text: str) -> list[str]:
    """The sentences of a paragraph, marks and all."""
    found, start = [], 0
    for end in re.finditer(r"[.!?…][\"”’')*_\]]*\s+(?=[\"“‘'(*_\[`]*[A-Z0-9À-ÞΑ-Ωα-ω`ℓ…≥≤−+\-])", text):
        before = text[start : end.end()].rstrip()
        if before.endswith(_SHORT) or re.search(r"\b[A-Z]\.$", before) or before.count("`") % 2:
            continue
        found.append(before)
        start = end.end()
    return [part for part in (*found, text[start:].strip()) if part]


def sentences(text: str) -> list[str]:
    """The sentences of a page."""
    return [s for part in _paragraphs(text) for s in split(_plain(part)) if words(s)]


def cells(text: str) -> list[str]:
    """The sentences in the cells of its tables."""
    rows = [line for line in _without_code(text).splitlines() if line.lstrip().startswith("|")]
    found = [re.split(r"(?<!\\)\|", _plain(row).strip().strip("|")) for row in rows]
    return [s for row in found for cell in row for s in split(cell.strip()) if words(s)]


def long_lines(text: str) -> list[str]:
    """Lines over 110 characters outside of code, tables and pictures; a link that cannot be broken counts."""
    lines = _without_code(text).splitlines()
    return [line for line in lines if len(line) > LONGEST_LINE and not line.lstrip().startswith(("|", "!["))]


def read(path: Path, root: Path = ROOT) -> Page:
    """The numbers of one page."""
    text = path.read_text(encoding="utf-8")
    longest = max(map(words, cells(text)), default=0)
    return Page(path.relative_to(root).as_posix(), tuple(sentences(text)), len(long_lines(text)), longest)


def together(found: list[Page]) -> Page:
    """The numbers of all prose."""
    return Page(
        "**all**",
        tuple(s for page in found for s in page.sentences),
        sum(page.long_lines for page in found),
        max(page.longest_cell for page in found),
    )


def _broken(sentence: str, width: int, indent: str) -> Iterator[str]:
    """A sentence in lines: at a comma or the like where there is one in the second half, else at a space."""
    while len(indent + sentence) > width:
        room = width - len(indent)
        spots = [
            m.end() - 1
            for m in re.finditer(r" ", sentence[: room + 1] + " ")
            if m.start() <= room
            and sentence[: m.start()].count("`") % 2 == 0
            and not _in_link(sentence, m.start())
        ]
        good = [spot for spot in spots if sentence[spot - 1] in ",;:)" and spot > room // 2]
        if not spots:
            break
        spot = (good or spots)[-1]
        yield indent + sentence[:spot].rstrip()
        sentence = sentence[spot:].lstrip()
    yield indent + sentence


def _in_link(text: str, at: int) -> bool:
    return any(m.start() < at < m.end() for m in re.finditer(r"\]\([^)]*\)", text))


def wrapped(text: str) -> str:
    """The page with one sentence a line, long ones broken; code, tables, headings and items stay."""
    done: list[str] = []
    for part in re.split(
        r"(^ *(?:```|~~~).*?^ *(?:```|~~~) *$|^::: .*(?:\n+ {4}.*)*)", text, flags=re.S | re.M
    ):
        if re.match(r" *(```|~~~|::: )", part):
            done.append(part)
            continue
        out: list[str] = []
        block: list[str] = []
        head = ""

        def flush(out: list[str] = out) -> None:
            nonlocal block, head
            indent = " " * len(head)
            lines = [x for s in split(" ".join(block)) for x in _broken(s, LONGEST_LINE, indent)]
            if lines and head:
                lines[0] = head + lines[0][len(head) :]
            out += lines
            block, head = [], ""

        for line in part.split("\n"):
            item = _ITEM.match(line)
            if (
                not line.strip()
                or line.startswith(("#", "<", "!!!"))
                or line.lstrip().startswith(("|", ">", "!["))
            ):
                flush()
                out.append(line)
            elif item:
                flush()
                head = item[0]
                block.append(line[len(head) :].strip())
            else:
                if not block and not head:
                    head = " " * (len(line) - len(line.lstrip()))
                block.append(line.strip())
        flush()
        done.append("\n".join(out))
    return "".join(done)


def main() -> None:
    """Print the table, or wrap files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", nargs="?", type=Path, default=ROOT)
    parser.add_argument("--wrap", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--all", action="store_true", help="a row for each page")
    given = parser.parse_args()
    if given.wrap:
        for path in given.wrap:
            path.write_text(wrapped(path.read_text(encoding="utf-8")), encoding="utf-8")
        return
    found = [read(path, given.root) for path in pages(given.root)]
    print(HEAD)
    for page in (*(found if given.all else ()), together(found)):
        print(page.row())


if __name__ == "__main__":
    main()
