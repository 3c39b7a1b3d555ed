"""Which criterion chooses the layers whose tuning gains most, and which criteria agree."""

import math
from collections.abc import Mapping

import numpy as np
from markupsafe import Markup
from scipy.stats import spearmanr

from semirobust.records import Number, Quantity
from semirobust.reports import Seeds, Source, paired, plain, points, table

__all__ = ["agreement", "choices", "index_name", "layer_gains"]

_SCALES = {"paper": "1/N", "rms": "1/√N", "relative": "relative"}
# Measure and its part -> words.
_OTHERS: dict[tuple[str | None, str | None], str] = {
    ("weight-criticality", None): "RiFT's weight criticality, lowest first",
    ("gradient-norm", None): "gradient norm",
    ("connectivity", None): "connectivity",
    ("connectivity", "excess"): "connectivity, excess over its null",
    ("semirobustness", "drop"): "drop of semirobust accuracy",
}
_COMPARED = (
    "distance, 1/N, input",
    "distance, 1/√N, input",
    "distance, relative, input",
    "distance, 1/N, conv",
    "curvature, 1/N, input",
    *list(_OTHERS.values())[:2],
    *list(_OTHERS.values())[3:],
)
Scores = dict[str, dict[tuple[str, int], dict[int, float]]]
"""Criterion -> network and seed -> layer -> score, the higher the sooner it is chosen."""


def index_name(form: str | None, scale: str | None, place: str | None, first: str | None = None) -> str:
    """``distance, 1/N, input``; of the curvature form 1/√N is the same as 1/N, and left out: ``""``."""
    if (form, scale) == ("curvature", "rms"):
        return ""
    return f"{form}, {_SCALES[scale or '']}, {place}" + (", C₁ over W(x)" if first == "input" else "")


def _gains(source: Source, unit: str, attack: str) -> dict[tuple[str, int], dict[int, float]]:
    """Network and seed -> layer -> gain under attack, over the start, of a method with that layer alone."""
    starts = source.of(Quantity.ACCURACY, attack=attack, arm="start", unit="start")
    start = {_place(n): n.value for n in starts}
    found: dict[tuple[str, int], dict[int, float]] = {}
    for n in source.of(Quantity.ACCURACY, attack=attack, unit=unit):
        if n.about.tuned_layer is not None and _place(n) in start:
            found.setdefault(_place(n), {})[n.about.tuned_layer] = n.value - start[_place(n)]
    return found


def _place(n: Number) -> tuple[str, int]:
    return n.about.network or "", n.about.seed or 0


def _scores(source: Source) -> Scores:
    found: Scores = {}
    for n in source.of(Quantity.MEASURE):
        about = n.about
        if about.unit not in ("index", "criteria"):
            continue
        if about.measure == "criticality":
            name = index_name(about.form, about.scale, about.place)
        else:
            name = _OTHERS.get((about.measure, about.part), "")
        if name:
            sign = -1 if about.measure == "weight-criticality" else 1
            found.setdefault(name, {}).setdefault(_place(n), {})[about.layer or 0] = sign * n.value
    return {
        name: {place: _inner(values) for place, values in places.items()} for name, places in found.items()
    }


def _inner(values: dict[int, float]) -> dict[int, float]:
    """All but the classifier, which is never chosen."""
    last = max(values)
    return {layer: value for layer, value in values.items() if layer != last}


def layer_gains(source: Source, attack: str, units: Mapping[str, str], names: Mapping[str, str]) -> str:
    """Gain over the start with each layer alone, by network and method; ``units`` names the methods,
    ``names`` the networks.
    """
    columns, layers = dict[str, dict[int, Seeds]](), set[int]()
    for unit, title in units.items():
        found = _gains(source, unit, attack)
        for network in dict.fromkeys(network for network, _ in found):
            own = {seed: values for (name, seed), values in found.items() if name == network}
            inside = sorted(set.intersection(*(set(values) for values in own.values())))
            layers |= set(inside)
            columns[f"{names.get(network, network)}; {title} of the layer"] = {
                i: Seeds({s: values[i] for s, values in own.items()}) for i in inside
            }
    rows = [
        [layer, *(points(column[layer]) if layer in column else "" for column in columns.values())]
        for layer in sorted(layers)
    ]
    return table(("layer", *columns), rows)


def choices(source: Source, attack: str, unit: str, names: Mapping[str, str]) -> Markup:
    """How well each criterion orders the layers by what tuning them alone gains, network by network."""
    gains, scores = _gains(source, unit, attack), _scores(source)
    parts = []
    for network in dict.fromkeys(network for network, _ in gains):
        own = {seed: _inner(values) for (name, seed), values in gains.items() if name == network}
        rows: list[tuple[Seeds, tuple[str, ...]]] = []
        for name, places in scores.items():
            here = {seed: places[network, seed] for seed in own if (network, seed) in places}
            if here:
                ranks = _defined({seed: _spearman(values, own[seed]) for seed, values in here.items()})
                rows.append((ranks, (name, plain(ranks), *_first_choice(here, own))))
        rows.sort(key=lambda row: -row[0].mean if row[0] else math.inf)
        best = Seeds({seed: max(values.values()) for seed, values in own.items()})
        mean = Seeds({seed: sum(values.values()) / len(values) for seed, values in own.items()})
        head = (
            "criterion",
            "rank correlation with the gain",
            "first choice",
            "its gain",
            "less a random layer's",
        )
        ends = [
            ("the best layer in hindsight", "", _firsts(own), points(best), points(paired(best, mean))),
            ("a random layer", "0", "", points(mean), ""),
            ("the gains of another seed", plain(_repeated(own)), "", "", ""),
        ]
        title = names.get(network, network)
        parts.append(table(head, [*(row for _, row in rows), *ends], title=title))
    return Markup("\n").join(parts)


def _first_choice(
    scores: Mapping[int, dict[int, float]], gains: Mapping[int, dict[int, float]]
) -> tuple[str, ...]:
    gained = Seeds({seed: gains[seed][_first(values)] for seed, values in scores.items()})
    mean = Seeds({seed: sum(values.values()) / len(values) for seed, values in gains.items()})
    return _firsts(scores), points(gained), points(paired(gained, mean))


def _spearman(one: Mapping[int, float], other: Mapping[int, float]) -> float | None:
    """The rank correlation over the layers of both; None where one of them does not vary, so has no order."""
    layers = sorted(one.keys() & other.keys())
    a, b = [one[i] for i in layers], [other[i] for i in layers]
    return float(spearmanr(a, b).statistic) if len(set(a)) > 1 and len(set(b)) > 1 else None


def _defined(found: Mapping[int, float | None]) -> Seeds:
    return Seeds({seed: value for seed, value in found.items() if value is not None})


def _repeated(gains: Mapping[int, dict[int, float]]) -> Seeds:
    """How well the gains of the other seeds together order those of one: what no criterion can be expected to
    exceed by much.
    """
    found = {}
    for seed, values in gains.items():
        others = [other for key, other in gains.items() if key != seed]
        if others:
            found[seed] = _spearman({i: float(np.mean([o[i] for o in others])) for i in values}, values)
    return _defined(found)


def _first(values: Mapping[int, float]) -> int:
    return max(values, key=lambda layer: values[layer])


def _firsts(found: Mapping[int, dict[int, float]]) -> str:
    return ", ".join(str(_first(values)) for _, values in sorted(found.items()))


def agreement(source: Source) -> str:
    """Rank correlation of criteria with each other: mean over networks and seeds, 95 % interval over
    these.
    """
    scores = _scores(source)
    names = [name for name in _COMPARED if name in scores]
    rows = []
    for number, name in enumerate(names):
        cells: list[str] = []
        for other in names[:number]:
            both = sorted(scores[name].keys() & scores[other].keys())
            found = _defined(
                {i: _spearman(scores[name][place], scores[other][place]) for i, place in enumerate(both)}
            )
            cells.append(plain(found))
        rows.append([f"{number + 1}. {name}", *cells, *[""] * (len(names) - number)])
    return table(("criterion", *(str(i + 1) for i in range(len(names)))), rows)
