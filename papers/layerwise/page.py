"""The page of the comparison: methods by what they gain and cost, criteria by what they foresee."""

from collections import defaultdict
from pathlib import Path
from statistics import mean, median

from scipy.stats import spearmanr

from semirobust.records import Number, Quantity
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

__all__ = ["page"]

_START, _PGD, _AA = "start", "pgd-20", "autoattack"
_TITLES = {"resnet18": "ResNet-18", "vgg19": "VGG-19", "vit": "Small ViT"}
_REGIMES = {"early": "before robust overfitting", "late": "after robust overfitting"}


def page(source: Source, scale: str, what: str) -> str:
    """Markdown from the records at one scale; networks without records are left out."""
    names = list(dict.fromkeys(n.about.network for n in source.numbers if n.about.network))
    networks = [
        {"title": _title(name), "methods": _methods(own), "criteria": _criteria(own)}
        for name in names
        if (own := source.only(network=name)).of(Quantity.ACCURACY, arm=_START)
    ]
    return render(Path(__file__).with_name("page.md.j2"), scale=scale, what=what, networks=networks)


def _title(network: str) -> str:
    name, _, regime = network.rpartition("-")
    return f"{_TITLES.get(name, name)}, {_REGIMES.get(regime, regime)}"


def _of(source: Source, arm: str, attack: str) -> Seeds:
    return cells(source, Quantity.ACCURACY, arm=arm, attack=attack)


def _methods(source: Source) -> str:
    """Each arm less the start, the one that gains most under PGD-20 first; p adjusted over the arms."""
    arms = dict.fromkeys(
        str(n.about.arm)
        for n in source.of(Quantity.ACCURACY, attack=_PGD)
        if n.about.arm and n.about.unit != "each"
    )
    gains = {arm: paired(_of(source, arm, _PGD), _of(source, _START, _PGD)) for arm in arms}
    order = sorted((arm for arm in arms if arm != _START and gains[arm]), key=lambda arm: -_mean(gains[arm]))
    p = dict(zip(order, adjusted([gains[arm] for arm in order]), strict=True))
    rows: list[tuple[object, ...]] = []
    for arm in [_START, *order]:
        differences = [
            points(paired(_of(source, arm, attack), _of(source, _START, attack))) if arm != _START else ""
            for attack in ("clean", _PGD, _AA)
        ]
        values = [percent(_of(source, arm, attack)) for attack in ("clean", _PGD, _AA)]
        seeds, cost = len(_of(source, arm, _PGD).values), _cost(source, arm)
        rows.append((arm, seeds, *values, *differences, written_p(p.get(arm)), _trained(source, arm), cost))
    head = (
        "method",
        "seeds",
        "clean",
        "PGD-20",
        "AutoAttack",
        "clean, less start",
        "PGD-20, less start",
        "AutoAttack, less start",
        "p, adjusted",
        "parameters",
        "epoch, PGD-AT = 1",
    )
    return table(head, rows)


def _mean(seeds: Seeds) -> float:
    return mean(seeds.values.values())


def _trained(source: Source, arm: str) -> str:
    found = [n.value for n in source.of(Quantity.TRAINED_PARAMETERS, arm=arm)]
    return f"{mean(found):,.0f}" if found else ""


def _cost(source: Source, arm: str) -> str:
    """The median over seeds of an epoch's time over that of PGD-AT continued."""
    one, other = (_seconds(source, each) for each in (arm, "adversarial"))
    ratios = [one[seed] / other[seed] for seed in one.keys() & other.keys()]
    return f"{median(ratios):.2f}" if ratios else ""


def _seconds(source: Source, arm: str) -> dict[int, float]:
    found: dict[int, list[float]] = defaultdict(list)
    for n in source.of(Quantity.EPOCH_SECONDS, arm=arm):
        found[n.about.seed or 0].append(n.value)
    return {seed: median(values) for seed, values in found.items()}


def _criteria(source: Source) -> str:
    """Rank correlation of each criterion with the gains of tuning each layer alone, seed by seed."""
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
    rows = []
    for name, by in scores.items():
        found = {}
        for seed, layers in by.items():
            both = sorted(layers.keys() & gains[seed].keys())
            pairs = [[layers[i].value for i in both], [gains[seed][i] for i in both]]
            if all(len(set(values)) > 1 for values in pairs):
                found[seed] = float(spearmanr(*pairs).statistic)
        if found:
            correlations = Seeds(found)
            rows.append((name, len(found), correlations))
    ordered = sorted(rows, key=lambda row: -_mean(row[2]))
    p = adjusted([row[2] for row in ordered])
    return table(
        ("criterion", "seeds", "rank correlation", "p, adjusted"),
        [
            (name, n, _plain(seeds), written_p(each))
            for (name, n, seeds), each in zip(ordered, p, strict=True)
        ],
    )


def _plain(seeds: Seeds) -> str:
    values = [f"{value:+.2f}" for value in seeds.values.values()]
    return f"{_mean(seeds):+.2f} ({', '.join(values)})"
