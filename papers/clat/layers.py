"""Tables of layers: which are critical, whether that is stable, and whether it drifts."""

from collections.abc import Collection, Iterable, Mapping

from scipy.stats import spearmanr

from semirobust.records import Number, Quantity
from semirobust.reports import Seeds, Source, cells, percent, plain, points, table

from .criteria import index_name

__all__ = [
    "drift",
    "first_layers",
    "hits_over_chance",
    "index",
    "overfitting",
    "readings",
    "seeds_of",
    "stability",
]


def overfitting(source: Source) -> tuple[str, ...]:
    """In sentences, how far the base's robust accuracy fell behind its best epoch, on held-out images."""
    falls, epochs = dict[int, float](), dict[int, float]()
    for seed in seeds_of(source):
        robust = _by_epoch(source, Quantity.VALIDATION_ROBUST, seed)
        if robust:
            best = max(robust, key=lambda epoch: robust[epoch])
            falls[seed], epochs[seed] = robust[max(robust)] - robust[best], float(best)
    if not falls:
        return ("–",)
    last = max(n.about.epoch or 0 for n in source.of(Quantity.VALIDATION_ROBUST, unit="base"))
    ends = {seed: _by_epoch(source, Quantity.TRAINING_LOSS, seed)[last] for seed in falls}
    return (
        f"On held-out images the base's best epoch under attack is {plain(Seeds(epochs), 0)}.",
        f"After its last one, {last}, accuracy is {points(Seeds(falls))} points from that.",
        f"Its loss on the training images ends at {plain(Seeds(ends))} nats.",
    )


def seeds_of(source: Source) -> list[int]:
    """All seeds, ascending."""
    return sorted({n.about.seed or 0 for n in source.numbers})


def _by_epoch(source: Source, quantity: Quantity, seed: int) -> dict[int, float]:
    """A number of the base by epoch."""
    found = source.of(quantity, unit="base", seed=seed)
    return {n.about.epoch: n.value for n in found if n.about.epoch is not None}


def index(source: Source, listed: Collection[int], scale: str | None = None) -> str:
    """The five highest layers in every form, and how many of those that the paper lists are among them;
    ``scale`` keeps the forms of one scale.
    """
    found, rows = source.of(Quantity.MEASURE, measure="criticality"), []
    for name, own in _by_form(found).items():
        if scale is not None and own[0].about.scale != scale:
            continue
        tops = _tops(own)
        chosen = "; ".join(", ".join(map(str, top)) for top in tops.values())
        rows.append((name, chosen, plain(_hits(tops, listed), 1), f"{_chance(own, listed):.1f}"))
    return table(
        ("form, scale, taken at", "five highest, seed by seed", "of the paper's five", "by chance"), rows
    )


def readings(source: Source, networks: Mapping[str, tuple[str, Collection[int]]]) -> str:
    """How many of the five layers that the paper lists are among the five highest, mean over seeds, with
    chance in brackets; ``networks`` are those of the columns, each with its title and the paper's list.
    """
    rows: dict[str, list[str]] = {}
    titles: list[str] = []
    for network, (title, listed) in networks.items():
        found = source.of(Quantity.MEASURE, measure="criticality", unit="forms", network=network)
        for name, own in _by_form(found).items():
            hits = _hits(_tops(own), listed)
            rows.setdefault(name, [""] * len(titles)).append(f"{hits.mean:.1f} ({_chance(own, listed):.1f})")
        titles += [title] if found else []
    return table(("form, scale, taken at", *titles), [[name, *cells] for name, cells in rows.items()])


def hits_over_chance(source: Source, listed: Collection[int]) -> Seeds:
    """How many of the listed layers the printed index has among its five highest, less chance."""
    found = [
        n
        for n in source.of(Quantity.MEASURE, measure="criticality")
        if (n.about.form, n.about.scale, n.about.place) == ("distance", "paper", "input")
        and n.about.first in (None, "weakness")
    ]
    if not found:
        return Seeds({})
    hits = _hits(_tops(found), listed).values
    return Seeds({seed: count - _chance(found, listed) for seed, count in hits.items()})


def first_layers(source: Source) -> dict[int, dict[int, int]]:
    """Seed -> epoch of the base -> the layer ranked first, the classifier left out."""
    found = source.of(Quantity.VALIDATION_MEASURE, measure="criticality", unit="base")
    result: dict[int, dict[int, int]] = {}
    for seed in sorted({n.about.seed or 0 for n in found}):
        for epoch in sorted({n.about.epoch or 0 for n in found if n.about.seed == seed}):
            values = _by_layer(found, seed, epoch)
            last = max(values)
            result.setdefault(seed, {})[epoch] = max(values.keys() - {last}, key=lambda i: values[i])
    return result


def _by_form(numbers: Iterable[Number]) -> dict[str, list[Number]]:
    """The index of each form by its name."""
    found: dict[str, list[Number]] = {}
    for n in numbers:
        if name := index_name(n.about.form, n.about.scale, n.about.place, n.about.first):
            found.setdefault(name, []).append(n)
    return found


def _tops(own: Iterable[Number]) -> dict[int, list[int]]:
    """The five highest layers by seed."""
    own = list(own)
    seeds = sorted({n.about.seed or 0 for n in own})
    return {seed: _top([n for n in own if (n.about.seed or 0) == seed]) for seed in seeds}


def _hits(tops: Mapping[int, Collection[int]], listed: Collection[int]) -> Seeds:
    return Seeds({seed: float(len({*top} & {*listed})) for seed, top in tops.items()})


def _chance(own: Iterable[Number], listed: Collection[int]) -> float:
    """How many of the listed layers five drawn at random are."""
    candidates = sorted({n.about.layer or 0 for n in own})[:-1]
    return 5 * len({*candidates} & {*listed}) / len(candidates)


def _top(numbers: Iterable[Number], k: int = 5) -> list[int]:
    numbers = list(numbers)
    last = max((n.about.layer or 0 for n in numbers), default=0)
    ranked = sorted((n for n in numbers if n.about.layer != last), key=lambda n: -n.value)
    return [n.about.layer or 0 for n in ranked[:k]]


def stability(source: Source) -> str:
    """Share of the top layers that a batch finds."""
    rows = []
    sizes = sorted(source.values(Quantity.STABILITY, lambda about: about.batch))
    for scale, k in source.values(Quantity.STABILITY, lambda about: (about.scale, about.k)):
        agreement = [
            percent(cells(source, Quantity.STABILITY, scale=scale, k=k, batch=size), 0) for size in sizes
        ]
        ends = [
            percent(cells(source, quantity, scale=scale, k=k), 0)
            for quantity in (Quantity.STABILITY_SEEDS, Quantity.STABILITY_CHANCE)
        ]
        rows.append(({"paper": "1/N", "rms": "1/√N"}[scale or ""], k, *agreement, *ends))
    return table(
        (
            "scale",
            "k",
            *(f"{size} images, %" for size in sizes),
            "all, other attack seeds, %",
            "by chance, %",
        ),
        rows,
    )


def drift(source: Source) -> str:
    """The first layer after each epoch of the base."""
    found = source.of(Quantity.VALIDATION_MEASURE, measure="criticality", unit="base")
    epochs = sorted({n.about.epoch or 0 for n in found})
    if not epochs:
        return ""
    shown = sorted({epochs[round(share * (len(epochs) - 1))] for share in (0, 0.1, 0.25, 0.5, 0.75, 1)})
    rows = []
    for seed in seeds_of(source):
        own = {epoch: _by_layer(found, seed, epoch) for epoch in shown}
        last = own[shown[-1]]
        row: list[object] = [seed]
        for epoch in shown:
            values = own[epoch]
            if not values or values.keys() != last.keys():
                row.append("–")
                continue
            first = max((layer for layer in values if layer != max(values)), key=lambda layer: values[layer])
            rank = float(spearmanr([values[i] for i in last], list(last.values())).statistic)
            row.append(f"{first} ({rank:+.2f})")
        rows.append(row)
    return table(("seed", *(f"epoch {epoch}" for epoch in shown)), rows)


def _by_layer(numbers: Iterable[Number], seed: int, epoch: int) -> dict[int, float]:
    own = (n for n in numbers if n.about.seed == seed and n.about.epoch == epoch)
    return {n.about.layer or 0: n.value for n in own}
