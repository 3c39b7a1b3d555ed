"""What the CLAT paper claims, each claim with the arms that decide it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from statistics import median

from semirobust.records import Fields, Number, Quantity
from semirobust.reports import Claim, Seeds, Side, Source, cells

from .layers import first_layers, hits_over_chance

__all__ = ["claims"]

_LATE, _EARLY = ("drawn-late", "late"), ("early",)
_PGD, _AA, _CLEAN = "pgd-20", "autoattack", "clean"
_UNDER = {_PGD: "under PGD", _AA: "under AutoAttack", _CLEAN: "on clean images"}
_NONE = 0.005  # a difference of accuracies that counts as none
_CLAT, _CONTINUED = ("clat", "clat"), ("continued", "continued")
# What CLAT is said to be better than: arm and unit; in words; table and lead in points by attack.
_RIVALS: Mapping[tuple[str, str], tuple[str, Mapping[str, tuple[str, str]]]] = {
    _CONTINUED: (
        "PGD-AT continued",
        {_PGD: ("table 1", "+1.7"), _AA: ("table 2", "+2.4"), _CLEAN: ("table 1", "+2.4")},
    ),
    ("clat-random", "clat-random"): (
        "CLAT of random layers",
        {_PGD: ("table 7", "+4.3"), _AA: ("table 7", "+9.4"), _CLEAN: ("table 7", "+5.9")},
    ),
    ("clat-smallest", "clat-smallest"): (
        "CLAT of the least critical layers",
        {_PGD: ("table 20", "+1.4"), _AA: ("table 20", "+2.0"), _CLEAN: ("table 20", "+1.3")},
    ),
    ("clat-fixed", "clat-fixed"): (
        "CLAT with layers that are chosen once",
        {_PGD: ("table 5", "+3.6"), _AA: ("table 6", "+2.8")},
    ),
    ("rift", "rift"): ("RiFT", {_PGD: ("table 1", "+1.7"), _CLEAN: ("table 1", "+0.5")}),
    ("lora", "lora"): ("LoRA", {_PGD: ("table 1", "-0.0"), _CLEAN: ("table 1", "+7.3")}),
}
# The same of what the paper does not compare it with.
_CONTROLS = {
    ("start", "start"): "the network that it starts from",
    ("best", "start"): "the best epoch of the base",
    ("PGD-AT as clat", "clat"): "PGD-AT of the layers that it trains",
    ("suffix", "suffix"): "PGD-AT of the last 4 layers",
    ("autolora-authors", "autolora-authors"): "AutoLoRA",
    ("twins-authors", "twins-authors"): "TWINS",
    ("autolora", "autolora"): "our earlier form of AutoLoRA",
    ("twins", "twins"): "our earlier form of TWINS",
    ("wise", "wise"): "PGD-AT continued, interpolated with its start",
    ("trades continued", "trades"): "TRADES of all layers from the same network",
}
_ATTACKED = ("start", "PGD-AT as clat", "autolora-authors", "twins-authors", "trades continued")
# Base -> its name, table and lead in points.
_BASES = {
    "trades": ("TRADES", "table 1", "+1.3"),
    "mart": ("MART", "table 1", "+0.7"),
    "score": ("SCORE", "table 1", "+1.2"),
    "awp": ("AWP", "tables 1 and 18", "+1.4"),
    "swa": ("SWA-AT", "table 18", "+2.4"),
    "fast": ("Fast-AT", "table 1", "+6.6"),
    "augmented": ("PGD-AT with more augmentation", "table 19", "+3.7 and +2.4"),
}
_ARCHITECTURES = {
    "vgg19": ("VGG-19", "+2.2"),
    "densenet121": ("DenseNet-121", "+2.5"),
    "wrn_34_10": ("WRN-34-10", "+1.7"),
    "resnet50": ("ResNet-50", "+3.2"),
}
_LISTS = {
    "resnet18": ("ResNet-18", (11, 10, 4, 2, 12), ("late", "early")),
    "vgg19": ("VGG-19", (9, 11, 5, 3, 1), ("late-vgg19",)),
    "densenet121": ("DenseNet-121", (39, 14, 1, 3, 88), ()),
    "resnet50": ("ResNet-50", (34, 41, 48, 3, 36), ()),
    "wrn_34_10": ("WRN-34-10", (26, 1, 30, 3, 28), ()),
}
# Table 17, by the names of the attacks here.
_OTHER_ATTACKS = {
    "fab": ("FAB", "+3.7 and +5.0"),
    "stadv": ("StAdv", "+0.9 and +1.9"),
    "pixle": ("Pixle", "+2.2 and +1.9"),
    "pgd-10 l2 0.0313725": ("PGD in the 2-norm", "+1.9 and +1.5"),
    "pgd-50": ("PGD of 50 steps", "+1.9 and +2.0"),
    "pgd-100": ("PGD of 100 steps", "+1.6 and +1.9"),
}
_HANDED_OVER = (15, 30, 40)  # of 45 epochs


def claims() -> list[Claim]:
    """In the order of the page."""
    return [
        *_against_rivals(),
        *_on_other_bases(),
        *_overfitting(),
        *_under_other_attacks(),
        *_of_numbers_of_layers(),
        *_of_the_index(),
        *_of_cost(),
    ]


def _accuracy(arm: tuple[str, str], attack: str) -> Side:
    unit = _AA if attack == _AA else arm[1]
    return Side(Quantity.ACCURACY, Fields(arm=arm[0], unit=unit, attack=attack))


def _compared(
    one: tuple[str, str], other: tuple[str, str], attack: str, item: str, words: str, theirs: str = "–"
) -> Claim:
    """One arm better than another, after robust overfitting."""
    return Claim(
        item, f"{words} {_UNDER[attack]}", theirs, f"late, {_UNDER[attack]}", _LATE,
        _accuracy(one, attack), _accuracy(other, attack), trivial=_NONE,
    )  # fmt: skip


def _before(claim: Claim) -> Claim:
    """The same before robust overfitting."""
    family = claim.family.replace("late", "early")
    return replace(claim, words=f"{claim.words}, before overfitting", family=family, places=_EARLY)


def _against_rivals() -> Iterator[Claim]:
    for attack in _UNDER:
        for other, (name, numbers) in _RIVALS.items():
            if attack in numbers:
                item, theirs = numbers[attack]
                claim = _compared(_CLAT, other, attack, item, f"CLAT is better than {name}", theirs)
                yield claim
                if attack != _AA and other in (_CONTINUED, ("rift", "rift"), ("lora", "lora")):
                    yield _before(claim)
        for other, name in _CONTROLS.items():
            if attack == _PGD or (attack == _AA and other[0] in _ATTACKED):
                yield _compared(_CLAT, other, attack, "ours", f"CLAT is better than {name}")
    for attack, item, theirs in ((_PGD, "table 5", "-1.1"), (_AA, "table 6", "-0.4")):
        fixed = ("clat-fixed", "clat-fixed")
        words = "CLAT with layers that are chosen once is worse than PGD-AT continued"
        yield replace(_compared(fixed, _CONTINUED, attack, item, words, theirs), direction="less")


def _on_other_bases() -> Iterator[Claim]:
    family = "late, other bases and architectures"
    for base, (name, item, theirs) in _BASES.items():
        places = (f"drawn-late-{base}", f"late-{base}")
        words = f"CLAT after {name} is better than {name} continued under PGD"
        yield Claim(
            item, words, theirs, family, places,
            _accuracy(_CLAT, _PGD), _accuracy(_CONTINUED, _PGD), trivial=_NONE,
        )  # fmt: skip
    for name, (title, theirs) in _ARCHITECTURES.items():
        places = (f"late-{name}", f"early-{name}")
        words = f"CLAT is better than PGD-AT continued in a {title} under PGD"
        yield Claim(
            "table 1", words, theirs, family, places,
            _accuracy(_CLAT, _PGD), _accuracy(_CONTINUED, _PGD), trivial=_NONE,
        )  # fmt: skip
    for other, words, item, theirs in (
        ("autolora-authors", "CLAT after AutoLoRA is better than AutoLoRA under PGD", "table 1", "+4.3"),
        ("twins-authors", "CLAT after TWINS is better than TWINS under PGD", "table 2, AutoAttack", "+3.5"),
    ):
        after = ("clat", f"{other.partition('-')[0]}-clat")
        yield Claim(
            item, words, theirs, family, _LATE, _accuracy(after, _PGD), _accuracy((other, other), _PGD)
        )
    words = "CLAT makes a network from standard training robust under PGD"
    start = _accuracy(("start", "start"), _PGD)
    yield Claim("table 11", words, "34.5 %", family, ("late-standard",), _accuracy(_CLAT, _PGD), start)


def _overfitting() -> Iterator[Claim]:
    for epoch in _HANDED_OVER:
        words = f"CLAT from epoch {epoch} of 45 on, of one schedule, ends above PGD-AT to the end, under PGD"
        yield Claim(
            "figure 2", words, "a figure", "one schedule", (f"drawn-hand-over-{epoch}",),
            _accuracy(_CLAT, _PGD), _accuracy(_CONTINUED, _PGD), trivial=_NONE,
        )  # fmt: skip
    slower = [_accuracy((arm, "slower"), _PGD) for arm in ("clat, rate / 10", "continued, rate / 10")]
    words = "CLAT is better than PGD-AT continued at a tenth of the learning rate too"
    yield Claim("figure 6", words, "a figure", "a lower rate", _LATE, slower[0], slower[1], trivial=_NONE)


def _under_other_attacks() -> Iterator[Claim]:
    family = "other attacks"
    for attack, (name, theirs) in _OTHER_ATTACKS.items():
        one, other = (
            Side(Quantity.ACCURACY, Fields(arm=arm, unit="attacks", attack=attack))
            for arm in ("clat", "continued")
        )
        words = f"CLAT is better than PGD-AT continued under {name}"
        yield Claim("table 17", words, theirs, family, _LATE, one, other, trivial=_NONE)
    for k in (2, 16):
        one, other = (
            Side(Quantity.ACCURACY_BY_EPSILON, Fields(arm=arm, unit="attacks", epsilon=k / 255))
            for arm in ("clat", "continued")
        )
        words = f"CLAT is better than PGD-AT continued under PGD at {k}/255"
        yield Claim("figure 4", words, "a figure", family, _LATE, one, other, trivial=_NONE)
    one, other = (
        Side(Quantity.TRANSFER_ACCURACY, Fields(source="vgg19 continued", target=f"rn18 {arm}"))
        for arm in ("clat", "continued")
    )
    words = "CLAT is better than PGD-AT continued under PGD made for a VGG-19"
    yield Claim("table 4", words, "+3.5", family, ("late-vgg19",), one, other, trivial=_NONE)


def _of_numbers_of_layers() -> Iterator[Claim]:
    for k, words in (
        (2, "CLAT of two layers is worse than of 5 %, as the paper takes, under PGD"),
        (5, "CLAT of five layers is worse than of 5 %, under PGD"),
        (9, "CLAT of half of the layers is worse than of 5 %, under PGD"),
        (17, "CLAT of all layers but the classifier is worse than of 5 %, under PGD"),
    ):
        many = Side(Quantity.ACCURACY, Fields(arm=f"clat k={k}", attack=_PGD))
        yield Claim(
            "figure 3", words, "a figure", "number of layers", _LATE, many, _accuracy(_CLAT, _PGD),
            "less", trivial=_NONE,
        )  # fmt: skip


def _of_the_index() -> Iterator[Claim]:
    for name, (title, listed, more) in _LISTS.items():
        words = f"the printed index finds the critical layers of a {title}, more of the five than chance"
        yield Claim(
            "table 8", words, "5 of 5", "lists of layers", (f"forms-{name}", *more), _found(listed),
            unit="number", exact=True,
        )  # fmt: skip
    same = Side(Quantity.STABILITY_SAME, Fields(scale="paper", k=5, batch=10))
    words = "ten images choose the same five layers as all images in more than 95 % of draws"
    yield Claim("table 10", words, "> 95 %", "stability", ("late", "early"), same, null=0.95, unit="percent")
    words = "the most critical layer changes from 70 % of the epochs to the last one"
    yield Claim(
        "table 13", words, "11, 11, 4", "drift", ("late", "early"), _changes, null=0.5,
        unit="percent", exact=True,
    )  # fmt: skip


def _of_cost() -> Iterator[Claim]:
    words = "fewer than 4 % of the weights train"
    yield Claim(
        "abstract, table 9", words, "5.2 %", "weights", _LATE, _share, None, "less", 0.04,
        unit="percent", exact=True,
    )  # fmt: skip
    words = "an epoch of CLAT takes no more than 1.1 of the time of PGD-AT's"
    yield Claim("D.9", words, "1.03", "time", _LATE, _seconds, None, "less", 1.1, unit="number")


def _found(listed: tuple[int, ...]) -> Callable[[Source], Seeds]:
    return lambda source: hits_over_chance(source, listed)


def _changes(source: Source) -> Seeds:
    """1 for a seed whose first layer at 70 % of the epochs is another than after the last."""
    found = first_layers(source)
    return Seeds(
        {
            seed: float(layers[sorted(layers)[round(0.7 * (len(layers) - 1))]] != layers[max(layers)])
            for seed, layers in found.items()
            if len(layers) > 2
        }
    )


def _share(source: Source) -> Seeds:
    """Parameters that CLAT trains of all that PGD-AT does, the mean over epochs."""
    some, everything = (
        cells(source, Quantity.TRAINED_PARAMETERS, arm=arm, unit=unit) for arm, unit in (_CLAT, _CONTINUED)
    )
    return _ratio(some.values, everything.values)


def _seconds(source: Source) -> Seeds:
    """The median epoch of CLAT over that of PGD-AT."""
    return _ratio(
        *(_medians(source.of(Quantity.EPOCH_SECONDS, arm=a, unit=u)) for a, u in (_CLAT, _CONTINUED))
    )


def _medians(numbers: list[Number]) -> dict[int, float]:
    seeds = {n.about.seed or 0 for n in numbers}
    return {seed: median(n.value for n in numbers if n.about.seed == seed) for seed in seeds}


def _ratio(one: Mapping[int, float], other: Mapping[int, float]) -> Seeds:
    return Seeds({seed: one[seed] / other[seed] for seed in sorted(one.keys() & other.keys())})
