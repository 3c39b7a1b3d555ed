"""Tables of arms: ways to go on from one network, at equal budget."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from semirobust.records import Number, Quantity
from semirobust.reports import (
    Seeds,
    Source,
    adjusted,
    by_seed,
    cells,
    paired,
    percent,
    points,
    table,
    written_p,
)

__all__ = [
    "Pick",
    "allocated",
    "arms",
    "attacks",
    "compared",
    "crossed",
    "curve",
    "pgd_of",
    "sweep",
    "versus",
]

_COLLAPSED = 0.8

_ATTACKS = ("attacks", "autoattack")  # units of other attacks than the one that compares arms


@dataclass(frozen=True)
class Pick:
    """An arm, and its unit where several units have one of that name."""

    arm: str
    unit: str | None = None

    def of(self, number: Number) -> bool:
        """Whether a number belongs to it."""
        return number.about.arm == self.arm and self.unit in (None, number.about.unit)


_START, _BEST, _CONTINUED = Pick("start"), Pick("best"), Pick("continued")


def pgd_of(source: Source) -> str:
    """The attack that all arms were evaluated under."""
    names = [str(n.about.attack) for n in source.of(Quantity.ACCURACY, unit="start")]
    return next(
        (name for name in names if name.startswith("pgd")),
        next((name for name in names if name != "clean"), "pgd-20"),
    )


def _accuracy(source: Source, arm: Pick, attack: str) -> Seeds:
    numbers = source.of(Quantity.ACCURACY, attack=attack)
    return by_seed(n for n in numbers if n.about.unit not in _ATTACKS and arm.of(n))


def arms(source: Source, names: Mapping[Pick, str], *, cost: bool = False) -> str:
    """Accuracy, gains and what trained; ``names`` gives each arm its words."""
    pgd, rows = pgd_of(source), []
    start, continued = (_accuracy(source, arm, pgd) for arm in (_START, _CONTINUED))
    seconds = _seconds(source, _CONTINUED)
    for arm, name in names.items():
        found, clean = _accuracy(source, arm, pgd), _accuracy(source, arm, "clean")
        if not found:
            continue
        gains = [
            points(paired(found, other)) if arm not in (_START, _BEST) else "" for other in (start, continued)
        ]
        gains = [gains[0], "" if arm == _CONTINUED else gains[1]]
        trains = [_layers(source, arm), _trained(source, arm)]
        costs = [_ratio(_seconds(source, arm), seconds)] if cost else []
        rows.append((name, len(found.values), percent(clean), percent(found), *gains, *trains, *costs))
    head = ["arm", "seeds", "clean", pgd, "less start", "less PGD-AT continued", "layers", "parameters"]
    return table([*head, *(["epoch, PGD-AT's = 1"] if cost else [])], rows)


def versus(source: Source, arm: Pick, names: Mapping[Pick, str]) -> str:
    """One arm less each of the others, clean and under attack; p is adjusted for all rows."""
    pgd, found = pgd_of(source), list[tuple[str, list[Seeds]]]()
    for other, name in names.items():
        pairs = [
            paired(_accuracy(source, arm, attack), _accuracy(source, other, attack))
            for attack in ("clean", pgd)
        ]
        if pairs[1]:
            found.append((name, pairs))
    clean, robust = (adjusted([pairs[side] for _, pairs in found]) for side in (0, 1))
    rows = [
        (name, len(two.values), points(one), written_p(p), points(two), written_p(q))
        for (name, (one, two)), p, q in zip(found, clean, robust, strict=True)
    ]
    return table(("less", "seeds", "clean", "p, adjusted", pgd, "p, adjusted"), rows)


def _seconds(source: Source, arm: Pick) -> dict[int, float]:
    """Seed -> median seconds of an epoch."""
    found: dict[int, list[float]] = {}
    for n in source.of(Quantity.EPOCH_SECONDS):
        if arm.of(n):
            found.setdefault(n.about.seed or 0, []).append(n.value)
    return {seed: median(values) for seed, values in found.items()}


def _ratio(one: Mapping[int, float], other: Mapping[int, float]) -> str:
    """The median over seeds: epochs of a noisy machine have outliers."""
    ratios = [one[seed] / other[seed] for seed in one.keys() & other.keys()]
    return f"{median(ratios):.2f}" if ratios else ""


def _trained(source: Source, arm: Pick) -> str:
    found = [n.value for n in source.of(Quantity.TRAINED_PARAMETERS) if arm.of(n)]
    return f"{sum(found) / len(found):,.0f}" if found else ""


def _layers(source: Source, arm: Pick) -> str:
    """The layers that trained in most epochs, seed by seed."""
    found = [n.about for n in source.of(Quantity.TRAINED_LAYER) if arm.of(n)]
    chosen = []
    for seed in sorted({about.seed or 0 for about in found}):
        counts = Counter(about.layer for about in found if about.seed == seed)
        layers = sorted(layer or 0 for layer, count in counts.items() if count == max(counts.values()))
        chosen.append("+".join(map(str, layers)) if len(layers) <= 6 else f"{len(layers)} layers")
    return ", ".join(chosen) if chosen else "all"


def sweep(source: Source) -> str:
    """What each weight of CLAT's term gains, by its form and layer."""
    pgd, rows = pgd_of(source), []
    start, clean = _accuracy(source, _START, pgd), _accuracy(source, _START, "clean")
    swept = source.only(variant="sweep")
    weights = sorted(swept.values(Quantity.ACCURACY, lambda about: about.loss_weight))
    groups = {(n.about.loss_form or "", n.about.tuned_layer or 0) for n in swept.of(Quantity.ACCURACY)}
    for form, layer in sorted(groups):
        row: list[object] = [{"free": "scale-free", "paper": "paper"}[form], layer]
        for weight in weights:
            robust, plainly = (
                cells(
                    swept,
                    Quantity.ACCURACY,
                    loss_form=form,
                    tuned_layer=layer,
                    loss_weight=weight,
                    attack=attack,
                )
                for attack in (pgd, "clean")
            )
            if not robust:
                row.append("")
                continue
            fell = sum(
                robust.values[s] < _COLLAPSED * start.values[s]
                for s in robust.values.keys() & start.values.keys()
            )
            text = " / ".join(
                points(gain) for gain in (paired(plainly, clean), paired(robust, start)) if gain
            )
            row.append(f"{text} [{fell} of {len(robust.values)}]" if fell else text)
        rows.append(row)
    return table(("form", "layer", *(f"λ {w:g}" for w in weights)), rows)


def compared(source: Source, networks: Mapping[str, str]) -> str:
    """Other bases and architectures: each arm's accuracy under attack, and what CLAT adds to going on as
    before.
    """
    rows = []
    for network, name in networks.items():
        own = source.only(network=network)
        pgd = pgd_of(own)
        names = {
            "start": _START,
            "continued": _CONTINUED,
            "clat": Pick("clat", "clat"),
            "PGD-AT as clat": Pick("PGD-AT as clat"),
            "rift": Pick("rift"),
        }
        found = {arm: _accuracy(own, pick, pgd) for arm, pick in names.items()}
        if not found["clat"]:
            continue
        clean = [_accuracy(own, names[arm], "clean") for arm in ("start", "continued", "clat")]
        pairs = [
            " / ".join(percent(part) for part in (c, found[arm]))
            for c, arm in zip(clean, found, strict=False)
        ]
        others = [percent(found[arm]) for arm in ("PGD-AT as clat", "rift")]
        gains = [
            points(paired(found["clat"], found[arm])) for arm in ("start", "continued", "PGD-AT as clat")
        ]
        rows.append((name, *pairs, *others, *gains, _layers(own, names["clat"])))
    head = (
        "base",
        "start",
        "base continued",
        "CLAT",
        "its layers, PGD-AT",
        "RiFT",
        "CLAT less start",
        "less continued",
        "less its layers",
        "layers",
    )
    return table(head, rows)


def allocated(source: Source, networks: Mapping[str, int]) -> str:
    """Epochs of the base against epochs of CLAT in one sum."""
    rows = []
    for network, name in networks.items():
        own, clat = source.only(network=network), Pick("clat")
        pgd = pgd_of(own)
        start, found = _accuracy(own, _START, pgd), _accuracy(own, clat, pgd)
        if found:
            rows.append((name, percent(start), percent(_accuracy(own, clat, "clean")), percent(found)))
    return table(("epochs of PGD-AT + CLAT", "start, under attack", "clean", "under attack"), rows)


def attacks(source: Source, names: Mapping[str, str]) -> str:
    """Each attack on all images, arm by arm; the last column is the gain of the last arm over the one before
    it.
    """
    found = [n for n in source.of(Quantity.ACCURACY, cumulative=None) if n.about.unit in _ATTACKS]
    attacked = {n.about.arm for n in found}
    names = {arm: name for arm, name in names.items() if arm in attacked}
    if not names:
        return ""
    rows = []
    for unit, attack in dict.fromkeys((n.about.unit, n.about.attack) for n in found):
        if attack == "worst":
            continue
        here = [n for n in found if (n.about.unit, n.about.attack) == (unit, attack)]
        values = [by_seed(n for n in here if n.about.arm == arm) for arm in names]
        gains = [points(paired(values[-1], other)) for other in values[:-1]]
        rows.append((attack, next((n.n for n in here), "–"), *map(percent, values), *gains))
    last = list(names.values())[-1]
    head = (
        "attack",
        "images",
        *names.values(),
        *(f"{last} less {name}" for name in list(names.values())[:-1]),
    )
    return table(head, rows)


def curve(source: Source, names: Mapping[str, str]) -> str:
    """Accuracy under PGD-10 by radius."""
    quantity = Quantity.ACCURACY_BY_EPSILON
    radii = sorted(source.values(quantity, lambda about: about.epsilon))
    if not radii:
        return ""
    rows = []
    for arm, name in names.items():
        found = [cells(source, quantity, arm=arm, epsilon=r) for r in radii]
        if any(each.values for each in found):
            rows.append((name, *map(percent, found)))
    return table(("arm", *(f"{255 * r:.0f}/255" for r in radii)), rows)


def crossed(source: Source) -> str:
    """Accuracy of each network on what was made for each other."""
    quantity = Quantity.TRANSFER_ACCURACY
    names = source.values(quantity, lambda about: about.source)
    rows = []
    for made_for in names:
        row = [percent(cells(source, quantity, source=made_for, target=seen_by)) for seen_by in names]
        rows.append((made_for, *row))
    return table(("made for", *names), rows)
