"""The page of the paper on lighter robust models: its tables with ours beside them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from semirobust.records import Fields, Quantity
from semirobust.reports import Seeds, Source, cells, paired, percent, plain, points, render, table

__all__ = ["page"]

_SIZES = ("5,590", "20k", "80k", "320k", "1.2m", "4.8m")  # table I
# Tables II and III, clean and under the attack of training; of the last two scales only one table can be
# read.
_PGD = ((89.67, 5.5), (93.43, 4.25), (95.92, 3.11), (98.29, 83.96))
_FGSM = ((94.57, 5.74), (95.54, 6.8), (96.38, 5.66), (98.36, 92.02), (98.84, 88.01), (95.90, 92.09))
_DATA = {
    "capacity-mnist": "MNIST, 0.3",
    "capacity-fashion-mnist": "Fashion-MNIST, 0.1",
    "capacity-cifar10": "CIFAR-10, 8/255",
    "capacity-cifar10-more": "CIFAR-10, 8/255, 30,000 images for 5 epochs in place of 6,000 for 25",
}
_TRAININGS = {"standard": "standard", "fgsm": "FGSM", "pgd": "PGD"}
_FEATURES = {"features-standard": "standard", "features-pgd": "PGD"}
_LOTTERIES = {
    "lottery-standard": "standard training",
    "lottery-fgsm": "FGSM training",
    "lottery-pgd": "PGD training",
}
_ARMS = {"ticket": "ticket", "fresh-weights": "fresh weights", "random-weights": "weights pruned at random"}
# Parts of the measure usefulness.
_WORTHS: dict[str | None, str] = {
    None: "usefulness",
    "robust": "robust usefulness",
    "original": "usefulness of Ilyas et al.",
    "original-robust": "the same, robust",
    "actual": "actual usefulness",
}
_WHOLE = {
    "whole-longer-attack": "whole, 20 steps in training",
    "whole-more-epochs": "whole, 60 epochs in place of 12",
}
_AGREEMENTS: dict[str | None, str] = {
    None: "size of actual usefulness, its product with the weight",
    "weights": "size of the weight alone",
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
        found, work = (
            cells(source, quantity, network="capacity-mnist", training="standard", size=size)
            for quantity in (Quantity.PARAMETERS, Quantity.MACS)
        )
        if found:
            filters = f"{2 * 2**size}, {4 * 2**size}, {100 * 2**size}"
            rows.append((size, filters, papers, f"{found.mean:,.0f}", f"{work.mean:,.0f}"))
    return table(("scale", "filters, filters, hidden", "parameters, paper", "ours", "multiplications"), rows)


def _capacity(source: Source, network: str) -> str:
    """One row for each scale; accuracies by training, the paper's beside them."""
    rows = []
    for size in range(len(_SIZES)):
        row: list[str] = []
        for name in _TRAININGS:
            for attack in ("clean", "fgsm", "pgd-40"):
                found = cells(
                    source, Quantity.ACCURACY, network=network, training=name, size=size, attack=attack
                )
                row.append(percent(found))
        if any(cell != "–" for cell in row):
            papers = [_pair(known, size) for known in (_FGSM, _PGD)] if network == "capacity-mnist" else []
            rows.append((size, *row[:3], *row[3:6], *papers[:1], *row[6:], *papers[1:]))
    own = {name: [f"{words}-trained: clean", "FGSM", "PGD-40"] for name, words in _TRAININGS.items()}
    known = ["paper: clean, FGSM"], ["paper: clean, PGD"]
    head = [
        "scale",
        *own["standard"],
        *own["fgsm"],
        *(known[0] if network == "capacity-mnist" else []),
        *own["pgd"],
    ]
    return table([*head, *(known[1] if network == "capacity-mnist" else [])], rows)


def _pair(known: Sequence[tuple[float, float]], size: int) -> str:
    return f"{known[size][0]}, {known[size][1]}" if size < len(known) else "–"


def _features(source: Source) -> str:
    """Shares of features and means over them, by training and attack on single features."""
    rows = []
    kinds = [(network, a) for network in _FEATURES for a in ("3 steps of 0.01", "40 steps")]
    for part, words in _WORTHS.items():
        for quantity, text, write in (
            (Quantity.FEATURE_MEAN, f"{words}, mean", plain),
            (Quantity.FEATURE_POSITIVE, f"{words}, share above 0", percent),
        ):
            found = [cells(source, quantity, part=part, network=n, attack=a) for n, a in kinds]
            if any(found) and not (quantity is Quantity.FEATURE_POSITIVE and part == "original"):
                rows.append((text, *(write(one) for one in found)))
    for part, words in _AGREEMENTS.items():
        found = [cells(source, Quantity.RANK_AGREEMENT, part=part, network=n, attack=a) for n, a in kinds]
        if any(found):
            rows.append((f"rank correlation, usefulness of Ilyas et al. and {words}", *map(plain, found)))
    for attack in ("clean", "pgd-40"):
        found = [cells(source, Quantity.ACCURACY, network=network, attack=attack) for network, _ in kinds]
        if any(found):
            rows.append((f"accuracy of the network, {attack}, %", *map(percent, found)))
    return table(("", *(f"{_FEATURES[network]} training, {a}" for network, a in kinds)), rows)


def _lottery(source: Source, network: str) -> str:
    """One row for every second level: what is left, and accuracies by arm with the ticket's lead."""
    arms = [arm for arm in _ARMS if cells(source, Quantity.DENSITY, network=network, unit=arm)]
    attacks = ("clean", "fgsm", "pgd-40")
    rows = []
    for level in _levels(source, network)[::2]:
        here = source.only(network=network, level=level)
        density = cells(here, Quantity.DENSITY, unit=arms[0])
        found = {
            (arm, a): cells(here, Quantity.ACCURACY, unit=arm, attack=a) for arm in arms for a in attacks
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
    source = source.only(network="lottery-pgd")
    decided = source.only(unit="decided")
    for level in sorted(decided.values(Quantity.DENSITY, lambda about: about.level)):
        left = 100 * cells(decided, Quantity.DENSITY, level=level).mean
        found = [
            percent(cells(decided, Quantity.ACCURACY, level=level, attack=a)) for a in ("clean", "autoattack")
        ]
        pgd = percent(cells(source, Quantity.ACCURACY, unit="ticket", level=level, attack="pgd-40"))
        rows.append((f"{left:.3g} % of the weights", found[0], pgd, found[1]))
    for unit, words in _WHOLE.items():
        found = [percent(cells(source, Quantity.ACCURACY, unit=unit, attack=a)) for a in ("clean", "pgd-40")]
        if found[0] != "–":
            strongest = cells(decided, Quantity.ACCURACY, arm=unit, attack="autoattack")
            rows.append((words, *found, percent(strongest)))
    return table(("", "clean", "PGD-40, 5,000 images", "AutoAttack, 500 images"), rows)


def _dropped(source: Source) -> str:
    """PGD-40 by features left and what chose them."""
    rows = []
    arms = [arm for arm in _DROPS if cells(source, Quantity.DENSITY, network="dropped", unit=arm)]
    others = [arm for arm in arms if arm != "random" and "random" in arms]
    for level in _levels(source, "dropped"):
        here = source.only(network="dropped", level=level)
        left = cells(here, Quantity.FEATURES_LEFT, unit=arms[0])
        robust, clean = (
            {arm: cells(here, Quantity.ACCURACY, unit=arm, attack=a) for arm in arms}
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


def _compared(source: Source, arms: Mapping[str, str], control: str, fields: Fields) -> str:
    found = _rows(source, arms, control, fields)
    return (
        table((*_HEAD[:3], "PGD-20 less that relative to the layer's mean", "seeds"), found) if found else ""
    )


def _rows(source: Source, arms: Mapping[str, str], control: str, fields: Fields) -> list[Sequence[object]]:
    """Clean and PGD-20 for each arm, paired with the control at the same level or of channels."""
    own: Fields = {"arm": "trained again"} if control in _SHRUNK else {"level": 1}
    base = _accuracy(source, control, "pgd-20", own)
    rows: list[Sequence[object]] = []
    for arm, words in arms.items():
        clean, robust = (_accuracy(source, arm, attack, fields) for attack in ("clean", "pgd-20"))
        if robust:
            less = "" if arm == control else points(paired(robust, base))
            rows.append((words, percent(clean), percent(robust), less, len(robust.values)))
    return rows


def _accuracy(source: Source, unit: str, attack: str, fields: Fields) -> Seeds:
    return cells(source.only(**fields), Quantity.ACCURACY, network="layers", unit=unit, attack=attack)


def _cost(source: Source) -> str:
    """What half of the multiplications cost: time, parameters, memory."""
    rows = []
    for unit, words in _SHRUNK.items():
        ratio = cells(source, Quantity.INFERENCE_RATIO, network="layers", unit=unit, arm="trained again")
        if not ratio:
            continue
        row = [plain(ratio)]
        for quantity in (Quantity.MACS, Quantity.PARAMETERS, Quantity.MEGABYTES):
            after, before = (
                cells(source, quantity, network="layers", unit=unit, arm=arm)
                for arm in ("trained again", "before")
            )
            row.append(percent(_share(after, before)))
        rows.append((words, *row))
    return table(("", "time, before = 1", "multiplications, %", "parameters, %", "memory, %"), rows)


def _share(after: Seeds, before: Seeds) -> Seeds:
    return Seeds(
        {
            seed: after.values[seed] / before.values[seed]
            for seed in after.values.keys() & before.values.keys()
        }
    )


def _levels(source: Source, network: str) -> list[int]:
    return sorted(source.only(network=network).values(Quantity.DENSITY, lambda about: about.level))
