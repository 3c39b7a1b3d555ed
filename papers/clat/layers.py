"""Tables of layers: which are critical, whether that is stable, and whether it drifts."""

from collections.abc import Collection, Iterable

from scipy.stats import spearmanr

from semirobust.records import Number
from semirobust.reports import Seeds, Source, cells, percent, plain, points, table

from .criteria import index_name

__all__ = ["drift", "index", "overfitting", "seeds_of", "stability"]


def overfitting(source: Source) -> str:
    """How far the base's robust accuracy fell behind its best epoch, on held-out images."""
    falls, epochs = dict[int, float](), dict[int, float]()
    for seed in seeds_of(source):
        robust = _course(source, "validation.robust", seed)
        if robust:
            best = max(robust, key=lambda epoch: robust[epoch])
            falls[seed], epochs[seed] = robust[max(robust)] - robust[best], float(best)
    if not falls:
        return "–"
    last = max(
        int(n.labels["epoch"]) for n in source.named("validation.robust") if n.labels["unit"] == "base"
    )
    ends = {seed: _course(source, "train.loss", seed)[last] for seed in falls}
    return (
        f"On held-out images the base's accuracy under attack after its last epoch, {last}, is"
        f" {points(Seeds(falls))} points from its best one, which is epoch {plain(Seeds(epochs), 0)}; its"
        f" loss on the training images ends at {plain(Seeds(ends))} nats."
    )


def seeds_of(source: Source) -> list[int]:
    """All seeds, ascending."""
    return sorted({int(n.labels["seed"]) for n in source.numbers})


def _course(source: Source, name: str, seed: int) -> dict[int, float]:
    """A number of the base by epoch."""
    found = (n for n in source.named(name) if n.labels["unit"] == "base" and int(n.labels["seed"]) == seed)
    return {int(n.labels["epoch"]): n.value for n in found}


def index(source: Source, listed: Collection[int]) -> str:
    """The five highest layers in every form, and how many of those that the paper lists are among them."""
    found, rows = source.named("layer.criticality"), []
    for form, scale, at in dict.fromkeys(
        (str(n.labels["form"]), str(n.labels["scale"]), str(n.labels["at"])) for n in found
    ):
        name = index_name(form, scale, at)
        if not name:
            continue
        own = [n for n in found if (n.labels["form"], n.labels["scale"], n.labels["at"]) == (form, scale, at)]
        tops, hits = [], dict[int, float]()
        for seed in seeds_of(source):
            top = _top([n for n in own if int(n.labels["seed"]) == seed])
            if top:
                tops.append(", ".join(map(str, top)))
                hits[seed] = float(len(set(top) & set(listed)))
        candidates = sorted({int(n.labels["layer"]) for n in own})[:-1]
        chance = 5 * len(set(candidates) & set(listed)) / len(candidates)
        rows.append((name, "; ".join(tops), plain(Seeds(hits), 1), f"{chance:.1f}"))
    return table(
        ("form, scale, taken at", "five highest, seed by seed", "of the paper's five", "by chance"), rows
    )


def _top(numbers: Iterable[Number], k: int = 5) -> list[int]:
    numbers = list(numbers)
    last = max((int(n.labels["layer"]) for n in numbers), default=0)
    ranked = sorted((n for n in numbers if int(n.labels["layer"]) != last), key=lambda n: -n.value)
    return [int(n.labels["layer"]) for n in ranked[:k]]


def stability(source: Source) -> str:
    """Share of the top layers that a batch finds."""
    found, rows = source.named("stability.agreement"), []
    sizes = sorted({int(n.labels["size"]) for n in found})
    for scale, k in dict.fromkeys((str(n.labels["scale"]), int(n.labels["k"])) for n in found):
        agreement = [
            percent(cells(source, "stability.agreement", scale=scale, k=k, size=size), 0) for size in sizes
        ]
        ends = [
            percent(cells(source, f"stability.{name}", scale=scale, k=k), 0) for name in ("seeds", "chance")
        ]
        rows.append(({"paper": "1/N", "rms": "1/√N"}[scale], k, *agreement, *ends))
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
    found = [n for n in source.named("validation.criticality") if n.labels["unit"] == "base"]
    epochs = sorted({int(n.labels["epoch"]) for n in found})
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
    own = (n for n in numbers if int(n.labels["seed"]) == seed and int(n.labels["epoch"]) == epoch)
    return {int(n.labels["layer"]): n.value for n in own}
