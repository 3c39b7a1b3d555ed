"""The tables and figures of the CLAT paper, each with the runs that give it at either scale."""

from collections.abc import Iterator, Sequence

from semirobust.experiments import Row

__all__ = ["rows"]

_NAMES = {
    "densenet121": "DN121",
    "wrn_70_16": "WRN70-16",
    "resnet50": "RN50",
    "wrn_34_10": "WRN34-10",
    "vgg19": "VGG19",
    "resnet18": "RN18",
}
_BOTH = ("", "cifar100-")
_WEIGHTS = "weights that others published, as a start (RobustBench)"
_PLAIN = ("start", "continued", "clat", "PGD-AT as clat")


def rows() -> list[Row]:
    """In the order of the paper."""
    return [*_tables_1_and_2(), *_transfer(), *_choices(), *_of_layers(), *_others(), *_figures()]


def _full(names: Sequence[str], units: Sequence[str], ends: Sequence[str] = _BOTH) -> tuple[str, ...]:
    return tuple(f"full-{end}{name}/{unit}" for name in names for end in ends for unit in units)


def _cpu(networks: Sequence[str], units: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{network}/{unit}" for network in networks for unit in units)


_LATE = ("drawn-late", "late", "early")
_BASES = ("trades", "mart", "score", "awp")


def _tables_1_and_2() -> Iterator[Row]:
    own = (
        *_cpu(_LATE, ("continued", "clat", "rift", "lora", "autolora*")),
        "late-*/clat",
        "late-*/continued",
    )
    own = (*own, *_cpu(tuple(f"drawn-late-{base}" for base in _BASES), ("continued", "clat", "rift")))
    lines: list[tuple[str, tuple[str, ...], str]] = [
        (f"{title}: PGD-AT and + CLAT", _full((name,), ("continued", "clat")), "")
        for name, title in _NAMES.items()
    ]
    lines += [
        ("WRN34-10, RN18: + LoRA, + RiFT", _full(("wrn_34_10", "resnet18"), ("lora", "rift")), ""),
        ("WRN34-10: TRADES, + RiFT, + CLAT", _full(("wrn_34_10-trades",), ("continued", "rift", "clat")), ""),
        *(
            (
                f"RN18: {base.upper()}, + RiFT, + CLAT",
                _full((f"resnet18-{base}",), ("continued", "rift", "clat")),
                "",
            )
            for base in _BASES
        ),
        ("RN18: AutoLoRA and + CLAT", _full(("resnet18",), ("autolora-authors", "autolora-clat")), ""),
        (
            "PreAct RN18: Fast-AT, + CLAT, + CLAT (Fast)",
            _full(("preact_resnet18-fast",), ("continued", "clat", "clat-fast")),
            "",
        ),
        ("WRN70-16: two published networks and + CLAT", (), _WEIGHTS),
    ]
    yield Row("table 1", "clean and PGD accuracy of 6 architectures and 9 methods", own, tuple(lines))
    lines = [
        (f"{title}: PGD-AT and + CLAT", _full((name,), ("continued", "clat")), "")
        for name, title in _NAMES.items()
    ]
    lines += [
        ("RN18: TWINS and + CLAT", _full(("resnet18",), ("twins-authors", "twins-clat")), ""),
        ("RN18: AutoLoRA and + CLAT", _full(("resnet18",), ("autolora-authors", "autolora-clat")), ""),
        ("RN50, WRN34-10, WRN70-16: three published networks and + CLAT", (), _WEIGHTS),
    ]
    attacked = _cpu(_LATE, ("autoattack",))
    yield Row("table 2", "the same under AutoAttack", attacked, tuple(lines))


def _transfer() -> Iterator[Row]:
    crossed = [f"full-{end}crossed" for end in _BOTH]
    for item, attack in (("table 3", "autoattack"), ("table 4", "pgd-10")):
        runs = tuple(f"{name}/across-{attack}" for name in crossed)
        here = ("late-*/across",) if item == "table 4" else ()
        words = f"four architectures, each on what {attack} makes for each other"
        yield Row(item, words, here, ((f"DN121, RN50, VGG19, RN18 under {attack}", runs, ""),))


def _choices() -> Iterator[Row]:
    two, three = ("densenet121", "resnet50"), ("densenet121", "resnet50", "resnet18")
    for item, words, here in (
        ("table 5", "PGD-AT, CLAT, CLAT chosen once, under PGD", _cpu(_LATE, ("clat-fixed",))),
        ("table 6", "the same under AutoAttack", ("drawn-late/autoattack",)),
    ):
        units = ("continued", "clat", "clat-fixed")
        yield Row(item, words, here, (("DN121, RN50", _full(two, units), ""),))
    pair = ("clat", "clat-random")
    line = ("DN121, RN50, RN18", _full(three, pair, ("",)), "")
    yield Row("table 7", "critical and random layers, CIFAR-10", _cpu(_LATE, ("clat-random",)), (line,))
    every = (("six architectures", _full(tuple(_NAMES), ("index",)), ""),)
    yield Row("table 8", "the five highest layers", ("*/index", "*/forms"), every)
    count = (("six architectures", _full(tuple(_NAMES), ("clat",), ("",)), ""),)
    yield Row("table 9", "parameters that train", _cpu(_LATE, ("clat",)), count)


def _of_layers() -> Iterator[Row]:
    stable = (("DN121", _full(("densenet121",), ("index",)), ""),)
    yield Row(
        "table 10", "layers that small batches choose, and seconds", ("early/index", "late/index"), stable
    )
    clean = tuple(f"{name}-standard" for name in _NAMES)
    line = ("six architectures", _full(clean, ("clat",), ("",)), "")
    yield Row("table 11", "CLAT after standard training", ("late-standard/clat",), (line,))
    three = ("densenet121", "resnet50", "resnet18")
    line = ("DN121, RN50, RN18", _full(three, ("clat", "clat-random"), ("cifar100-",)), "")
    yield Row("table 12", "critical and random layers, CIFAR-100", (), (line,))
    line = ("DN121, RN50, RN18 (watched from the base's first epoch on)", _full(three, ("base",), ("",)), "")
    yield Row("table 13", "critical layers over epochs", ("early/base", "late/base"), (line,))
    three = ("densenet121", "resnet50", "wrn_34_10")
    line = ("DN121, RN50, WRN34-10", _full(three, ("clat", "clat-fixed"), ("cifar100-",)), "")
    yield Row("table 14", "chosen once and again, CIFAR-100", (), (line,))


def _others() -> Iterator[Row]:
    for item, source, names in (
        ("table 15", "imagenette", tuple(_NAMES)),
        ("table 16", "imagenet", ("densenet121", "resnet50", "wrn_34_10")),
    ):
        runs = tuple(f"full-{source}-{name}/{unit}" for name in names for unit in ("continued", "clat"))
        title = source.replace("image", "Image").replace("Imagenet", "ImageNet", source == "imagenet")
        waits = f"the pictures of {title}"
        words = ", ".join(_NAMES[name] for name in names)
        yield Row(item, f"{title}, 64 pixels", (), ((words, runs, waits),))
    line = ("DN121, WRN34-10", _full(("densenet121", "wrn_34_10"), ("attacks",), ("",)), "")
    yield Row(
        "table 17", "FAB, StAdv, Pixle, PGD in ℓ2 and of more steps", _cpu(_LATE, ("attacks",)), (line,)
    )
    pre = ("preact_resnet18-awp", "preact_resnet18-swa")
    wide = (*_full(("wrn_34_10-awp",), ("continued", "clat"), ("",)),)
    lines = (
        ("PreAct RN18: AWP, SWA-AT and + CLAT", _full(pre, ("continued", "clat")), ""),
        ("WRN34-10: AWP, SWA-AT and + CLAT", (*wide, *_full(("wrn_34_10-swa",), ("continued", "clat"))), ""),
    )
    own = _cpu(("drawn-late-awp", "drawn-late-swa", "late-awp", "late-swa"), ("continued", "clat"))
    yield Row("table 18", "CLAT on AWP and on SWA-AT", own, lines)
    more = ("preact_resnet18-idbh-weak", "preact_resnet18-idbh-strong")
    lines = (
        ("PreAct RN18: weak and strong and + CLAT", _full(more, ("continued", "clat"), ("",)), ""),
        ("WRN70-16: a published network and + CLAT", (), _WEIGHTS),
    )
    own = _cpu(("drawn-late-augmented", "late-augmented"), ("continued", "clat"))
    yield Row("table 19", "CLAT on more augmentation", own, lines)
    line = (
        "DN121, RN50, RN18",
        _full(("densenet121", "resnet50", "resnet18"), ("continued", "clat", "clat-smallest"), ("",)),
        "",
    )
    yield Row("table 20", "most and least critical layers", _cpu(_LATE, ("clat-smallest",)), (line,))


def _figures() -> Iterator[Row]:
    split = tuple(f"full-wrn_34_10-after-{before}" for before in (0, 25, 50, 70))
    runs = tuple(f"{name}/{unit}" for name in split for unit in ("continued", "clat"))
    here = ("drawn-hand-over-*/clat", "drawn-hand-over-*/continued", "late-after-*/clat")
    yield Row("figure 2", "epochs before CLAT", here, (("WRN34-10", runs, ""),))
    counts = _full(("resnet18",), ("clat-*-layers",), ("",))
    own = ("drawn-late/clat-*-layers", "*/clat-counts")
    yield Row("figure 3", "number of layers, under PGD", own, (("RN18", counts, ""),))
    attacks = _full(("resnet18", "wrn_34_10"), ("attacks",), ("",))
    yield Row(
        "figure 4", "strength of the attack", _cpu(_LATE, ("attacks",)), (("RN18, WRN34-10", attacks, ""),)
    )
    yield Row(
        "figure 5",
        "CLAT from epoch 70 on and from scratch",
        ("late-after-*/clat",),
        (("WRN34-10", runs, ""),),
    )
    slow = _full(("wrn_34_10",), ("slower",), ("",))
    yield Row("figure 6", "a tenth of the rate", _cpu(_LATE, ("slower",)), (("WRN34-10", slow, ""),))
    yield Row("figure 7", "number of layers, clean", own, (("RN18", counts, ""),))
