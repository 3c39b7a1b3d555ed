"""A page in Markdown as one HTML file that needs nothing else, whose tables can be sorted."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup, escape

from semirobust.core.ours import GENERATOR
from semirobust.reports.assets import packaged, palette, templates
from semirobust.reports.safety import policy

__all__ = ["as_html"]

_NUMBER = re.compile(r"(<\s*)?([+\-\u2212]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?)")
_WITH_MORE = re.compile(r"([^()&\\*`]*\d[^()&\\*`]*) \(([^()&\\*`]+)\)")
_NONE = ("", "–")


def as_html(text: str) -> str:
    """The page that ``text`` (Markdown, such as a study renders) is.

    A cell sorts by the number that it begins with, one that says less than a number just below that, and one
    without a number as text. A link shows its words alone, since the pages beside it are not there. HTML in
    the text is shown as text.
    """
    page = _Page()
    body = "".join(page.written(MarkdownIt("js-default").parse(text)))
    sheet, script = palette() + packaged("report.css") + packaged("document.css"), packaged("report.js")
    return (
        templates()
        .get_template("document.html.j2")
        .render(
            generator=Markup(GENERATOR),
            policy=policy([script], [sheet]),
            title=page.title or "Page",
            sheet=Markup(sheet),
            script=Markup(script),
            contents=page.contents,
            body=Markup(body),
            sorts=page.tables > 0,
        )
    )


@dataclass
class _Page:
    """What was read of a page so far.

    Attributes:
        title: its first heading, which stands above all.
        contents: addresses and texts of the headings of the second level.
        tables, headings: how many there are.
        said: the last heading, title or sentence before a colon, which names a table.
    """

    title: str = ""
    contents: list[tuple[str, str]] = field(default_factory=list)
    tables: int = 0
    headings: int = 0
    said: str = ""
    _cell: int = 0
    _in_head: bool = False

    def written(self, tokens: Sequence[Token]) -> Iterator[str]:
        """The HTML of these tokens of Markdown, part by part."""
        for number, token in enumerate(tokens):
            after = tokens[number + 1] if number + 1 < len(tokens) else None
            kind = token.type
            if kind == "inline":
                in_cell = tokens[number - 1].type == "td_open" and self._cell > 1
                with_more = _WITH_MORE.fullmatch(token.content) if in_cell else None
                if with_more is not None:  # a number, and its interval below it
                    yield f"{escape(with_more[1])}<small>{escape(with_more[2])}</small>"
                elif not self._is_title(tokens, number):
                    yield _inline(token.children or ())
            elif kind == "heading_open":
                yield self._heading(token, after)
            elif kind == "heading_close":
                yield "" if token.tag == "h1" else f"</{token.tag}>\n"
            elif kind in ("fence", "code_block"):
                yield f'<pre tabindex="0">{escape(token.content)}</pre>\n'
            elif kind == "table_open":
                self.tables += 1
                name = escape(self.said or f"Table {self.tables}")
                yield f'<div class="scroll" role="region" tabindex="0" aria-label="Table: {name}">'
                yield f'<table class="sortable"><caption class="unseen">{name}</caption>\n'
            elif kind == "table_close":
                yield "</table></div>\n"
            elif kind in ("th_open", "td_open"):
                yield self._cell_open(after)
            elif kind in ("th_close", "td_close"):
                yield "</th>" if self._in_head or self._cell == 1 else "</td>"
            elif kind == "tr_open":
                self._cell = 0
                yield "<tr>"
            elif kind == "hr":
                yield "<hr>\n"
            elif token.tag and not token.hidden:
                self._in_head = (self._in_head or kind == "thead_open") and kind != "thead_close"
                yield f"</{token.tag}>\n" if token.nesting < 0 else f"<{token.tag}>"
                if kind == "paragraph_open" and after is not None and _names_a_table(after):
                    self.said = _text(after).removesuffix(":")

    def _is_title(self, tokens: Sequence[Token], number: int) -> bool:
        before = tokens[number - 1] if number else None
        return before is not None and before.type == "heading_open" and before.tag == "h1"

    def _heading(self, token: Token, inside: Token | None) -> str:
        self.said = _text(inside)
        if token.tag == "h1":
            self.title = self.title or self.said
            return ""
        self.headings += 1
        address = f"part-{self.headings}"
        if token.tag == "h2":
            self.contents.append((address, self.said))
        return f'<{token.tag} id="{address}">'

    def _cell_open(self, inside: Token | None) -> str:
        self._cell += 1
        if self._in_head:
            return '<th scope="col">' + ("" if _text(inside) else "name")
        if self._cell == 1:
            return '<th scope="row">'
        value = _sorted_by(_text(inside))
        return "<td>" if value is None else f'<td data-value="{value}">'


def _sorted_by(text: str) -> str | None:
    """The number that a cell begins with, nothing for a cell without any, None for a text."""
    if text.strip() in _NONE:
        return ""
    found = _NUMBER.match(text.strip())
    if found is None:
        return None
    value = float(found[2].replace(",", "").replace("\u2212", "-"))
    return repr(value - abs(value) / 1000 if found[1] else value)


def _inline(tokens: Sequence[Token]) -> str:
    """Text with its emphasis and code; of a link and a picture the words alone."""
    parts = []
    for token in tokens:
        if token.type in ("text", "image", "html_inline"):
            parts.append(str(escape(token.content)))
        elif token.type == "code_inline":
            parts.append(f"<code>{escape(token.content)}</code>")
        elif token.type in ("softbreak", "hardbreak"):
            parts.append("\n")
        elif token.tag and token.tag != "a":
            parts.append(f"</{token.tag}>" if token.nesting < 0 else f"<{token.tag}>")
    return "".join(parts)


def _text(token: Token | None) -> str:
    """The words of a token without markup."""
    parts = (t.content for t in (token.children or ()) if t.content) if token is not None else ()
    return "".join(parts).strip()


def _names_a_table(token: Token) -> bool:
    """Whether it is a paragraph in bold alone, or one that ends in a colon: what stands above a table."""
    kinds = [t.type for t in token.children or () if t.content or t.tag]
    return token.content.endswith(":") or (kinds[:1] == ["strong_open"] and kinds[-1:] == ["strong_close"])
