"""Figures as small files: positions to a hundredth of a point, styles as classes, no empty groups."""

import io
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["save_figure", "smaller"]

_SVG, _LINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_NUMBER = re.compile(r"(?<![\w#.])-?\d+\.\d{3,}(?![\w.])")
_FONTS = re.compile(r"font-family: 'DejaVu Sans'[^;]*")
_TURN = re.compile(r"^rotate\(-?0 [^)]*\)$")  # by no degrees


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure of matplotlib as SVG; equal figures are equal files."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    path.write_text(smaller(text.getvalue()))


def smaller(svg: str) -> str:
    """The same picture in fewer bytes."""
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _LINK)
    root = ElementTree.fromstring(svg)
    for part in root.findall(f"{{{_SVG}}}metadata"):
        root.remove(part)
    used = set(re.findall(r"#([\w-]+)", svg))
    classes: dict[str, str] = {}
    for element in root.iter():
        _shorten(element, used, classes)
    _flatten(root)
    rules = "".join(f".{name}{{{style}}}" for style, name in classes.items())
    sheet = next(root.iter(f"{{{_SVG}}}style"))
    sheet.text = (sheet.text or "") + rules
    return ElementTree.tostring(root, encoding="unicode").replace("><", ">\n<") + "\n"


def _shorten(element: ElementTree.Element, used: set[str], classes: dict[str, str]) -> None:
    """Attributes that nobody sees go, positions are rounded, a style becomes a class."""
    if element.get("id") not in used:
        element.attrib.pop("id", None)
    if _TURN.match(element.get("transform", "")):
        del element.attrib["transform"]
    style = element.attrib.pop("style", "")
    for name, value in element.attrib.items():
        element.set(name, _NUMBER.sub(_rounded, " ".join(value.split())))
    if style:
        style = _FONTS.sub("font-family: 'DejaVu Sans', sans-serif", style)
        element.set("class", classes.setdefault(style, f"s{len(classes)}"))
    if element.text and not element.text.strip():
        element.text = None
    element.tail = None


def _rounded(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")


def _flatten(element: ElementTree.Element) -> None:
    """Groups that say nothing give way to what is in them."""
    element[:] = list(_without_groups(element))


def _without_groups(element: ElementTree.Element) -> Iterator[ElementTree.Element]:
    for child in element:
        _flatten(child)
        if child.tag == f"{{{_SVG}}}g" and not child.attrib:
            yield from child
        else:
            yield child
