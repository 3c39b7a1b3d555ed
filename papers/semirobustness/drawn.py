"""The part of the page on networks of which every seed draws its own images."""

import itertools

from semirobust.records import Quantity
from semirobust.reports import Seeds, Source, cells, paired, percent, plain, points, table

from .runs import DRAWN

__all__ = ["drawn_part", "margins"]

_PGD = "pgd-20"
_NONE = "asked-none"
_STARTS = {
    "untrained": "untrained",
    "normal": "F",
    "start": "F's suffix behind f*'s prefix: before training",
    "robust": "f*",
}
_ASKED = {
    _NONE: "trained, no term",
    "asked-before-half": "+ on the layer before, weight 0.5",
    "asked-before-5": "+ on the layer before, weight 5",
    "asked-prefix-half": "+ on the prefix, weight 0.5",
    "asked-prefix-5": "+ on the prefix, weight 5",
    "asked-prefix-less": "− on the prefix, weight −5: less is asked for",
}
_LONG = {
    "long-suffix": "the suffix of 12 alone",
    "long-everything": "everything, from the same start",
    "long-from-normal": "everything, from F: no robust prefix",
}
_BITS = {
    ("robust", "1000"): "f*, width 1/8",
    ("normal", "1000"): "F, width 1/8",
    ("untrained", "1000"): "untrained, width 1/8",
    ("wide", "1000"): "untrained, width 1",
    ("wide", "100"): "untrained, width 1",
}
_SHOWN = (18, 15, 11, 7)  # those of the paper's table 1 with a suffix of 12
# Table 1: rho of ResNet-18 and a suffix of 12, in bits, in the order of these layers.
_PAPER = {
    "the paper's ρ, CIFAR-10": ("1000", (3.19, 5.46, 7.41, 7.80)),
    "the paper's ρ, CIFAR-100": ("100", (3.15, 4.54, 4.84, 5.11)),
}


def drawn_part(source: Source) -> dict[str, str] | None:
    """The tables of these networks; None where there are no records of them."""
    source = source.only(network=DRAWN)
    found = {"asked": _asked(source), "bits": _bits(source), "long": _long(source)}
    return found if any(found.values()) else None


def _dependence(source: Source, unit: str, arm: str, on: str) -> Seeds:
    """The mean over the layers of the suffix."""
    return cells(source, Quantity.MEASURE, unit=unit, arm=arm, measure="connectivity", part=on)


def _asked(source: Source) -> str:
    rows = []
    for arm, name in _STARTS.items():
        here = [_dependence(source, "starts", arm, on) for on in ("before", "prefix")]
        clean, pgd = (_accuracy(source, "starts", attack, arm) for attack in ("clean", _PGD))
        if here[0]:
            rows.append(
                (
                    name,
                    len(here[0].values),
                    *(plain(x, 3) for x in here),
                    "",
                    _or_none(clean),
                    _or_none(pgd),
                    "",
                )
            )
    none = _dependence(source, _NONE, "arm", "prefix"), _accuracy(source, _NONE, _PGD)
    for unit, name in _ASKED.items():
        here = [_dependence(source, unit, "arm", on) for on in ("before", "prefix")]
        clean, pgd = (_accuracy(source, unit, attack) for attack in ("clean", _PGD))
        if here[0]:
            more = "" if unit == _NONE else plain(paired(here[1], none[0]), 3)
            gain = "" if unit == _NONE else points(paired(pgd, none[1]))
            row = (name, len(pgd.values), *(plain(x, 3) for x in here), more, percent(clean), percent(pgd))
            rows.append((*row, gain))
    head = (
        "network",
        "seeds",
        "on the layer before",
        "on the prefix",
        "more than without a term",
        "clean",
        _PGD,
        "more than without a term, points",
    )
    return table(head, rows)


def _or_none(found: Seeds) -> str:
    return percent(found) if found else "–"


def _accuracy(source: Source, unit: str, attack: str, arm: str = "arm") -> Seeds:
    return cells(source, Quantity.ACCURACY, unit=unit, arm=arm, attack=attack)


def _bits(source: Source) -> str:
    rows: list[tuple[object, ...]] = []
    for (arm, variant), name in _BITS.items():
        here = source.only(unit="bits", arm=arm, variant=variant)
        cut = []
        for layer in _SHOWN:
            value, null = (
                cells(here, Quantity.MEASURE, part=part, layer=layer) for part in ("bits", "bits permuted")
            )
            cut.append(f"{value.mean:.2f} ({null.mean:.2f})" if value else "")
        if any(cut):
            exact = cells(here, Quantity.MEASURE, part="exact")
            rows.append((name, variant, len(exact.values), *cut, f"{exact.mean:.2f}"))
    if not rows:
        return ""
    rows += [(name, n, "", *(f"{x:.2f}" for x in theirs), "") for name, (n, theirs) in _PAPER.items()]
    head = (
        "network",
        "images a class",
        "seeds",
        *(f"layer {layer}" for layer in _SHOWN),
        "exact, every layer",
    )
    return table(head, rows)


def _long(source: Source) -> str:
    star = _accuracy(source, "precise-starts", _PGD, "robust")
    before = _accuracy(source, "precise-starts", _PGD, "start")
    suffix = _accuracy(source, "long-suffix", _PGD)
    rows = []
    if star and suffix:
        rows = [
            ("f*", len(star.values), percent(star), "", ""),
            ("before", len(before.values), percent(before)),
        ]
        rows[1] = (*rows[1], points(paired(before, star)), "")
    for unit, name in _LONG.items():
        found = _accuracy(source, unit, _PGD)
        if found:
            less = "" if unit == "long-suffix" else points(paired(found, suffix), 2)
            rows.append((name, len(found.values), percent(found), points(paired(found, star), 2), less))
    return table(
        ("what trains, 15 epochs of 4 stored steps", "seeds", _PGD, "less f*", "less the suffix"), rows
    )


def margins(source: Source) -> str:
    """How the margin and the share of a head change from one prefix to the next, in f* and in F."""
    numbers = source.only(measure="semirobustness")
    layers = sorted(numbers.values(Quantity.MEASURE, lambda about: about.layer))
    rows = []
    for one, other in itertools.pairwise(layers):
        row: list[object] = [f"{one} to {other}"]
        for arm in ("robust", "normal"):
            gamma, right = (_change(source, arm, part, one, other) for part in (None, "accuracy"))
            row += [plain(gamma, 3), points(right)]
        rows.append(row)
    return table(("layers", "f*: γ", "f*: head right, points", "F: γ", "F: head right, points"), rows)


def _change(source: Source, arm: str, part: str | None, one: int, other: int) -> Seeds:
    before, after = (
        cells(source, Quantity.MEASURE, measure="semirobustness", arm=arm, part=part, layer=layer)
        for layer in (one, other)
    )
    return paired(after, before)
