"""Draw what was reproduced: ``python -m scripts.plot_studies docs/reproduced/NAME-SCALE`` (needs
matplotlib).
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt

from semirobust.reports.reproductions.table import Seeds, cells, paired
from semirobust.reports.source import Source, read_source

__all__ = ["main"]

matplotlib.rcParams.update({"svg.hashsalt": "semirobust", "svg.fonttype": "none", "font.size": 9})
matplotlib.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#5b6670"


NAMES = {"standard": "standard", "fgsm": "FGSM", "pgd": "PGD"}
_Part = Callable[[Any, Source], None]


def main() -> None:
    """Figures beside the folder of records."""
    folder = Path(sys.argv[1])
    source = read_source([folder])
    for end, rows in FIGURES[folder.name.partition("-")[0]].items():
        figure, panels = plt.subplots(
            len(rows), len(rows[0]), figsize=(5 * len(rows[0]), 4.2 * len(rows)), squeeze=False
        )
        for own, parts in zip(panels, rows, strict=True):
            for panel, part in zip(own, parts, strict=True):
                part(panel, source)
        figure.tight_layout()
        figure.savefig(folder.with_name(f"{folder.name}{end}.svg"), metadata={"Date": None})
        plt.close(figure)


def _frontier(panel: Any, source: Source) -> None:
    """Accuracy under PGD-20 by the size of the robust prefix."""
    sizes = sorted({int(n.labels["suffix"]) for n in source.named("recover.difference")})
    depth = max(int(n.labels["layer"]) for n in source.named("recover.threshold"))
    star = cells(source, "accuracy", arm="robust", attack="pgd-20", unit="references")
    panel.axhline(100 * star.mean, color=GREY, linestyle="--", linewidth=1)
    panel.text(2, 100 * star.mean + 0.5, "f*, robust as a whole", color=GREY)
    for arm, colour, name in (
        ("start", ORANGE, "before training the suffix"),
        ("suffix", BLUE, "after 4 epochs"),
    ):
        found = [
            (
                depth - size,
                cells(source, "accuracy", arm=arm, attack="pgd-20", suffix=size, unit=f"suffix-{size}"),
            )
            for size in sizes
        ]
        _line(panel, [(x, value) for x, value in found if value], colour, name, 100)
    control = cells(source, "accuracy", arm="normal prefix, suffix 12", attack="pgd-20", unit="controls")
    if control:
        _line(panel, [(depth - 12, control)], GREEN, "control: prefix not robust", 100)
    panel.set(
        xlabel=f"layers of the robust prefix, of {depth}", ylabel="accuracy under PGD-20, %", ylim=(0, None)
    )
    panel.legend(frameon=False, loc="lower right")


def _rho(panel: Any, source: Source) -> None:
    """EDGE by layer for the suffix of 12, before and after, and what it reads on permuted rows."""
    found = [
        n
        for n in source.named("validation.rho")
        if n.labels["unit"] == "suffix-12" and n.labels["arm"] == "suffix"
    ]
    nulls = [
        n
        for n in source.named("validation.rho.null")
        if n.labels["unit"] == "suffix-12" and n.labels["arm"] == "suffix"
    ]
    last = max(int(n.labels["epoch"]) for n in found)
    kinds = (
        (found, 0, ORANGE, "before training the suffix"),
        (found, last, BLUE, "after"),
        (nulls, last, GREY, "rows permuted: truth is 0"),
    )
    for numbers, epoch, colour, name in kinds:
        points = []
        for layer in sorted({int(n.labels["layer"]) for n in numbers}):
            own = {
                int(n.labels["seed"]): n.value
                for n in numbers
                if n.labels["layer"] == layer and n.labels["epoch"] == epoch
            }
            points.append((layer, Seeds(own)))
        _line(panel, points, colour, name, 1)
    panel.axvline(6.5, color=GREY, linewidth=0.8, linestyle=":")
    panel.set(
        xlabel="layer j (the suffix begins at 7)", ylabel="EDGE between j−1 and j, bits", ylim=(0, None)
    )
    panel.legend(frameon=False, loc="lower left")


def _line(panel: Any, points: list[tuple[int, Seeds]], colour: str, name: str, factor: float) -> None:
    x, y = [x for x, _ in points], [factor * value.mean for _, value in points]
    reach = [
        factor * (value.interval[1] - value.mean) if len(value.values) > 1 else 0.0 for _, value in points
    ]
    panel.errorbar(
        x, y, yerr=reach, marker="o", markersize=4, color=colour, linewidth=1.4, capsize=2, label=name
    )


ARMS = {
    "continued@continued": "PGD-AT continued",
    "clat@clat": "CLAT, 1/N",
    "PGD-AT as clat@clat": "its layers, PGD-AT",
    "clat-11@clat-11": "CLAT, layer 11",
    "PGD-AT as clat-11@clat-11": "layer 11, PGD-AT",
    "clat-fixed@clat-fixed": "CLAT, chosen once",
    "clat-random@clat-random": "CLAT, random layers",
    "clat-smallest@clat-smallest": "CLAT, least critical",
    "rift@rift": "RiFT",
    "lora@lora": "LoRA",
    "suffix@suffix": "last 4 layers, PGD-AT",
}


def _gains(panel: Any, source: Source) -> None:
    """Accuracy under PGD-20 less that of the start, by arm and regime."""
    for regime, colour, shift in (("early", BLUE, -0.12), ("late", ORANGE, 0.12)):
        start = cells(source, "accuracy", arm="start", attack="pgd-20", network=regime)
        for position, entry in enumerate(ARMS):
            arm, _, unit = entry.partition("@")
            found = paired(
                cells(source, "accuracy", arm=arm, attack="pgd-20", network=regime, unit=unit), start
            )
            if len(found.values) > 1:
                low, high = found.interval
                at = position + shift
                panel.plot([100 * low, 100 * high], [at, at], color=colour, linewidth=1.4)
                panel.plot(
                    [100 * found.mean],
                    [at],
                    "o",
                    color=colour,
                    markersize=4,
                    label=regime if position == 0 else None,
                )
    panel.axvline(0, color=GREY, linewidth=1)
    panel.set_yticks(range(len(ARMS)), list(ARMS.values()))
    panel.invert_yaxis()
    panel.set_xlabel("points under PGD-20 gained over the start, 95 % over seeds")
    panel.legend(frameon=False, title="robust overfitting", loc="lower right", fontsize=8)
    panel.grid(alpha=0.25, axis="x")


def _sweep(panel: Any, source: Source) -> None:
    """Points gained after CLAT with one layer by the weight of its term, late."""
    start = {a: cells(source, "accuracy", arm="start", attack=a, network="late") for a in ("pgd-20", "clean")}
    for layer, colour in ((4, GREEN), (11, BLUE), (17, ORANGE)):
        for attack, style in (("pgd-20", "-"), ("clean", ":")):
            points = []
            for weight in (0.1, 0.3, 1.0, 3.0):
                labels = {"arm": f"free {weight}", "unit": f"lambda-free-{layer}", "network": "late"}
                found = paired(cells(source, "accuracy", attack=attack, **labels), start[attack])
                if found:
                    points.append((weight, 100 * found.mean))
            if points:
                name = f"layer {layer}" if attack == "pgd-20" else None
                panel.plot(
                    *zip(*points, strict=True), style, marker="o", markersize=3, color=colour, label=name
                )
    panel.axhline(0, color=GREY, linewidth=1)
    panel.set(xscale="log", xlabel="λ, scale-free", ylabel="points gained: PGD-20 (solid), clean (dotted)")
    panel.legend(frameon=False)
    panel.grid(alpha=0.25)


def _capacity(panel: Any, source: Source, data: str, title: str) -> None:
    """Accuracy by parameters, under what was trained against and under PGD-40."""
    for training, colour in (("standard", GREY), ("fgsm", ORANGE), ("pgd", BLUE)):
        for attack, style in (("clean", ":"), ("fgsm", "--"), ("pgd-40", "-")):
            points = []
            for size in range(6):
                here = {"network": f"capacity-{data}", "unit": f"{training}-{size}"}
                found, number = (
                    cells(source, "accuracy", attack=attack, **here),
                    cells(source, "size.parameters", **here),
                )
                if found:
                    points.append((number.mean, found))
            name = f"{NAMES[training]}-trained" if attack == "pgd-40" else None
            _shares(panel, points, style, colour, name)
    panel.set(
        xscale="log",
        xlabel="parameters",
        ylabel="accuracy, %: clean (dotted), FGSM (dashed), PGD-40 (solid)",
        ylim=(0, 100),
        title=title,
    )
    _legend(panel, "best")


def _shares(panel: Any, points: list[tuple[float, Seeds]], style: str, colour: str, name: str | None) -> None:
    """A line in per cent, with 95 % over seeds around it where there are three of them."""
    if points:
        x = [x for x, _ in points]
        panel.plot(
            x, [100 * y.mean for _, y in points], style, marker="o", markersize=2.5, color=colour, label=name
        )
    if points and all(len(y.values) > 2 for _, y in points):
        ends = [[min(max(100 * end, 0), 100) for end in y.interval] for _, y in points]
        panel.fill_between(
            x, [low for low, _ in ends], [high for _, high in ends], color=colour, alpha=0.12, linewidth=0
        )


def _tickets(panel: Any, source: Source, network: str, title: str) -> None:
    """Accuracy by weights left, for tickets and fresh weights."""
    levels = sorted(
        {int(n.labels["level"]) for n in source.named("prune.density") if n.labels["network"] == network}
    )
    for arm, colour, words in (("ticket", BLUE, "ticket"), ("fresh-weights", ORANGE, "fresh weights")):
        for attack, style in (("clean", ":"), ("fgsm", "--"), ("pgd-40", "-")):
            points = []
            for level in levels:
                here = {"network": network, "unit": arm, "level": level}
                found, left = (
                    cells(source, "accuracy", attack=attack, **here),
                    cells(source, "prune.density", **here),
                )
                if found:
                    points.append((100 * left.mean, found))
            _shares(panel, points, style, colour, words if attack == "clean" else None)
    panel.set(xscale="log", xlabel="weights left, %", ylabel="accuracy, %", ylim=(0, 100), title=title)
    panel.invert_xaxis()
    _legend(panel, "best")


def _legend(panel: Any, where: str) -> None:
    """Where something was drawn: a run that was not carried out leaves its panel empty."""
    if panel.get_legend_handles_labels()[0]:
        panel.legend(frameon=False, loc=where)


def _used(panel: Any, source: Source) -> None:
    """What each feature adds to the margin by its usefulness, of one seed."""
    for training, colour in (("standard", GREY), ("pgd", BLUE)):
        labels = {"network": f"features-{training}", "attack": "40 steps"}
        useful, actual = (_of_features(source, kind, labels) for kind in ("original", "actual"))
        panel.plot(
            useful, actual, "o", markersize=3, color=colour, alpha=0.7, label=f"{NAMES[training]}-trained"
        )
    panel.axhline(0, color=GREY, linewidth=0.8, linestyle=":")
    panel.set(xlabel="usefulness of Ilyas et al.", ylabel="actual usefulness (figure 7)")
    panel.legend(frameon=False)


def _of_features(source: Source, kind: str, labels: Mapping[str, object]) -> list[float]:
    found = [n for n in source.named(f"feature.{kind}") if labels.items() <= n.labels.items()]
    return [n.value for n in sorted(found, key=lambda n: int(n.labels["feature"]))]


def _worths(panel: Any, source: Source, kind: str, title: str, attack: str = "40 steps") -> None:
    """A histogram over the 100 features of one seed, by training, in bins that both share."""
    by_training = {
        t: _of_features(source, kind, {"network": f"features-{t}", "attack": attack})
        for t in ("standard", "pgd")
    }
    every = [value for found in by_training.values() for value in found]
    for (training, found), colour in zip(by_training.items(), (GREY, BLUE), strict=True):
        words = f"{NAMES[training]}-trained"
        panel.hist(found, bins=30, range=(min(every), max(every)), color=colour, alpha=0.55, label=words)
    panel.axvline(0, color=GREY, linewidth=0.8, linestyle=":")
    panel.set(xlabel=title, ylabel="features, of 100")
    panel.legend(frameon=False)


FIGURES: Mapping[str, Mapping[str, Sequence[Sequence[_Part]]]] = {
    "semirobustness": {"": ((_frontier, _rho),)},
    "clat": {"": ((_gains, _sweep),)},
    "lighter": {
        "": (
            (
                partial(_capacity, data="mnist", title="MNIST, 0.3"),
                partial(_capacity, data="fashion-mnist", title="Fashion-MNIST, 0.1"),
                partial(_capacity, data="cifar10", title="CIFAR-10, 8/255"),
            ),
            (
                partial(_tickets, network="lottery-standard", title="tickets, standard training"),
                partial(_tickets, network="lottery-fgsm", title="tickets, FGSM training"),
                partial(_tickets, network="lottery-pgd", title="tickets, PGD training"),
            ),
        ),
        "-features": (
            (
                partial(_worths, kind="original", title="usefulness of Ilyas et al. (figure 5)"),
                partial(_worths, kind="actual", title="actual usefulness (figure 6)"),
                _used,
            ),
            (
                partial(_worths, kind="useful", title="usefulness behind the logistic function"),
                partial(
                    _worths,
                    kind="robust",
                    attack="3 steps of 0.01",
                    title="robust usefulness, 3 steps of 0.01 (figure 8)",
                ),
                partial(_worths, kind="robust", title="robust usefulness, 40 steps"),
            ),
        ),
    },
}


if __name__ == "__main__":
    main()
