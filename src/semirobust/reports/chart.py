"""A chart as data of a page, in which no text of a record is markup, a template or a script."""

import json
import re
from typing import Any

import plotly.graph_objects as go
from markupsafe import Markup

from semirobust.core.text import unicode_only

__all__ = ["chart_data", "embedded"]

# Where Plotly fills in numbers. All else in these texts stands as it is, so a record can bring no template.
_TEMPLATES = ("hovertemplate", "texttemplate")
_OURS = re.compile(r"%\{(?:[xyz](?::\.\d[fg])?|text)\}|<extra></extra>$")
# Plotly reads tags with style and href, entities, %{...} and, between dollars, LaTeX.
_READ = re.compile(r"[<>&$]|%(?=\{)")


def chart_data(figure: go.Figure) -> Markup:
    """The figure in JSON that can stand inside a ``<script type="application/json">``.

    Every text in it is escaped for Plotly, keys included, whoever put it there: titles, names, categories,
    annotations, data. What is left to be read is a place for a number in a template of ours.
    """
    return embedded(_shown(json.loads(figure.to_json())))


def embedded(content: object) -> Markup:
    """JSON in ASCII without a character that HTML reads."""
    text = json.dumps(content, separators=(",", ":"))
    for character in "<>&'":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _shown(value: Any, *, template: bool = False) -> Any:
    if isinstance(value, str):
        return _with_places(value) if template else _plain(value)
    if isinstance(value, dict):
        return {_plain(key): _shown(each, template=key in _TEMPLATES) for key, each in value.items()}
    return [_shown(each, template=template) for each in value] if isinstance(value, list) else value


def _plain(text: str) -> str:
    return _READ.sub(lambda found: f"&#{ord(found[0])};", unicode_only(text))


def _with_places(text: str) -> str:
    parts, end = [], 0
    for place in _OURS.finditer(text):
        parts += [_plain(text[end : place.start()]), place[0]]
        end = place.end()
    return "".join([*parts, _plain(text[end:])])
