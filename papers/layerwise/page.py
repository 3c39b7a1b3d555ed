"""The page of the comparison: methods by what they gain and cost, criteria by what they foresee."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from statistics import mean

from scipy.stats import spearmanr, t

from semirobust.records import Number, Quantity, Topic
from semirobust.reports import (
    Seeds,
    Source,
    adjusted,
    cells,
    paired,
    percent,
    points,
    render,
    table,
    written_p,
)

from .words import criterion_of, trains

__all__ = ["page"]

_START, _PGD, _AA = "start", "pgd-20", "autoattack"
_TITLES = {"resnet18": "ResNet-18", "vgg19": "VGG-19", "vit": "Small ViT"}
_REGIMES = {"early": "before robust overfitting", "late": "after robust overfitting"}


def page(source: Source, scale: str, what: str) -> str:
    """Markdown from the records at one scale; networks without records are left out."""
    names = dict.fromkeys(n.about.network for n in source.numbers if n.about.network)
    parts = {name: source.only(network=name) for name in names}
    parts = {name: own for name, own in parts.items() if own.of(Quantity.ACCURACY, arm=_START)}
    stopped = {name: _stopped(own, name) for name, own in parts.items()}
    parts = {name: _without(own, stopped[name]) for name, own in parts.items()}
    networks = [
        {
            "title": _title(name),
            "methods": _methods(own),
            "criteria": _criteria(own),
            "stopped": [f"{arm}, seed {seed}: {text}" for (arm, seed), text in sorted(stopped[name].items())],
            **_chance(own),
        }
        for name, own in parts.items()
    ]
    return render(
        Path(__file__).with_name("page.md.j2"),
        scale=scale,
        what=what,
        networks=networks,
        gains=_across(parts, {name: _gains(own, _AA) for name, own in parts.items()}),
        agreement=_across(
            parts, {name: {c: s for c, s, _ in _agreements(own)} for name, own in parts.items()}, share=False
        ),
    )


def _stopped(source: Source, network: str) -> dict[tuple[str, int], str]:
    """Why training ended before its last epoch, by arm and seed."""
    found = [f for f in source.findings if f.topic is Topic.STOPPED and f.about.network == network]
    return {(str(f.about.arm), f.about.seed or 0): f.text.partition(";")[0] for f in found}


def _without(source: Source, stopped: Mapping[tuple[str, int], str]) -> Source:
    kept = [n for n in source.numbers if (str(n.about.arm), n.about.seed or 0) not in stopped]
    return replace(source, numbers=kept)


def _title(network: str) -> str:
    name, _, regime = network.rpartition("-")
    return f"{_TITLES.get(name, name)}, {_REGIMES.get(regime, regime)}"


def _across(parts: dict[str, Source], found: dict[str, dict[str, Seeds]], *, share: bool = True) -> str:
    """One row each, a column for each network, the highest mean first, and last those that not all networks
    have; empty for fewer than two networks.
    """
    if len(parts) < 2:
        return ""
    names = dict.fromkeys(name for each in found.values() for name in each)
    means = {
        name: mean(_mean(each[name]) for each in found.values())
        for name in names
        if all(name in each for each in found.values())
    }
    rows = [
        (
            name,
            "" if name not in means else f"{100 * means[name]:+.1f}" if share else f"{means[name]:+.2f}",
            *(
                (points(each[name]) if share else _plain(each[name])) if name in each else ""
                for each in found.values()
            ),
        )
        for name in sorted(names, key=lambda name: -means.get(name, -inf))
    ]
    return table(("method" if share else "criterion", "mean", *map(_title, parts)), rows)


def _of(source: Source, arm: str, attack: str) -> Seeds:
    return cells(source, Quantity.ACCURACY, arm=arm, attack=attack)


def _gain(source: Source, arm: str, attack: str) -> Seeds:
    return paired(_of(source, arm, attack), _of(source, _START, attack))


def _gains(source: Source, attack: str) -> dict[str, Seeds]:
    """By arm what it gains over the start under an attack, those of which this was measured."""
    arms = dict.fromkeys(
        str(n.about.arm)
        for n in source.of(Quantity.ACCURACY, attack=attack)
        if n.about.arm and n.about.unit != "each"
    )
    return {arm: gain for arm in arms if arm != _START and (gain := _gain(source, arm, attack))}


def _methods(source: Source) -> str:
    """Each arm less the start, the one that gains most under PGD-20 first; p adjusted over the table."""
    gains = _gains(source, _PGD)
    order = sorted(gains, key=lambda arm: -_mean(gains[arm]))
    tested = [(arm, attack) for attack in (_PGD, _AA) for arm in order]
    found = adjusted([_gain(source, arm, attack) for arm, attack in tested])
    p = dict(zip(tested, found, strict=True))
    head = (
        "method", "criterion", "trains", "seeds", "clean", "PGD-20", "AutoAttack",
        "clean, less start", "PGD-20, less start", "PGD-20, p", "AutoAttack, less start", "AutoAttack, p",
        "parameters", "arithmetic, PGD-AT = 1",
    )  # fmt: skip
    rows: list[Sequence[object]] = []
    for arm in [_START, *order]:
        values = [percent(_of(source, arm, attack)) for attack in ("clean", _PGD, _AA)]
        clean, pgd, aa = (
            "" if arm == _START else points(_gain(source, arm, attack)) for attack in ("clean", _PGD, _AA)
        )
        seeds = len(_of(source, arm, _PGD).values)
        told = [written_p(p[arm, attack]) if (arm, attack) in p else "" for attack in (_PGD, _AA)]
        rows.append(
            (
                arm, criterion_of(source, arm), trains(source, arm), seeds, *values, clean, pgd, told[0],
                aa, told[1], _trained(source, arm), _cost(source, arm),
            )
        )  # fmt: skip
    return table(head, rows)


def _mean(seeds: Seeds) -> float:
    return mean(seeds.values.values())


def _trained(source: Source, arm: str) -> str:
    found = [n.value for n in source.of(Quantity.TRAINED_PARAMETERS, arm=arm)]
    return f"{mean(found):,.0f}" if found else ""


def _cost(source: Source, arm: str) -> str:
    """The arithmetic of an epoch as a share of PGD-AT's, where it was counted."""
    one, other = (
        [n.value for n in source.of(Quantity.EPOCH_OPERATIONS, arm=each)] for each in (arm, "adversarial")
    )
    return f"{mean(one) / mean(other):.2f}" if one and other else ""


def _criteria(source: Source) -> str:
    """Rank correlation of each criterion with the gains of tuning each layer alone, seed by seed."""
    found = _agreements(source)
    return table(
        ("criterion", "seeds", "rank correlation", "p, adjusted"),
        [(name, len(seeds.values), _each(seeds), written_p(p)) for name, seeds, p in found],
    )


def _chance(source: Source) -> dict[str, object]:
    """How many layers were tuned alone, and within what 95 of 100 rank correlations of a criterion that knows
    nothing are.
    """
    layers = len({n.about.tuned_layer for n in source.of(Quantity.ACCURACY, attack=_PGD, unit="each")})
    if layers < 4:
        return {}
    critical = float(t.ppf(0.975, layers - 2))
    return {"layers": layers, "chance": f"{critical / (layers - 2 + critical**2) ** 0.5:.2f}"}


def _agreements(source: Source) -> list[tuple[str, Seeds, float | None]]:
    """Each criterion with its correlation, seed by seed, and the adjusted p of no correlation, the highest
    first.
    """
    gains: dict[int, dict[int, float]] = defaultdict(dict)
    start = _of(source, _START, _PGD).values
    for n in source.of(Quantity.ACCURACY, attack=_PGD, unit="each"):
        if n.about.tuned_layer is not None and (n.about.seed or 0) in start:
            gains[n.about.seed or 0][n.about.tuned_layer] = n.value - start[n.about.seed or 0]
    scores: dict[str, dict[int, dict[int, Number]]] = defaultdict(lambda: defaultdict(dict))
    for n in source.of(Quantity.MEASURE):
        if str(n.about.unit).startswith("by-") and n.about.layer is not None:
            name = f"{n.about.measure}.{n.about.part}" if n.about.part else str(n.about.measure)
            scores[name][n.about.seed or 0][n.about.layer] = n
    rows = {}
    for name, by in scores.items():
        found = {}
        for seed, layers in by.items():
            both = sorted(layers.keys() & gains[seed].keys())
            pairs = [[layers[i].value for i in both], [gains[seed][i] for i in both]]
            if all(len(set(values)) > 1 for values in pairs):
                found[seed] = float(spearmanr(*pairs).statistic)
        if found:
            rows[name] = Seeds(found)
    ordered = sorted(rows, key=lambda name: -_mean(rows[name]))
    p = adjusted([rows[name] for name in ordered])
    return [(name, rows[name], each) for name, each in zip(ordered, p, strict=True)]


def _plain(seeds: Seeds) -> str:
    return f"{_mean(seeds):+.2f}"


def _each(seeds: Seeds) -> str:
    return f"{_plain(seeds)} ({', '.join(f'{value:+.2f}' for value in seeds.values.values())})"
