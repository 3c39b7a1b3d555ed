"""Figures of the page of the CLAT paper."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from semirobust.reports import Source, cells, paired

__all__ = ["FIGURES", "HEIGHT"]

HEIGHT = 4.2  # of a row, in inches
_BLUE, _ORANGE, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#5b6670"
_ARMS = {
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
    for regime, colour, shift in (("early", _BLUE, -0.12), ("late", _ORANGE, 0.12)):
        start = cells(source, "accuracy", arm="start", attack="pgd-20", network=regime)
        for position, entry in enumerate(_ARMS):
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
    panel.axvline(0, color=_GREY, linewidth=1)
    panel.set_yticks(range(len(_ARMS)), list(_ARMS.values()))
    panel.invert_yaxis()
    panel.set_xlabel("points under PGD-20 gained over the start, 95 % over seeds")
    panel.legend(frameon=False, title="robust overfitting", loc="lower right", fontsize=8)
    panel.grid(alpha=0.25, axis="x")


def _sweep(panel: Any, source: Source) -> None:
    """Points gained after CLAT with one layer by the weight of its term, late."""
    start = {a: cells(source, "accuracy", arm="start", attack=a, network="late") for a in ("pgd-20", "clean")}
    for layer, colour in ((4, _GREEN), (11, _BLUE), (17, _ORANGE)):
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
    panel.axhline(0, color=_GREY, linewidth=1)
    panel.set(xscale="log", xlabel="λ, scale-free", ylabel="points gained: PGD-20 (solid), clean (dotted)")
    panel.legend(frameon=False)
    panel.grid(alpha=0.25)


FIGURES: Mapping[str, Sequence[Sequence[Callable[[Any, Source], None]]]] = {"": ((_gains, _sweep),)}
"""End of the file's name -> rows of panels, each drawn on axes of matplotlib."""
