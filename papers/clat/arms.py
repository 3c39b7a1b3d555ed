"""Tables of arms: ways to go on from one network, at equal budget."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from statistics import median

from semirobust.records import Number
from semirobust.reports import Seeds, Source, by_seed, paired, percent, points, table

__all__ = [
    "allocated",
    "arms",
    "attacks",
    "compared",
    "crossed",
    "curve",
    "of_network",
    "pgd_of",
    "sweep",
    "versus",
]

_COLLAPSED = 0.8


def of_network(source: Source, network: str) -> Source:
    """The numbers of one network alone."""
    return replace(source, numbers=[n for n in source.numbers if n.labels.get("network") == network])


def pgd_of(source: Source) -> str:
    """The attack that all arms were evaluated under."""
    names = [str(n.labels["attack"]) for n in source.named("accuracy") if n.labels.get("unit") == "start"]
    return next(
        (name for name in names if name.startswith("pgd")),
        next((name for name in names if name != "clean"), "pgd-20"),
    )


def _accuracy(source: Source, arm: str, attack: str) -> Seeds:
    """Of an arm, which may be named with its unit: ``arm@unit``."""
    numbers = (n for n in source.named("accuracy") if n.labels.get("unit") not in ("attacks", "autoattack"))
    return by_seed(n for n in numbers if n.labels.get("attack") == attack and _of(n, arm))


def _of(number: Number, arm: str) -> bool:
    name, _, unit = arm.partition("@")
    return number.labels.get("arm") == name and (not unit or number.labels.get("unit") == unit)


def arms(source: Source, names: Mapping[str, str], *, cost: bool = False) -> str:
    """Accuracy, gains and what trained; ``names`` gives each arm its words, ``arm@unit`` where several units
    have it.
    """
    pgd, rows = pgd_of(source), []
    start, continued = (_accuracy(source, arm, pgd) for arm in ("start", "continued"))
    seconds = _seconds(source, "continued")
    for arm, name in names.items():
        found, clean = _accuracy(source, arm, pgd), _accuracy(source, arm, "clean")
        if not found:
            continue
        gains = [
            points(paired(found, other)) if arm not in ("start", "best") else ""
            for other in (start, continued)
        ]
        gains = [gains[0], "" if arm == "continued" else gains[1]]
        trains = [_layers(source, arm), _trained(source, arm)]
        costs = [_ratio(_seconds(source, arm), seconds)] if cost else []
        rows.append((name, len(found.values), percent(clean), percent(found), *gains, *trains, *costs))
    head = ["arm", "seeds", "clean", pgd, "less start", "less PGD-AT continued", "layers", "parameters"]
    return table([*head, *(["epoch, PGD-AT's = 1"] if cost else [])], rows)


def versus(source: Source, arm: str, names: Mapping[str, str]) -> str:
    """One arm less each of the others, clean and under attack."""
    pgd, rows = pgd_of(source), []
    for other, name in names.items():
        pairs = [
            paired(_accuracy(source, arm, attack), _accuracy(source, other, attack))
            for attack in ("clean", pgd)
        ]
        if pairs[1]:
            rows.append((name, len(pairs[1].values), *map(points, pairs)))
    return table(("less", "seeds", "clean", pgd), rows)


def _seconds(source: Source, arm: str) -> dict[int, float]:
    """Seed -> median seconds of an epoch."""
    found: dict[int, list[float]] = {}
    for n in source.named("train.seconds"):
        if _of(n, arm):
            found.setdefault(int(n.labels["seed"]), []).append(n.value)
    return {seed: median(values) for seed, values in found.items()}


def _ratio(one: Mapping[int, float], other: Mapping[int, float]) -> str:
    """The median over seeds: epochs of a noisy machine have outliers."""
    ratios = [one[seed] / other[seed] for seed in one.keys() & other.keys()]
    return f"{median(ratios):.2f}" if ratios else ""


def _trained(source: Source, arm: str) -> str:
    found = [n.value for n in source.named("train.parameters") if _of(n, arm)]
    return f"{sum(found) / len(found):,.0f}" if found else ""


def _layers(source: Source, arm: str) -> str:
    """The layers that trained in most epochs, seed by seed."""
    found = [n for n in source.named("train.layer") if _of(n, arm)]
    chosen = []
    for seed in sorted({int(n.labels["seed"]) for n in found}):
        counts = Counter(int(n.labels["layer"]) for n in found if int(n.labels["seed"]) == seed)
        most = max(counts.values())
        own = [str(layer) for layer, count in sorted(counts.items()) if count == most]
        chosen.append("+".join(own) if len(own) <= 6 else f"{len(own)} layers")
    return ", ".join(chosen) if chosen else "all"


def sweep(source: Source) -> str:
    """What each weight of CLAT's term gains, by its form and layer."""
    pgd, rows = pgd_of(source), []
    start, clean = _accuracy(source, "start", pgd), _accuracy(source, "start", "clean")
    found = [n for n in source.named("accuracy") if str(n.labels["unit"]).startswith("lambda-")]
    weights = sorted({float(str(n.labels["arm"]).split()[1]) for n in found})
    groups = {tuple(str(n.labels["unit"]).split("-")[1:3]) for n in found}
    for form, layer in sorted(groups, key=lambda group: (group[0], int(group[1]))):
        own = [n for n in found if str(n.labels["unit"]).split("-")[1:3] == [form, layer]]
        row: list[object] = [{"free": "scale-free", "paper": "paper"}[form], layer]
        for weight in weights:
            arm = f"{form} {weight}"
            robust, plainly = (
                by_seed(n for n in own if n.labels["arm"] == arm and n.labels["attack"] == attack)
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
        own = of_network(source, network)
        pgd = pgd_of(own)
        names = {
            "start": "start",
            "continued": "continued",
            "clat": "clat@clat",
            "PGD-AT as clat": "PGD-AT as clat",
            "rift": "rift",
        }
        found = {arm: _accuracy(own, name, pgd) for arm, name in names.items()}
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
        rows.append((name, *pairs, *others, *gains, _layers(own, "clat@clat")))
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


def allocated(source: Source, networks: Mapping[str, str]) -> str:
    """Epochs of the base against epochs of CLAT in one sum."""
    rows = []
    for network, name in networks.items():
        own = of_network(source, network)
        pgd = pgd_of(own)
        start, found = _accuracy(own, "start", pgd), _accuracy(own, "clat", pgd)
        if found:
            rows.append((name, percent(start), percent(_accuracy(own, "clat", "clean")), percent(found)))
    return table(("epochs of PGD-AT + CLAT", "start, under attack", "clean", "under attack"), rows)


def attacks(source: Source, names: Mapping[str, str]) -> str:
    """Each attack on all images, arm by arm; the last column is the gain of the last arm over the one before
    it.
    """
    found = [n for n in source.named("accuracy") if n.labels.get("unit") in ("attacks", "autoattack")]
    rows = []
    for unit, attack in dict.fromkeys((str(n.labels["unit"]), str(n.labels["attack"])) for n in found):
        if attack.startswith(("+ ", "worst")):
            continue
        here = [n for n in found if (n.labels["unit"], n.labels["attack"]) == (unit, attack)]
        values = [by_seed(n for n in here if n.labels["arm"] == arm) for arm in names]
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
    found = source.named("curve")
    radii = sorted({float(n.labels["epsilon"]) for n in found})
    if not radii:
        return ""
    rows = []
    for arm, name in names.items():
        own = [n for n in found if n.labels["arm"] == arm]
        rows.append(
            (name, *(percent(by_seed(n for n in own if float(n.labels["epsilon"]) == r)) for r in radii))
        )
    return table(("arm", *(f"{255 * r:.0f}/255" for r in radii)), rows)


def crossed(source: Source) -> str:
    """Accuracy of each network on what was made for each other."""
    found = source.named("across")
    names = list(dict.fromkeys(str(n.labels["source"]) for n in found))
    rows = []
    for made_for in names:
        own = [n for n in found if n.labels["source"] == made_for]
        rows.append(
            (
                made_for,
                *(percent(by_seed(n for n in own if n.labels["target"] == seen_by)) for seen_by in names),
            )
        )
    return table(("made for", *names), rows)
