"""A figure as an SVG that stands in a page: no script, no style of its own, colours that the page"
" replaces."""

import io
import re
import xml.etree.ElementTree as ElementTree
from html import escape
from typing import TYPE_CHECKING

from markupsafe import Markup

from semirobust.figures.style import PALETTE, drawing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["inline_svg"]

_VARIABLES = {colour: f"var(--{name})" for name, colour in PALETTE.items()}
# What of Matplotlib's styles a page needs: the font is the page's own.
_KEPT = (
    "clip-path",
    "fill",
    "fill-opacity",
    "font-size",
    "font-weight",
    "image-rendering",
    "opacity",
    "stroke",
    "stroke-dasharray",
    "stroke-dashoffset",
    "stroke-linejoin",
    "stroke-linecap",
    "stroke-opacity",
    "stroke-width",
    "text-anchor",
)
_PLACES = ("d", "x", "y", "width", "height", "points", "viewBox", "transform")
_DROPPED = ("metadata", "style")
_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_ADDRESS = re.compile(r"url\(#([\w-]+)\)")
_NOWHERE = re.compile(r"rotate\(-?0(?:\.0)?(?: [-\d.]+){0,2}\)")


def inline_svg(figure: "Figure", name: str, *, title: str, description: str, kind: str) -> Markup:
    """The figure as ``<svg>`` for the body of a page.

    Texts come through as texts, whatever they hold; the same figure gives the same bytes.

    Args:
        figure: of :mod:`semirobust.figures`.
        name: in the ids within, so that two charts of a page have none in common.
        title, description: for readers who do not see it.
        kind: class of the element.
    """
    written = io.BytesIO()
    with drawing():
        figure.savefig(written, format="svg", metadata={"Date": None})
    root = ElementTree.fromstring(written.getvalue())
    ids = {
        found
        for element in root.iter()
        for key, value in element.attrib.items()
        for found in _links(key, value)
    }
    parts = [
        f'<title id="{name}-title">{escape(title)}</title>',
        f'<desc id="{name}-desc">{escape(description)}</desc>',
        *(_written(child, name, ids) for child in root),
    ]
    box = _short(root.get("viewBox", ""))
    return Markup(
        f'<svg class="{kind}" viewBox="{box}" role="img" aria-labelledby="{name}-title"'
        f' aria-describedby="{name}-desc">{"".join(parts)}</svg>'
    )


def _links(key: str, value: str) -> list[str]:
    """The ids that an attribute names; a colour looks like one."""
    return _ADDRESS.findall(f"url({value})" if _local(key) == "href" else value)


def _written(element: ElementTree.Element, name: str, ids: set[str]) -> str:
    tag = _local(element.tag)
    if tag in _DROPPED:
        return ""
    inside = "".join(_written(child, name, ids) + escape((child.tail or "").strip()) for child in element)
    text = escape((element.text or "").strip())
    attributes = _attributes(element, name, ids)
    if tag in ("g", "defs") and not inside:
        return ""
    if tag == "g" and not attributes:
        return inside
    said = "".join(f' {key}="{escape(value)}"' for key, value in attributes.items())
    return f"<{tag}{said}>{text}{inside}</{tag}>"


def _attributes(element: ElementTree.Element, name: str, ids: set[str]) -> dict[str, str]:
    found = dict[str, str]()
    for key, value in element.attrib.items():
        key = _local(key)
        if key == "style":
            found |= _styles(value)
        elif key == "id":
            found |= {"id": value} if value in ids else {}
        elif key != "version":
            found[key] = _short(value) if key in _PLACES else value
    if _NOWHERE.fullmatch(found.get("transform", "")):
        del found["transform"]
    for key, value in found.items():
        if key == "id":
            found[key] = f"{name}-{value}"
        elif _links(key, value):
            found[key] = value.replace("#", f"#{name}-")
    return found


def _styles(text: str) -> dict[str, str]:
    """A style as attributes, which no policy of a page forbids."""
    found = dict[str, str]()
    for part in text.split(";"):
        key, _, value = part.strip().partition(":")
        value = value.strip()
        if key == "font":  # weight and size in one
            size = re.search(r"([\d.]+)px", value)
            weight = re.match(r"(bold|\d{3})\b", value)
            found |= {"font-size": size[1]} if size else {}
            found |= {"font-weight": weight[1]} if weight else {}
        elif key in _KEPT and value != "inherit":
            found[key] = _VARIABLES.get(value, value)
    return found


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _short(text: str) -> str:
    """With two places behind the point, which is less than what an eye sees."""
    return " ".join(_NUMBER.sub(lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), text).split())
