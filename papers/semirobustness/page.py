"""The page of the semirobustness paper: its tables with ours beside them."""

import math
from pathlib import Path

from semirobust.records import Quantity, When
from semirobust.reports import Seeds, Source, by_seed, cells, paired, percent, plain, points, render, table

from .drawn import drawn_part, margins
from .numbers import accuracy, example_count, gap_to_robust, layer_count, mean, pgd_name, suffix_sizes
from .predictors import predictors
from .runs import DRAWN, PLAIN

__all__ = ["page"]


# Tables 1 and 3: A*, A before training, A after it, in per cent, by network, attack and size of the suffix.
_PAPER = {
    "resnet18-cifar10": {
        ("autoattack", 4): (39.45, 32.12, 39.57), ("autoattack", 12): (39.45, 16.6, 40.13),
        ("pgd", 4): (38.5, 29.8, 36.5), ("pgd", 12): (38.5, 16.9, 33.7),
        ("fgsm", 4): (43.1, 34.4, 41.3), ("fgsm", 12): (43.1, 22.5, 38.1),
        ("clean", 4): (69.7, 67.7, 71.4), ("clean", 12): (69.7, 62.5, 66.3),
    },
    "resnet18-cifar100": {
        ("autoattack", 4): (17.38, 14.65, 18.4), ("autoattack", 12): (17.38, 1.16, 17.9),
        ("pgd", 4): (16.0, 12.3, 15.9), ("pgd", 12): (16.0, 5.5, 16.3),
        ("fgsm", 4): (19.8, 14.9, 19.2), ("fgsm", 12): (19.8, 7.6, 18.5),
        ("clean", 4): (46.8, 39.5, 46.4), ("clean", 12): (46.8, 31.4, 42.2),
    },
    "wrn34-10-cifar10": {
        ("autoattack", 4): (41.66, 33.85, 41.76), ("autoattack", 12): (41.66, 28.32, 43.29),
        ("pgd", 4): (43.2, 34.5, 42.8), ("pgd", 12): (43.2, 30.3, 41.4),
        ("fgsm", 4): (50.1, 39.8, 49.8), ("fgsm", 12): (50.1, 34.9, 45.8),
        ("clean", 4): (81.3, 74.2, 81.6), ("clean", 12): (81.3, 68.9, 77.7),
    },
    "wrn34-10-cifar100": {
        ("autoattack", 4): (20.32, 4.68, 21.34), ("autoattack", 12): (20.32, 0.07, 21.5),
        ("pgd", 4): (20.4, 17.0, 19.6), ("pgd", 12): (20.4, 11.1, 20.5),
        ("fgsm", 4): (24.5, 19.3, 23.9), ("fgsm", 12): (24.5, 13.8, 23.4),
        ("clean", 4): (56.2, 46.4, 55.9), ("clean", 12): (56.2, 40.0, 52.0),
    },
}  # fmt: skip
# Table 1: rho of the last pair of layers and of every fourth before it, in bits, by size of the suffix.
_RHO = {
    "resnet18-cifar10": {4: {0: 3.31, 3: 6.16}, 12: {0: 3.19, 3: 5.46, 7: 7.41, 11: 7.80}},
    "resnet18-cifar100": {4: {0: 3.51, 3: 4.66}, 12: {0: 3.15, 3: 4.54, 7: 4.84, 11: 5.11}},
    "wrn34-10-cifar10": {4: {0: 3.70, 3: 7.43}, 12: {0: 3.48, 3: 7.65, 7: 8.36, 11: 9.05}},
    "wrn34-10-cifar100": {4: {0: 3.90, 3: 5.56}, 12: {0: 3.73, 3: 5.35, 7: 5.54, 11: 5.63}},
}
# Table 2: accuracy of the network, of the read-out and of random weights under PGD, in per cent, by prefix.
_READOUT = {"resnet18-cifar10": {17: (38.63, 40.41, 8.91), 13: (38.63, 40.13, 10.1), 9: (38.63, 39.47, 6.82)}}
_WHEN: dict[When, str] = {"start": "before", "end": "after"}
_DECIDED = 12  # the suffix at which variants are compared


def page(source: Source, scale: str, what: str) -> str:
    """The whole page in Markdown: a part for each network."""
    networks = source.values(Quantity.TRAINING_LOSS, lambda about: about.network)
    parts = [_part(source.only(network=name), name) for name in networks if name != DRAWN]
    own = drawn_part(source)
    return render(Path(__file__).with_name("page.md.j2"), scale=scale, what=what, parts=parts, drawn=own)


def _part(source: Source, network: str) -> dict[str, object]:
    """The tables of one network."""
    rho, null = (
        mean(source.of(Quantity.VALIDATION_MEASURE, measure="connectivity", part=part))
        for part in (None, "null")
    )
    attacks = {a: example_count(source, a) for a in ("autoattack", pgd_name(source))}
    return {
        "network": network,
        "pgd": pgd_name(source),
        "attacks": [f"{name} on {n:,}" for name, n in attacks.items() if n],
        "deciding": next((n.n for n in source.of(Quantity.RECOVERY_DIFFERENCE)), 0),
        "recovery": _recovery(source, network),
        "controls": _controls(source),
        "frontier": _frontier(source),
        "thresholds": _thresholds(source, network),
        "null": null,
        "excess": rho - null,
        "predictors": predictors(source),
        "readouts": _readouts(source, network),
        "layers": layer_count(source),
        "prefixes": _prefixes(source),
        "margins": margins(source),
        "bounds": _bounds(source),
        "variants": _variants(source),
    }


def _recovery(source: Source, network: str) -> str:
    rows = []
    for name in ("autoattack", "pgd", "fgsm", "clean"):
        attack = pgd_name(source) if name == "pgd" else name
        star = accuracy(source, "robust", attack)
        for size in suffix_sizes(source):
            start, end = (accuracy(source, arm, attack, size) for arm in ("start", "suffix"))
            if not end:
                continue
            back = cells(source, Quantity.RECOVERY_EPOCHS, suffix=size, variant=PLAIN)
            paper = _PAPER.get(network, {}).get((name, size))
            theirs = (
                "–" if paper is None else f"{paper[0]} → {paper[1]} → {paper[2]} ({paper[2] - paper[0]:+.2f})"
            )
            came = f"{len(back.values)} of {len(end.values)}" if name == "pgd" else ""
            found = (percent(star), percent(start), percent(end), points(paired(end, star)))
            rows.append((attack, size, *found, came, theirs))
    head = (
        "attack",
        "suffix",
        "f*",
        "before",
        "after",
        "difference",
        "seeds that came back",
        "paper: f* → before → after",
    )
    return table(head, rows)


def _controls(source: Source) -> str:
    pgd = pgd_name(source)
    star, everything = accuracy(source, "robust", pgd), accuracy(source, "everything", pgd)
    behind = accuracy(source, "suffix", pgd, _DECIDED)
    normal = cells(source, Quantity.ACCURACY, prefix="normal", suffix=_DECIDED, attack=pgd)
    arms = {
        f"suffix of {_DECIDED} behind the robust prefix": behind.only(everything.values),
        f"suffix of {_DECIDED} behind the normal prefix": normal,
        "everything, from f*": everything,
    }
    rows = [(name, percent(found), points(paired(found, star))) for name, found in arms.items() if found]
    return table(("what trains", f"{pgd}", "less f*"), rows)


def _frontier(source: Source) -> str:
    rows = []
    everything = _parameters(source.only(unit="normal"))
    for size in suffix_sizes(source):
        gap = gap_to_robust(source, size)
        low = gap.interval[0] if gap else -math.inf
        part = _parameters(source.only(suffix=size, variant=PLAIN))
        share = f"{100 * part / everything:.0f} %" if everything else "–"
        lost = f"{-100 * low:.1f}" if math.isfinite(low) else "–"
        rows.append((layer_count(source) - size, size, share, points(gap), lost))
    head = (
        "robust prefix, layers",
        "suffix",
        "parameters that train",
        f"{pgd_name(source)} less f*",
        "points lost at most (95 %)",
    )
    return table(head, rows)


def _parameters(source: Source) -> float:
    return next((n.value for n in source.of(Quantity.TRAINED_PARAMETERS)), 0.0)


def _thresholds(source: Source, network: str) -> str:
    rows = []
    for size in suffix_sizes(source):
        found = source.of(Quantity.RECOVERY_THRESHOLD, suffix=size, variant=PLAIN)
        layers = sorted({n.about.layer or 0 for n in found}, reverse=True)
        for position in sorted({0, 3, 7, 11, size - 1} & set(range(len(layers)))):
            layer = layers[position]
            rho = by_seed(n for n in found if n.about.layer == layer)
            start, end = (_rho(source, size, layer, last=last) for last in (False, True))
            theirs = _RHO.get(network, {}).get(size, {}).get(position, "–")
            rows.append(
                (size, layer, plain(rho), plain(start), plain(end), plain(paired(end, start)), theirs)
            )
    head = (
        "suffix",
        "layer j",
        "ρ_j, bits",
        "before training",
        "after the last epoch",
        "change",
        "paper's ρ_j",
    )
    return table(head, rows)


def _rho(source: Source, size: int, layer: int, *, last: bool) -> Seeds:
    found = source.of(
        Quantity.VALIDATION_MEASURE,
        measure="connectivity",
        arm="suffix",
        suffix=size,
        variant=PLAIN,
        layer=layer,
    )
    wanted = max((n.about.epoch or 0 for n in found), default=0) if last else 0
    return by_seed(n for n in found if n.about.epoch == wanted)


def _readouts(source: Source, network: str) -> str:
    rows = []
    paper = _READOUT.get(network, {})
    parts = ("network", "paper", None, "attacked", "random")
    layers = source.only(measure="readout").values(Quantity.MEASURE, lambda about: about.layer)
    robust = source.only(arm="robust")
    for layer in sorted(layers, reverse=True):
        found = [
            percent(cells(robust, Quantity.MEASURE, measure="readout", part=part, layer=layer))
            for part in parts
        ]
        rows.append((layer, *found, " / ".join(map(str, paper[layer])) if layer in paper else "–"))
    ours = (
        "f* itself",
        "paper's form, in sample",
        "ridge, on the other half",
        "ridge, attacked itself",
        "random weights",
    )
    return table(("prefix", *ours, "paper: f* / read-out / random"), rows)


def _prefixes(source: Source) -> str:
    rows = []
    numbers = source.only(measure="semirobustness")
    for layer in sorted(numbers.values(Quantity.MEASURE, lambda about: about.layer)):
        row: list[object] = [layer]
        for arm in ("robust", "normal"):
            gamma, right = (
                cells(source, Quantity.MEASURE, measure="semirobustness", part=part, arm=arm, layer=layer)
                for part in (None, "accuracy")
            )
            row += [plain(gamma, 3), percent(right)]
        rows.append(row)
    return table(
        ("prefix", "f*: γ", "f*: head right under attack, %", "F: γ", "F: head right under attack, %"), rows
    )


def _bounds(source: Source) -> str:
    rows = []
    for size in suffix_sizes(source):
        for when, name in _WHEN.items():
            loss, gradient, quadratic, output, peeling = (
                cells(source, quantity, suffix=size, when=when, variant=PLAIN)
                for quantity in (
                    Quantity.LOSS_DIFFERENCE,
                    Quantity.GRADIENT_TERM,
                    Quantity.QUADRATIC_BOUND,
                    Quantity.OUTPUT_DISTANCE,
                    Quantity.PEELING_BOUND,
                )
            )
            if loss:
                numbers = (plain(loss), plain(gradient), plain(quadratic, 0), plain(output))
                rows.append((size, name, *numbers, f"{peeling.mean:.0e}"))
    head = (
        "suffix",
        "training",
        "loss less f*'s, nats",
        "linear term",
        "bound (a)",
        "distance of logits",
        "bound (b)",
    )
    return table(head, rows)


def _variants(source: Source) -> str:
    names = {
        PLAIN: "plain",
        "hsic": "+ HSIC between consecutive layers",
        "stored": "4 stored attack steps for 10 fresh ones",
        "long": "4 stored steps, as many epochs as f* had",
    }
    star = accuracy(source, "robust", pgd_name(source))
    rows, pgd = [], pgd_name(source)
    more = source.of(Quantity.ACCURACY, unit="precise")
    for variant, name in names.items():
        found, clean = (accuracy(source, "suffix", attack, _DECIDED, variant) for attack in (pgd, "clean"))
        precise, reference = (
            by_seed(n for n in more if n.about.attack == pgd and n.about.variant == other)
            for other in (variant, PLAIN)
        )
        if found:
            gains = [
                points(paired(found, accuracy(source, "suffix", pgd, _DECIDED))),
                points(paired(precise, reference), 2),
            ]
            shown = ("", "") if variant == PLAIN else gains
            rows.append(
                (name, len(found.values), percent(clean), percent(found), points(paired(found, star)), *shown)
            )
    images = next((n.n or 0 for n in more), 0)
    head = (
        "training of the suffix",
        "seeds",
        "clean",
        pgd,
        "less f*",
        "less plain",
        f"less plain, on {images:,} images",
    )
    return table(head, rows)
