"""Tables of layers: which are critical, whether that is stable, and whether it drifts."""

from collections.abc import Collection, Iterable

from scipy.stats import spearmanr

from semirobust.records import Number, Quantity
from semirobust.reports import Seeds, Source, cells, percent, plain, points, table

from .criteria import index_name

__all__ = ["drift", "index", "overfitting", "seeds_of", "stability"]


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


def index(source: Source, listed: Collection[int]) -> str:
    """The five highest layers in every form, and how many of those that the paper lists are among them."""
    found, rows = source.of(Quantity.MEASURE, measure="criticality"), []
    for kind in dict.fromkeys((n.about.form, n.about.scale, n.about.place) for n in found):
        name = index_name(*kind)
        if not name:
            continue
        own = [n for n in found if (n.about.form, n.about.scale, n.about.place) == kind]
        tops, hits = [], dict[int, float]()
        for seed in seeds_of(source):
            top = _top([n for n in own if n.about.seed == seed])
            if top:
                tops.append(", ".join(map(str, top)))
                hits[seed] = float(len(set(top) & set(listed)))
        candidates = sorted({n.about.layer or 0 for n in own})[:-1]
        chance = 5 * len(set(candidates) & set(listed)) / len(candidates)
        rows.append((name, "; ".join(tops), plain(Seeds(hits), 1), f"{chance:.1f}"))
    return table(
        ("form, scale, taken at", "five highest, seed by seed", "of the paper's five", "by chance"), rows
    )


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
    shown = (
        sorted({epochs[round(share * (len(epochs) - 1))] for share in (0, 0.1, 0.25, 0.5, 0.75, 1)})
        if epochs
        else []
    )
    rows = []
    for seed in seeds_of(source):
        own = {epoch: _by_layer(found, seed, epoch) for epoch in shown}
        last = own[shown[-1]] if shown else {}
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
