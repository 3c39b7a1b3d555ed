"""The page of the paper on lighter robust models: its tables with ours beside them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from semirobust.reports import Seeds, Source, cells, paired, percent, plain, points, render, table

__all__ = ["page"]

_SIZES = ("5,590", "20k", "80k", "320k", "1.2m", "4.8m")  # table I
# Tables II and III, clean and under the attack of training; of the last two scales only one table can be
# read.
_PGD = ((89.67, 5.5), (93.43, 4.25), (95.92, 3.11), (98.29, 83.96))
_FGSM = ((94.57, 5.74), (95.54, 6.8), (96.38, 5.66), (98.36, 92.02), (98.84, 88.01), (95.90, 92.09))
_DATA = {
    "mnist": "MNIST, 0.3",
    "fashion-mnist": "Fashion-MNIST, 0.1",
    "cifar10": "CIFAR-10, 8/255",
    "cifar10-more": "CIFAR-10, 8/255, 30,000 images for 5 epochs in place of 6,000 for 25",
}
_TRAININGS = {"standard": "standard", "fgsm": "FGSM", "pgd": "PGD"}
_LOTTERIES = {
    "lottery-standard": "standard training",
    "lottery-fgsm": "FGSM training",
    "lottery-pgd": "PGD training",
}
_ARMS = {"ticket": "ticket", "fresh-weights": "fresh weights", "random-weights": "weights pruned at random"}
_WORTHS = {
    "useful": "usefulness",
    "robust": "robust usefulness",
    "original": "usefulness of Ilyas et al.",
    "original-robust": "the same, robust",
    "actual": "actual usefulness",
}
_WHOLE = {
    "whole-longer-attack": "whole, 20 steps in training",
    "whole-more-epochs": "whole, 60 epochs in place of 12",
}
_AGREEMENTS = {
    "rank agreement": "size of actual usefulness, its product with the weight",
    "rank agreement.weights": "size of the weight alone",
}
_DROPS = {
    "usefulness": "least useful",
    "robust-usefulness": "least robustly useful",
    "magnitude": "smallest weights",
    "gradient": "smallest weight × gradient",
    "random": "at random",
}
_SPARSE = {
    "whole": "nothing pruned, trained on as long",
    "global": "magnitude, all layers together",
    "even": "magnitude relative to the layer's mean",
    "critical-stay": "– layers that are not critical first",
    "critical-go": "– critical layers first",
    "robust-stay": "– layers where semirobustness drops first",
    "robust-go": "– the other layers first",
    "random": "– layers in random order",
}
_SHRUNK = {
    "half-even": "channels, relative to the layer's mean",
    "half-critical-stay": "– layers that are not critical first",
    "half-critical-go": "– critical layers first",
    "half-random": "– layers in random order",
}


def page(source: Source, scale: str, what: str) -> str:
    """Markdown from the records of a reproduction at one scale; sections without records are left out."""
    return render(
        Path(__file__).with_name("page.md.j2"),
        scale=scale,
        what=what,
        sizes=_sizes(source),
        capacity=[(words, found) for name, words in _DATA.items() if (found := _capacity(source, name))],
        features=_features(source),
        lotteries=[(words, found) for name, words in _LOTTERIES.items() if (found := _lottery(source, name))],
        decided=_decided(source),
        dropped=_dropped(source),
        sparse=_sparse(source),
        half=_half(source),
        cost=_cost(source),
    )


def _sizes(source: Source) -> str:
    rows = []
    for size, papers in enumerate(_SIZES):
        found = cells(source, "size.parameters", network="capacity-mnist", unit=f"standard-{size}")
        work = cells(source, "size.multiplications", network="capacity-mnist", unit=f"standard-{size}")
        if found:
            filters = f"{2 * 2**size}, {4 * 2**size}, {100 * 2**size}"
            rows.append((size, filters, papers, f"{found.mean:,.0f}", f"{work.mean:,.0f}"))
    return table(("scale", "filters, filters, hidden", "parameters, paper", "ours", "multiplications"), rows)


def _capacity(source: Source, data: str) -> str:
    """One row for each scale; accuracies by training, the paper's beside them."""
    rows = []
    for size in range(len(_SIZES)):
        row: list[str] = []
        for name in _TRAININGS:
            for attack in ("clean", "fgsm", "pgd-40"):
                labels = {"network": f"capacity-{data}", "unit": f"{name}-{size}", "attack": attack}
                row.append(percent(cells(source, "accuracy", **labels)))
        if any(cell != "–" for cell in row):
            papers = [_pair(known, size) for known in (_FGSM, _PGD)] if data == "mnist" else []
            rows.append((size, *row[:3], *row[3:6], *papers[:1], *row[6:], *papers[1:]))
    own = {name: [f"{words}-trained: clean", "FGSM", "PGD-40"] for name, words in _TRAININGS.items()}
    known = ["paper: clean, FGSM"], ["paper: clean, PGD"]
    head = ["scale", *own["standard"], *own["fgsm"], *(known[0] if data == "mnist" else []), *own["pgd"]]
    return table([*head, *(known[1] if data == "mnist" else [])], rows)


def _pair(known: Sequence[tuple[float, float]], size: int) -> str:
    return f"{known[size][0]}, {known[size][1]}" if size < len(known) else "–"


def _features(source: Source) -> str:
    """Shares of features and means over them, by training and attack on single features."""
    rows = []
    kinds = [(t, a) for t in ("standard", "pgd") for a in ("3 steps of 0.01", "40 steps")]
    for kind, words in _WORTHS.items():
        for name, text, write in (
            ("mean", f"{words}, mean", plain),
            ("positive", f"{words}, share above 0", percent),
        ):
            found = [
                cells(source, f"features.{kind}.{name}", network=f"features-{t}", attack=a) for t, a in kinds
            ]
            if any(found) and not (name == "positive" and kind == "original"):
                rows.append((text, *(write(one) for one in found)))
    for name, words in _AGREEMENTS.items():
        found = [cells(source, f"features.{name}", network=f"features-{t}", attack=a) for t, a in kinds]
        if any(found):
            rows.append((f"rank correlation, usefulness of Ilyas et al. and {words}", *map(plain, found)))
    for attack in ("clean", "pgd-40"):
        found = [cells(source, "accuracy", network=f"features-{t}", attack=attack) for t, _ in kinds]
        if any(found):
            rows.append((f"accuracy of the network, {attack}, %", *map(percent, found)))
    return table(("", *(f"{_TRAININGS[t]} training, {a}" for t, a in kinds)), rows)


def _lottery(source: Source, network: str) -> str:
    """One row for every second level: what is left, and accuracies by arm with the ticket's lead."""
    arms = [arm for arm in _ARMS if cells(source, "prune.density", network=network, unit=arm)]
    attacks = ("clean", "fgsm", "pgd-40")
    rows = []
    for level in _levels(source, network)[::2]:
        here: dict[str, object] = {"network": network, "level": level}
        density = cells(source, "prune.density", unit=arms[0], **here)
        found = {
            (arm, a): cells(source, "accuracy", unit=arm, attack=a, **here) for arm in arms for a in attacks
        }
        row = [percent(found[arm, a]) for arm in arms for a in attacks]
        if {"ticket", "fresh-weights"} <= set(arms):
            row += [points(paired(found["ticket", a], found["fresh-weights", a])) for a in attacks]
        rows.append((f"{100 * density.mean:.3g}", *row))
    leads = ["ticket less fresh: clean", "FGSM", "PGD-40"] if {"ticket", "fresh-weights"} <= set(arms) else []
    return table(("left, %", *(f"{_ARMS[arm]}: {a}" for arm in arms for a in attacks), *leads), rows)


def _decided(source: Source) -> str:
    """AutoAttack on levels of tickets, and the whole network trained against more steps, or for longer."""
    rows = list[Sequence[str]]()
    levels = sorted({int(n.labels["level"]) for n in source.named("decided.density") if "level" in n.labels})
    for level in levels:
        here: dict[str, object] = {"network": "lottery-pgd", "unit": "decided", "level": level}
        left = 100 * cells(source, "decided.density", **here).mean
        found = [percent(cells(source, "accuracy", attack=a, **here)) for a in ("clean", "autoattack")]
        pgd = percent(
            cells(source, "accuracy", network="lottery-pgd", unit="ticket", level=level, attack="pgd-40")
        )
        rows.append((f"{left:.3g} % of the weights", found[0], pgd, found[1]))
    for unit, words in _WHOLE.items():
        found = [
            percent(cells(source, "accuracy", network="lottery-pgd", unit=unit, attack=a))
            for a in ("clean", "pgd-40")
        ]
        if found[0] != "–":
            decided = cells(
                source,
                "accuracy",
                network="lottery-pgd",
                unit="decided",
                whole=unit[6:].replace("-", " "),
                attack="autoattack",
            )
            rows.append((words, *found, percent(decided)))
    return table(("", "clean", "PGD-40, 5,000 images", "AutoAttack, 500 images"), rows)


def _dropped(source: Source) -> str:
    """PGD-40 by features left and what chose them."""
    rows = []
    arms = [arm for arm in _DROPS if cells(source, "prune.density", network="dropped", unit=arm)]
    others = [arm for arm in arms if arm != "random" and "random" in arms]
    for level in _levels(source, "dropped"):
        here: dict[str, object] = {"network": "dropped", "level": level}
        left = cells(source, "prune.features", unit=arms[0], **here)
        robust, clean = (
            {arm: cells(source, "accuracy", unit=arm, attack=a, **here) for arm in arms}
            for a in ("pgd-40", "clean")
        )
        leads = [points(paired(robust[arm], robust["random"])) for arm in others]
        rows.append(
            (
                f"{left.mean:.0f}" if left else "–",
                *map(percent, robust.values()),
                *leads,
                *map(percent, clean.values()),
            )
        )
    words = [_DROPS[arm] for arm in arms]
    leads = [f"{_DROPS[arm]} less at random" for arm in others]
    return table(("features left", *words, *leads, *(f"{word}, clean" for word in words)), rows)


def _sparse(source: Source) -> str:
    """A fifth of the weights left, by which layers keep more; less the control that treats all alike."""
    return _compared(source, _SPARSE, "even", {"level": 1})


def _half(source: Source) -> str:
    """Half of the multiplications left, the same; with a narrower network from scratch and the whole one
    trained on.
    """
    rows = _rows(source, _SHRUNK, "half-even", {"arm": "trained again"})
    others = _rows(
        source, {"narrow": "a narrower network from scratch, as many epochs in all"}, "half-even", {}
    )
    others += _rows(source, {"whole": _SPARSE["whole"]}, "half-even", {"level": 1})
    return table(_HEAD, rows + others) if rows else ""


_HEAD = ("", "clean, %", "PGD-20, %", "PGD-20 less the first's", "seeds")


def _compared(source: Source, arms: Mapping[str, str], control: str, labels: Mapping[str, object]) -> str:
    found = _rows(source, arms, control, labels)
    return (
        table((*_HEAD[:3], "PGD-20 less that relative to the layer's mean", "seeds"), found) if found else ""
    )


def _rows(
    source: Source, arms: Mapping[str, str], control: str, labels: Mapping[str, object]
) -> list[Sequence[object]]:
    """Clean and PGD-20 for each arm, paired with the control that its labels or those of channels pick."""
    own = {"arm": "trained again"} if control.startswith("half") else {"level": 1}
    base = _accuracy(source, control, "pgd-20", own)
    rows: list[Sequence[object]] = []
    for arm, words in arms.items():
        clean, robust = (_accuracy(source, arm, attack, labels) for attack in ("clean", "pgd-20"))
        if robust:
            less = "" if arm == control else points(paired(robust, base))
            rows.append((words, percent(clean), percent(robust), less, len(robust.values)))
    return rows


def _accuracy(source: Source, unit: str, attack: str, labels: Mapping[str, object]) -> Seeds:
    return cells(source, "accuracy", network="layers", unit=unit, attack=attack, **labels)


def _cost(source: Source) -> str:
    """What half of the multiplications cost: time, parameters, memory."""
    rows = []
    for unit, words in _SHRUNK.items():
        here: dict[str, object] = {"network": "layers", "unit": unit}
        names = ("ratio", "multiplications", "parameters", "megabytes")
        after, before = (
            {n: cells(source, f"cost.{n}", arm=arm, **here) for n in names}
            for arm in ("trained again", "before")
        )
        if after["ratio"]:
            shares = [percent(_share(after[n], before[n])) for n in names[1:]]
            rows.append((words, plain(after["ratio"]), *shares))
    return table(("", "time, before = 1", "multiplications, %", "parameters, %", "memory, %"), rows)


def _share(after: Seeds, before: Seeds) -> Seeds:
    return Seeds(
        {
            seed: after.values[seed] / before.values[seed]
            for seed in after.values.keys() & before.values.keys()
        }
    )


def _levels(source: Source, network: str) -> list[int]:
    return sorted(
        {int(n.labels["level"]) for n in source.named("prune.density") if n.labels["network"] == network}
    )
