"""Which criterion chooses the layers whose tuning gains most, and which criteria agree."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from semirobust.records.record import Number
from semirobust.reports.reproductions.table import Seeds, by_seed, paired, plain, points, table
from semirobust.reports.source import Source

__all__ = ["agreement", "by_layer", "choices", "index_name", "layer_gains"]

_SCALES = {"paper": "1/N", "rms": "1/√N", "relative": "relative"}
_OTHERS = {
    "weight-criticality": "RiFT's weight criticality, lowest first",
    "gradient-norm": "gradient norm",
    "connectivity": "connectivity",
    "connectivity.excess": "connectivity, excess over its null",
    "semirobustness.drop": "drop of semirobust accuracy",
}
_COMPARED = (
    "distance, 1/N, input", "distance, 1/√N, input", "distance, relative, input", "distance, 1/N, conv", "curvature, 1/N, input",
    *list(_OTHERS.values())[:2], *list(_OTHERS.values())[3:],
)  # fmt: skip
Scores = dict[str, dict[tuple[str, int], dict[int, float]]]
"""Criterion -> network and seed -> layer -> score, the higher the sooner it is chosen."""


def index_name(form: str, scale: str, at: str) -> str:
    """``distance, 1/N, input``; of the curvature form 1/√N is the same as 1/N, and left out: ``""``."""
    return "" if (form, scale) == ("curvature", "rms") else f"{form}, {_SCALES[scale]}, {at}"


@dataclass(frozen=True)
class _Gains:
    """Gain under attack of a method with each layer alone.

    Attributes:
        of: network and seed -> layer -> gain over the start.
    """

    of: Mapping[tuple[str, int], dict[int, float]]

    @classmethod
    def read(cls, source: Source, unit: str, attack: str) -> "_Gains":
        found: dict[tuple[str, int], dict[int, float]] = {}
        start = {_place(n): n.value for n in source.named("accuracy") if _is(n, "start", attack)}
        for n in source.named("accuracy"):
            name = str(n.labels.get("arm", ""))
            here = n.labels.get("unit") == unit and n.labels.get("attack") == attack and name.startswith("layer ")
            if here and _place(n) in start:
                found.setdefault(_place(n), {})[int(name.split()[1])] = n.value - start[_place(n)]
        return cls(found)


def _is(n: Number, arm: str, attack: str) -> bool:
    return n.labels.get("arm") == arm and n.labels.get("attack") == attack and n.labels.get("unit") == "start"


def _place(n: Number) -> tuple[str, int]:
    return str(n.labels["network"]), int(n.labels["seed"])


def _scores(source: Source) -> Scores:
    found: Scores = {}
    for n in source.numbers:
        if not n.name.startswith("layer.") or n.labels.get("unit") not in ("index", "criteria"):
            continue
        kind = n.name.removeprefix("layer.")
        if kind == "criticality":
            name = index_name(*(str(n.labels[key]) for key in ("form", "scale", "at")))
        else:
            name = _OTHERS.get(kind, "")
        if name:
            sign = -1 if kind == "weight-criticality" else 1
            found.setdefault(name, {}).setdefault(_place(n), {})[int(n.labels["layer"])] = sign * n.value
    return {name: {place: _inner(values) for place, values in places.items()} for name, places in found.items()}


def _inner(values: dict[int, float]) -> dict[int, float]:
    """All but the classifier, which is never chosen."""
    last = max(values)
    return {layer: value for layer, value in values.items() if layer != last}


def layer_gains(source: Source, attack: str, units: Mapping[str, str]) -> str:
    """Gain over the start with each layer alone, by network and method; ``units`` names the methods."""
    columns, layers = dict[str, dict[int, Seeds]](), set[int]()
    for unit, title in units.items():
        found = _Gains.read(source, unit, attack).of
        for network in dict.fromkeys(network for network, _ in found):
            own = {seed: values for (name, seed), values in found.items() if name == network}
            inside = sorted(set.intersection(*(set(values) for values in own.values())))
            layers |= set(inside)
            columns[f"{network}, {title}"] = {i: Seeds({s: values[i] for s, values in own.items()}) for i in inside}
    rows = [
        [layer, *(points(column[layer]) if layer in column else "" for column in columns.values())] for layer in sorted(layers)
    ]
    return table(("layer", *columns), rows)


def choices(source: Source, attack: str, unit: str) -> str:
    """How well each criterion orders the layers by what tuning them alone gains, network by network."""
    gains, scores = _Gains.read(source, unit, attack).of, _scores(source)
    parts = []
    for network in dict.fromkeys(network for network, _ in gains):
        own = {seed: _inner(values) for (name, seed), values in gains.items() if name == network}
        rows: list[tuple[object, ...]] = []
        for name, places in scores.items():
            here = {seed: places[network, seed] for seed in own if (network, seed) in places}
            if here:
                rows.append((_rank(here, own), name, *_row(here, own)))
        rows.sort(key=lambda row: -float(str(row[0])))
        best = Seeds({seed: max(values.values()) for seed, values in own.items()})
        mean = Seeds({seed: sum(values.values()) / len(values) for seed, values in own.items()})
        head = ("criterion", "rank correlation with the gain", "first choice", "its gain", "less a random layer's")
        ends = [
            ("the best layer in hindsight", "", _firsts(own), points(best), points(paired(best, mean))),
            ("a random layer", "0", "", points(mean), ""),
            ("the gains of another seed", plain(_repeated(own)), "", "", ""),
        ]
        parts.append(f"**{network}**\n\n" + table(head, [*(row[1:] for row in rows), *ends]))
    return "\n".join(parts)


def _rank(scores: Mapping[int, dict[int, float]], gains: Mapping[int, dict[int, float]]) -> float:
    return _correlated(scores, gains).mean


def _row(scores: Mapping[int, dict[int, float]], gains: Mapping[int, dict[int, float]]) -> tuple[str, ...]:
    first = {seed: _first(values) for seed, values in scores.items()}
    gained = Seeds({seed: gains[seed][layer] for seed, layer in first.items()})
    mean = Seeds({seed: sum(values.values()) / len(values) for seed, values in gains.items()})
    return plain(_correlated(scores, gains)), _firsts(scores), points(gained), points(paired(gained, mean))


def _correlated(scores: Mapping[int, dict[int, float]], gains: Mapping[int, dict[int, float]]) -> Seeds:
    return Seeds({seed: _spearman(values, gains[seed]) for seed, values in scores.items()})


def _spearman(one: Mapping[int, float], other: Mapping[int, float]) -> float:
    layers = sorted(one.keys() & other.keys())
    a, b = [one[i] for i in layers], [other[i] for i in layers]
    return float(spearmanr(a, b).statistic) if len(set(a)) > 1 and len(set(b)) > 1 else 0.0


def _repeated(gains: Mapping[int, dict[int, float]]) -> Seeds:
    """How well the gains of the other seeds together order those of one: what no criterion can be expected to exceed by much."""
    found = {}
    for seed, values in gains.items():
        others = [other for key, other in gains.items() if key != seed]
        if others:
            found[seed] = _spearman({i: float(np.mean([o[i] for o in others])) for i in values}, values)
    return Seeds(found)


def _first(values: Mapping[int, float]) -> int:
    return max(values, key=lambda layer: values[layer])


def _firsts(found: Mapping[int, dict[int, float]]) -> str:
    return ", ".join(str(_first(values)) for _, values in sorted(found.items()))


def agreement(source: Source) -> str:
    """Rank correlation of criteria with each other: mean over networks and seeds, 95 % interval over these."""
    scores = _scores(source)
    names = [name for name in _COMPARED if name in scores]
    rows = []
    for number, name in enumerate(names):
        cells: list[str] = []
        for other in names[:number]:
            both = sorted(scores[name].keys() & scores[other].keys())
            found = Seeds({i: _spearman(scores[name][place], scores[other][place]) for i, place in enumerate(both)})
            cells.append(plain(found))
        rows.append([f"{number + 1}. {name}", *cells, *[""] * (len(names) - number)])
    return table(("criterion", *(str(i + 1) for i in range(len(names)))), rows)


def by_layer(numbers: Iterable[Number], **labels: object) -> dict[int, Seeds]:
    """Layer -> one number for each seed, of the numbers with these labels."""
    own = [n for n in numbers if all(str(n.labels.get(key)) == str(value) for key, value in labels.items())]
    layers = sorted({int(n.labels["layer"]) for n in own})
    return {i: by_seed(n for n in own if int(n.labels["layer"]) == i) for i in layers}
