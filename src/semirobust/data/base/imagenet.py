"""The classes of ImageNet-1k."""

from functools import cache
from importlib.resources import files

__all__ = ["imagenet_classes"]


@cache
def imagenet_classes() -> tuple[tuple[str, ...], ...]:
    """For each of the 1,000 outputs, in the order of its WordNet numbers, that number and its words
    (Russakovsky et al. 2015).
    """
    text = (files("semirobust.data.base") / "imagenet_classes.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    parts = [line.partition(" ") for line in lines]
    return tuple((number, *words.split(", ")) for number, _, words in parts)
