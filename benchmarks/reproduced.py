"""Draw what was reproduced: ``python -m benchmarks.reproduced docs/reproduced/NAME-SCALE`` (needs matplotlib)."""

import sys
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


def main() -> None:
    """Panels beside the folder of records."""
    folder = Path(sys.argv[1])
    source = read_source([folder])
    draw = PANELS[folder.name.partition("-")[0]]
    figure, panels = plt.subplots(1, len(draw), figsize=(5 * len(draw), 4.2))
    for panel, part in zip(panels, draw, strict=True):
        part(panel, source)
    figure.tight_layout()
    figure.savefig(folder.with_suffix(".svg"), metadata={"Date": None})


def _frontier(panel: Any, source: Source) -> None:
    """Accuracy under PGD-20 by the size of the robust prefix."""
    sizes = sorted({int(n.labels["suffix"]) for n in source.named("recover.difference")})
    depth = max(int(n.labels["layer"]) for n in source.named("recover.threshold"))
    star = cells(source, "accuracy", arm="robust", attack="pgd-20", unit="references")
    panel.axhline(100 * star.mean, color=GREY, linestyle="--", linewidth=1)
    panel.text(2, 100 * star.mean + 0.5, "f*, robust as a whole", color=GREY)
    for arm, colour, name in (("start", ORANGE, "before training the suffix"), ("suffix", BLUE, "after 4 epochs")):
        found = [
            (depth - size, cells(source, "accuracy", arm=arm, attack="pgd-20", suffix=size, unit=f"suffix-{size}"))
            for size in sizes
        ]
        _line(panel, [(x, value) for x, value in found if value], colour, name, 100)
    control = cells(source, "accuracy", arm="normal prefix, suffix 12", attack="pgd-20", unit="controls")
    if control:
        _line(panel, [(depth - 12, control)], GREEN, "control: prefix not robust", 100)
    panel.set(xlabel=f"layers of the robust prefix, of {depth}", ylabel="accuracy under PGD-20, %", ylim=(0, None))
    panel.legend(frameon=False, loc="lower right")


def _rho(panel: Any, source: Source) -> None:
    """EDGE by layer for the suffix of 12, before and after, and what it reads on permuted rows."""
    found = [n for n in source.named("validation.rho") if n.labels["unit"] == "suffix-12" and n.labels["arm"] == "suffix"]
    nulls = [n for n in source.named("validation.rho.null") if n.labels["unit"] == "suffix-12" and n.labels["arm"] == "suffix"]
    last = max(int(n.labels["epoch"]) for n in found)
    kinds = (
        (found, 0, ORANGE, "before training the suffix"),
        (found, last, BLUE, "after"),
        (nulls, last, GREY, "rows permuted: truth is 0"),
    )
    for numbers, epoch, colour, name in kinds:
        points = []
        for layer in sorted({int(n.labels["layer"]) for n in numbers}):
            own = {int(n.labels["seed"]): n.value for n in numbers if n.labels["layer"] == layer and n.labels["epoch"] == epoch}
            points.append((layer, Seeds(own)))
        _line(panel, points, colour, name, 1)
    panel.axvline(6.5, color=GREY, linewidth=0.8, linestyle=":")
    panel.set(xlabel="layer j (the suffix begins at 7)", ylabel="EDGE between j−1 and j, bits", ylim=(0, None))
    panel.legend(frameon=False, loc="lower left")


def _line(panel: Any, points: list[tuple[int, Seeds]], colour: str, name: str, factor: float) -> None:
    x, y = [x for x, _ in points], [factor * value.mean for _, value in points]
    reach = [factor * (value.interval[1] - value.mean) if len(value.values) > 1 else 0.0 for _, value in points]
    panel.errorbar(x, y, yerr=reach, marker="o", markersize=4, color=colour, linewidth=1.4, capsize=2, label=name)


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
            found = paired(cells(source, "accuracy", arm=arm, attack="pgd-20", network=regime, unit=unit), start)
            if len(found.values) > 1:
                low, high = found.interval
                at = position + shift
                panel.plot([100 * low, 100 * high], [at, at], color=colour, linewidth=1.4)
                panel.plot([100 * found.mean], [at], "o", color=colour, markersize=4, label=regime if position == 0 else None)
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
                panel.plot(*zip(*points, strict=True), style, marker="o", markersize=3, color=colour, label=name)
    panel.axhline(0, color=GREY, linewidth=1)
    panel.set(xscale="log", xlabel="λ, scale-free", ylabel="points gained: PGD-20 (solid), clean (dotted)")
    panel.legend(frameon=False)
    panel.grid(alpha=0.25)


def _capacity(panel: Any, source: Source) -> None:
    """MNIST: accuracy by parameters, under what was trained against and under PGD-40."""
    for training, colour in (("standard", GREY), ("fgsm", ORANGE), ("pgd", BLUE)):
        for attack, style in (("clean", ":"), ("fgsm", "--"), ("pgd-40", "-")):
            points = []
            for size in range(6):
                here = {"network": "capacity-mnist", "unit": f"{training}-{size}"}
                found, number = cells(source, "accuracy", attack=attack, **here), cells(source, "size.parameters", **here)
                if found:
                    points.append((number.mean, 100 * found.mean))
            if points:
                name = f"{training.upper() if training != 'standard' else training}-trained" if attack == "pgd-40" else None
                panel.plot(*zip(*points, strict=True), style, marker="o", markersize=3, color=colour, label=name)
    panel.set(
        xscale="log", xlabel="parameters", ylabel="accuracy, %: clean (dotted), FGSM (dashed), PGD-40 (solid)", ylim=(0, 100)
    )
    panel.legend(frameon=False, loc="center right")


def _tickets(panel: Any, source: Source, network: str, title: str) -> None:
    """Accuracy by weights left, for tickets and fresh weights."""
    levels = sorted({int(n.labels["level"]) for n in source.named("prune.density") if n.labels["network"] == network})
    for arm, colour, words in (("ticket", BLUE, "ticket"), ("fresh-weights", ORANGE, "fresh weights")):
        for attack, style in (("clean", ":"), ("fgsm", "--"), ("pgd-40", "-")):
            points = []
            for level in levels:
                here = {"network": network, "unit": arm, "level": level}
                found, left = cells(source, "accuracy", attack=attack, **here), cells(source, "prune.density", **here)
                if found:
                    points.append((100 * left.mean, 100 * found.mean))
            if points:
                name = words if attack == "clean" else None
                panel.plot(*zip(*points, strict=True), style, marker="o", markersize=2.5, color=colour, label=name)
    panel.set(xscale="log", xlabel="weights left, %", ylabel="accuracy, %", ylim=(0, 100), title=title)
    panel.invert_xaxis()
    panel.legend(frameon=False, loc="center left")


PANELS = {
    "semirobustness": (_frontier, _rho),
    "clat": (_gains, _sweep),
    "lighter": (
        _capacity,
        partial(_tickets, network="lottery-standard", title="tickets, standard training"),
        partial(_tickets, network="lottery-fgsm", title="tickets, FGSM training"),
    ),
}


if __name__ == "__main__":
    main()
