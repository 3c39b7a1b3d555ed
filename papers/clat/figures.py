"""Figures of the page of the CLAT paper."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from semirobust.records import Quantity
from semirobust.reports import Seeds, Source, cells, paired

from .arms import Pick

__all__ = ["FIGURES", "HEIGHT"]

HEIGHT = 5.4  # of a row, in inches
_BLUE, _ORANGE, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#5b6670"
_ARMS = {
    Pick("continued", "continued"): "PGD-AT continued",
    Pick("clat", "clat"): "CLAT, 1/N",
    Pick("PGD-AT as clat", "clat"): "its layers, PGD-AT",
    Pick("clat-11", "clat-11"): "CLAT, layer 11",
    Pick("PGD-AT as clat-11", "clat-11"): "layer 11, PGD-AT",
    Pick("clat-fixed", "clat-fixed"): "CLAT, chosen once",
    Pick("clat-random", "clat-random"): "CLAT, random layers",
    Pick("clat-smallest", "clat-smallest"): "CLAT, least critical",
    Pick("rift", "rift"): "RiFT",
    Pick("lora", "lora"): "LoRA",
    Pick("suffix", "suffix"): "last 4 layers, PGD-AT",
    Pick("trades continued", "trades"): "TRADES of all layers",
    Pick("twins-authors", "twins-authors"): "TWINS",
    Pick("autolora-authors", "autolora-authors"): "AutoLoRA",
}
# Network -> colour, how far below its arm's line it stands, and what the legend calls it.
_REGIMES = {
    "early": (_BLUE, -0.24, "before robust overfitting"),
    "late": (_ORANGE, 0.0, "after it"),
    "drawn-late": (_GREEN, 0.24, "after it, each seed with images of its own"),
}


def _gains(panel: Any, source: Source) -> None:
    """Accuracy under PGD-20 less that of the start, by arm and regime."""
    for regime, (colour, shift, name) in _REGIMES.items():
        start = _start(source, "pgd-20", regime)
        for position, entry in enumerate(_ARMS):
            here = source.only(arm=entry.arm, unit=entry.unit)
            found = paired(cells(here, Quantity.ACCURACY, attack="pgd-20", network=regime), start)
            if len(found.values) > 1:
                low, high = found.interval
                at = position + shift
                panel.plot([100 * low, 100 * high], [at, at], color=colour, linewidth=1.4)
                label = name if position == 0 else None
                panel.plot([100 * found.mean], [at], "o", color=colour, markersize=4, label=label)
    panel.axvline(0, color=_GREY, linewidth=1)
    panel.set_yticks(range(len(_ARMS)), list(_ARMS.values()))
    panel.invert_yaxis()
    panel.set_xlabel("points under PGD-20 gained over the start, 95 % over seeds")
    panel.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), fontsize=8)
    panel.grid(alpha=0.25, axis="x")


def _start(source: Source, attack: str, network: str) -> Seeds:
    """The network that all arms go on from, on the images that arms have; other attacks have fewer."""
    return cells(source, Quantity.ACCURACY, arm="start", unit="start", attack=attack, network=network)


def _sweep(panel: Any, source: Source) -> None:
    """Points gained after CLAT with one layer by the weight of its term, late."""
    start = {attack: _start(source, attack, "late") for attack in ("pgd-20", "clean")}
    for layer, colour in ((4, _GREEN), (11, _BLUE), (17, _ORANGE)):
        for attack, style in (("pgd-20", "-"), ("clean", ":")):
            points = []
            for weight in (0.1, 0.3, 1.0, 3.0):
                gained = cells(
                    source.only(network="late", variant="sweep"),
                    Quantity.ACCURACY,
                    loss_form="free",
                    loss_weight=weight,
                    tuned_layer=layer,
                    attack=attack,
                )
                found = paired(gained, start[attack])
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
