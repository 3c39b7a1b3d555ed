"""What the paper on lighter robust models claims, each claim with the runs that decide it."""

from collections.abc import Iterator
from typing import Literal

from semirobust.records import Fields, Quantity
from semirobust.reports import Claim, Side

__all__ = ["claims"]

_MNIST, _FGSM, _NORMAL, _PGD = ("capacity-mnist",), ("lottery-fgsm",), ("lottery-standard",), ("lottery-pgd",)
_FEATURES, _LAYERS = ("features-standard",), ("layers",)
_NONE = 0.005  # a difference of accuracies that counts as none
_LOST = -0.01  # what may be lost and still counts as kept
_LITTLE = 0.1  # an accuracy under attack that counts as no robustness: chance
# Levels of pruning: what is left, in per cent.
_LEFT = {6: "12", 8: "6", 12: "1.4", 18: "0.16"}


def claims() -> list[Claim]:
    """In the order of the page."""
    return [*_of_capacity(), *_of_features(), *_of_tickets(), *_of_robust_tickets(), *_of_layers()]


def _sized(training: str, size: int, attack: str) -> Side:
    return Side(Quantity.ACCURACY, Fields(training=training, size=size, attack=attack))


def _ticket(level: int, attack: str, unit: str = "ticket", network: str | None = None) -> Side:
    fields = Fields(unit=unit, level=level, attack=attack)
    return Side(Quantity.ACCURACY, fields if network is None else Fields(network=network, **fields))


def _of_capacity() -> Iterator[Claim]:
    family = "capacity"
    for size, theirs in ((0, "5.5 %"), (1, "4.3 %"), (2, "3.1 %")):
        words = f"PGD training at scale {size} gives no robustness: below 10 % under PGD-40"
        yield Claim(
            "table II", words, theirs, family, _MNIST, _sized("pgd", size, "pgd-40"), None, "less", _LITTLE,
            unit="percent",
        )  # fmt: skip
    words = "a PGD-trained network of scale 3 is more robust than one of scale 2 (PGD-40)"
    yield Claim(
        "table II", words, "+80.9", family, _MNIST, _sized("pgd", 3, "pgd-40"), _sized("pgd", 2, "pgd-40")
    )
    words = "FGSM training at scale 2 gives no robustness: below 10 % under FGSM"
    yield Claim(
        "table III", words, "5.7 %", family, _MNIST, _sized("fgsm", 2, "fgsm"), None, "less", _LITTLE,
        unit="percent",
    )  # fmt: skip
    words = "an FGSM-trained network of scale 3 is more robust than one of scale 2 (FGSM)"
    yield Claim(
        "table III", words, "+86.4", family, _MNIST, _sized("fgsm", 3, "fgsm"), _sized("fgsm", 2, "fgsm")
    )
    words = "FGSM training at scale 3 makes robust: above 10 % under PGD-40"
    yield Claim(
        "figure 2", words, "92.0 % by FGSM", family, _MNIST, _sized("fgsm", 3, "pgd-40"), null=_LITTLE,
        unit="percent",
    )  # fmt: skip


def _of_features() -> Iterator[Claim]:
    def positive(part: str, attack: str) -> Side:
        return Side(Quantity.FEATURE_POSITIVE, Fields(part=part, attack=attack))

    few = "3 steps of 0.01"
    for attack, end in ((few, "as the paper attacks"), ("40 steps", "attacked to the end")):
        words = f"no feature of a standard network has a robust usefulness above 0, {end}"
        yield Claim(
            "figure 8", words, "0 of 100", "features", _FEATURES, positive("robust", attack), None, "less",
            0.005, unit="percent", exact=True,
        )  # fmt: skip
    words = "most features have an actual usefulness above 0"
    yield Claim(
        "figures 5 and 6", words, "most", "features", _FEATURES, positive("actual", few), null=0.5,
        unit="percent",
    )  # fmt: skip
    words = "what is useful is what the network uses: usefulness and size of the weight order features alike"
    agree = Side(Quantity.RANK_AGREEMENT, Fields(part="weights", attack=few))
    yield Claim("figure 7", words, "a figure", "features", _FEATURES, agree, unit="number")


def _of_tickets() -> Iterator[Claim]:
    family = "tickets, standard training"
    words = "a ticket of 1.4 % of the weights keeps the clean accuracy of the whole, within a point"
    yield Claim(
        "figure 9", words, "kept to 1.5 %", family, _NORMAL, _ticket(12, "clean"), _ticket(0, "clean"),
        null=_LOST,
    )  # fmt: skip
    for level in (6, 8, 12):
        words = f"with {_LEFT[level]} % of the weights a ticket is better than fresh weights, on clean images"
        fresh = _ticket(level, "clean", "fresh-weights")
        yield Claim(
            "figure 9", words, "a figure", family, _NORMAL, _ticket(level, "clean"), fresh, trivial=_NONE
        )
    words = "under FGSM a ticket of 6 % is better where it was trained under FGSM than by standard training"
    yield Claim(
        "figures 10 and 12", words, "a figure", family, _FGSM, _ticket(8, "fgsm"),
        _ticket(8, "fgsm", network=_NORMAL[0]), trivial=_NONE,
    )  # fmt: skip


def _of_robust_tickets() -> Iterator[Claim]:
    family = "tickets, FGSM training"
    for level in (12, 18):
        words = f"a ticket of {_LEFT[level]} % keeps the clean accuracy of the whole, within a point"
        yield Claim(
            "figure 11", words, "hardly changes", family, _FGSM, _ticket(level, "clean"), _ticket(0, "clean"),
            null=_LOST,
        )  # fmt: skip
    words = "a ticket of 6 % keeps the accuracy of the whole under FGSM, within a point"
    yield Claim("figure 12", words, "kept", family, _FGSM, _ticket(8, "fgsm"), _ticket(0, "fgsm"), null=_LOST)
    words = "what a ticket of 6 % keeps under FGSM is robustness: above 10 % under PGD-40"
    yield Claim("figure 12", words, "–", family, _FGSM, _ticket(8, "pgd-40"), null=_LITTLE, unit="percent")
    words = "with 6 % of the weights a ticket is better than fresh weights under FGSM"
    fresh = _ticket(8, "fgsm", "fresh-weights")
    yield Claim("figure 12", words, "a figure", family, _FGSM, _ticket(8, "fgsm"), fresh, trivial=_NONE)
    family = "tickets, PGD training"
    for attack, unit, name in (("pgd-40", "ticket", "PGD-40"), ("autoattack", "decided", "AutoAttack")):
        words = f"under PGD training a ticket of 6 % is more robust than the whole network ({name})"
        yield Claim(
            "ours", words, "–", family, _PGD, _ticket(8, attack, unit), _ticket(0, attack, unit),
            trivial=_NONE,
        )  # fmt: skip
    longer = Side(Quantity.ACCURACY, Fields(unit="decided", arm="whole-more-epochs", attack="autoattack"))
    words = "that ticket is more robust than the whole network after five times the epochs (AutoAttack)"
    yield Claim("ours", words, "–", family, _PGD, _ticket(8, "autoattack", "decided"), longer, trivial=_NONE)


def _of_layers() -> Iterator[Claim]:
    def pruned(unit: str) -> Side:
        return Side(Quantity.ACCURACY, Fields(unit=unit, level=1, attack="pgd-20"))

    arms: dict[str, tuple[str, Literal["more", "less"]]] = {
        "critical-stay": ("layers that are not critical", "more"),
        "critical-go": ("critical layers", "less"),
        "robust-stay": ("layers where semirobustness drops", "more"),
        "robust-go": ("layers where semirobustness does not drop", "less"),
        "random": ("layers in random order", "less"),
    }
    for unit, (name, way) in arms.items():
        how = "better" if way == "more" else "worse"
        words = f"pruning {name} first is {how} than pruning all alike, under PGD"
        yield Claim("ours", words, "–", "layers", _LAYERS, pruned(unit), pruned("even"), way, trivial=_NONE)
