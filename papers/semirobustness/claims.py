"""What the semirobustness paper claims, each claim with the runs that decide it."""

from collections.abc import Iterator

from semirobust.records import Fields, Quantity
from semirobust.reports import Claim, Seeds, Side, Source, by_seed, cells, paired

from .numbers import accuracy, pgd_name
from .runs import DRAWN, PLAIN

__all__ = ["claims"]

_PLACES = ("resnet18-cifar10",)
_LOST = -0.01  # what may be lost of f*'s accuracy and still counts as its own
_NONE = 0.005  # a difference of accuracies that counts as none
_UNDER = {
    "pgd": "under PGD",
    "autoattack": "under AutoAttack",
    "fgsm": "under FGSM",
    "clean": "on clean images",
}
# Tables 1 and 3, ResNet-18 on CIFAR-10: what the suffix has after training less f*, by attack and size.
_THEIRS = {
    ("autoattack", 4): "+0.1", ("autoattack", 12): "+0.7", ("pgd", 4): "-2.0", ("pgd", 12): "-4.8",
    ("fgsm", 4): "-1.7", ("fgsm", 12): "-5.0", ("clean", 4): "+1.8", ("clean", 12): "-3.4",
}  # fmt: skip
_DECIDED = 12  # the suffix at which variants are compared


def claims() -> list[Claim]:
    """In the order of the page."""
    return [*_of_recovery(), *_of_prefixes(), *_of_dependence(), *_of_readouts(), *_of_bounds()]


def _of_recovery() -> Iterator[Claim]:
    for (attack, size), theirs in _THEIRS.items():
        item = "table 1" if attack == "autoattack" else "table 3"
        words = f"training the last {size} layers alone brings f*'s accuracy back, within a point,"
        yield Claim(
            item, f"{words} {_UNDER[attack]}", theirs, f"recovery, {_UNDER[attack]}", _PLACES,
            _after(attack, size), _star(attack), null=_LOST,
        )  # fmt: skip
    words = "training the last 12 layers for as many epochs as f* had brings it back, within a point,"
    yield Claim(
        "ours", f"{words} {_UNDER['pgd']}", "–", f"recovery, {_UNDER['pgd']}", _PLACES,
        _after("pgd", _DECIDED, "long"), _star("pgd"), null=_LOST,
    )  # fmt: skip
    long, star = _under_pgd("long-suffix"), _under_pgd("precise-starts", "robust")
    words = f"{words} {_UNDER['pgd']}, on all test images"
    yield Claim("ours", words, "–", f"recovery, {_UNDER['pgd']}", (DRAWN,), long, star, null=_LOST)
    words = "training the last 12 layers alone ends above training everything, with equal epochs and attacks"
    yield Claim(
        "ours", words, "–", "the fair rival", (DRAWN,), long, _under_pgd("long-everything"), trivial=_NONE
    )
    words = "a robust prefix and its suffix trained alone end above everything trained from F, likewise"
    yield Claim(
        "ours", words, "–", "the fair rival", (DRAWN,), long, _under_pgd("long-from-normal"), trivial=_NONE
    )


def _of_prefixes() -> Iterator[Claim]:
    family = "prefixes"
    normal = Side(
        Quantity.ACCURACY, Fields(prefix="normal", suffix=_DECIDED, attack="pgd-20", unit="controls")
    )
    words = "a suffix of 12 ends better behind a robust prefix than behind a normal one, under PGD"
    yield Claim("theorem 2", words, "–", family, _PLACES, _after("pgd", _DECIDED), normal, trivial=_NONE)
    words = "a larger robust prefix leaves less to recover: a suffix of 4 ends above one of 16, under PGD"
    yield Claim("B.2", words, "–", family, _PLACES, _after("pgd", 4), _after("pgd", 16), trivial=_NONE)
    right = [
        Side(
            Quantity.MEASURE,
            Fields(measure="semirobustness", part="accuracy", arm=arm, layer=17, unit="prefixes"),
        )
        for arm in ("robust", "normal")
    ]
    words = "a head on the first 17 layers of f* is right under attack more often than on those of F"
    yield Claim("definition 1", words, "–", family, _PLACES, right[0], right[1], trivial=_NONE)
    gamma = Side(
        Quantity.MEASURE, Fields(measure="semirobustness", part=None, arm="robust", layer=17, unit="prefixes")
    )
    words = "the first 17 layers of f* are semirobust: the expected margin of the head is above 0"
    yield Claim("definition 1", words, "–", family, _PLACES, gamma, unit="number")


def _of_dependence() -> Iterator[Claim]:
    family = "dependence"
    words = "the dependence that EDGE reads is more than a bit above what it reads on permuted rows"
    yield Claim("table 1", words, "3 to 8 bits", family, _PLACES, _excess, null=1.0, unit="number")
    words = "dependence between the layers of a suffix of 12 rises as it is trained"
    yield Claim("figure 2", words, "a figure", family, _PLACES, _rise, unit="number")
    words = "EDGE reads more than a bit above permuted rows at 1,000 images a class of f*"
    yield Claim("table 1", words, "3 to 9 bits", family, (DRAWN,), _bits, null=1.0, unit="number")
    for on, layer in (("prefix", "the last layer of the prefix"), ("before", "the layer before each")):
        asked, none = f"asked-{on}-5", "asked-none"
        words = f"a term of weight 5 for dependence on {layer} raises it, on held-out images"
        more, less = _depends(asked, on), _depends(none, on)
        yield Claim("ours", words, "–", family, (DRAWN,), more, less, unit="number")
        words = f"that term, on {layer}, makes the trained suffix more robust under PGD"
        more, less = _under_pgd(asked), _under_pgd(none)
        yield Claim("outlook", words, "–", family, (DRAWN,), more, less, trivial=_NONE)
    words = "a term of weight -5, for less dependence on the prefix, makes it less robust under PGD"
    less = _under_pgd("asked-prefix-less")
    yield Claim("ours", words, "–", family, (DRAWN,), less, _under_pgd("asked-none"), "less", trivial=_NONE)
    words = "an HSIC term of weight 0.5 on the layer before, whose effect on dependence was not recorded,"
    words = f"{words} makes the trained suffix more robust under PGD"
    yield Claim(
        "outlook", words, "–", family, _PLACES, _after("pgd", _DECIDED, "hsic"), _after("pgd", _DECIDED),
        trivial=_NONE,
    )  # fmt: skip


def _of_readouts() -> Iterator[Claim]:
    family = "read-outs"
    for layer, theirs in ((17, "+1.8"), (13, "+1.5"), (9, "+0.8")):
        words = f"a linear read-out of the first {layer} layers, in sample, keeps f*'s accuracy under PGD"
        words = f"{words}, within a point"
        yield Claim(
            "table 2", words, theirs, family, _PLACES, _readout(layer, "paper"), _readout(layer, "network"),
            null=_LOST,
        )  # fmt: skip
    words = "such a read-out of the first 17 layers keeps it on images that it was not fitted on"
    yield Claim("ours", words, "–", family, _PLACES, _readout(17, None), _readout(17, "network"), null=_LOST)
    words = "such a read-out of the first 17 layers keeps it where the read-out itself is attacked"
    yield Claim(
        "ours", words, "–", family, _PLACES, _readout(17, "attacked"), _readout(17, "network"), null=_LOST
    )


def _of_bounds() -> Iterator[Claim]:
    bound, loss = (
        Side(quantity, Fields(suffix=_DECIDED, when="start", variant=PLAIN))
        for quantity in (Quantity.QUADRATIC_BOUND, Quantity.LOSS_DIFFERENCE)
    )
    words = "bound (a) on the difference of performance is above the difference, in nats"
    yield Claim("equation 12", words, "–", "bounds", _PLACES, bound, loss, unit="number", exact=True)


def _under_pgd(unit: str, arm: str = "arm") -> Side:
    return Side(Quantity.ACCURACY, Fields(unit=unit, arm=arm, attack="pgd-20"))


def _depends(unit: str, on: str) -> Side:
    return Side(Quantity.MEASURE, Fields(measure="connectivity", part=on, unit=unit))


def _bits(source: Source) -> Seeds:
    source = source.only(unit="bits", arm="robust")
    value, null = (
        cells(source, Quantity.MEASURE, measure="connectivity", part=part)
        for part in ("bits", "bits permuted")
    )
    return paired(value, null)


class _Accuracy:
    """Of f*, or of a suffix after training."""

    def __init__(self, arm: str, attack: str, size: int | None = None, variant: str = PLAIN) -> None:
        self.asked = arm, attack, size, variant

    def __call__(self, source: Source) -> Seeds:
        arm, attack, size, variant = self.asked
        return accuracy(source, arm, pgd_name(source) if attack == "pgd" else attack, size, variant)


def _star(attack: str) -> _Accuracy:
    return _Accuracy("robust", attack)


def _after(attack: str, size: int, variant: str = PLAIN) -> _Accuracy:
    return _Accuracy("suffix", attack, size, variant)


def _readout(layer: int, part: str | None) -> Side:
    return Side(
        Quantity.MEASURE, Fields(measure="readout", part=part, arm="robust", layer=layer, unit="prefixes")
    )


def _watched(source: Source, epoch: int | None, part: str | None = None) -> Seeds:
    """EDGE over the layers of a suffix of 12, the mean, at an epoch or over all."""
    found = source.of(
        Quantity.VALIDATION_MEASURE,
        measure="connectivity",
        arm="suffix",
        suffix=_DECIDED,
        variant=PLAIN,
        part=part,
    )
    return by_seed(found, lambda n: epoch in (None, n.about.epoch))


def _excess(source: Source) -> Seeds:
    return paired(_watched(source, None), _watched(source, None, "null"))


def _rise(source: Source) -> Seeds:
    found = source.of(Quantity.VALIDATION_MEASURE, measure="connectivity", suffix=_DECIDED, variant=PLAIN)
    last = max((n.about.epoch or 0 for n in found), default=0)
    return paired(_watched(source, last), _watched(source, 0))
