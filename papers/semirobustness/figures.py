"""Figures of the page of the semirobustness paper."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from semirobust.records import Quantity
from semirobust.reports import Seeds, Source, by_seed, cells

from .runs import PLAIN

__all__ = ["FIGURES", "HEIGHT"]

HEIGHT = 3.8  # of a row, in inches
_BLUE, _ORANGE, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#5b6670"


def _frontier(panel: Any, source: Source) -> None:
    """Accuracy under PGD-20 by the size of the robust prefix."""
    sizes = sorted(source.values(Quantity.RECOVERY_DIFFERENCE, lambda about: about.suffix))
    depth = max(source.values(Quantity.RECOVERY_THRESHOLD, lambda about: about.layer))
    source = source.only(attack="pgd-20")
    star = cells(source, Quantity.ACCURACY, arm="robust", unit="references")
    panel.axhline(100 * star.mean, color=_GREY, linestyle="--", linewidth=1)
    panel.text(2, 100 * star.mean + 0.5, "f*, robust as a whole", color=_GREY)
    for arm, colour, name in (
        ("start", _ORANGE, "before training the suffix"),
        ("suffix", _BLUE, "after 4 epochs"),
    ):
        found = [
            (
                depth - size,
                cells(source, Quantity.ACCURACY, arm=arm, suffix=size, variant=PLAIN),
            )
            for size in sizes
        ]
        _line(panel, [(x, value) for x, value in found if value], colour, name, 100)
    control = cells(source, Quantity.ACCURACY, prefix="normal", suffix=12, unit="controls")
    if control:
        _line(panel, [(depth - 12, control)], _GREEN, "control: prefix not robust", 100)
    panel.set(
        xlabel=f"layers of the robust prefix, of {depth}", ylabel="accuracy under PGD-20, %", ylim=(0, None)
    )
    panel.legend(frameon=False, loc="lower right")


def _rho(panel: Any, source: Source) -> None:
    """EDGE by layer for the suffix of 12, before and after, and what it reads on permuted rows."""
    source = source.only(arm="suffix", suffix=12, variant=PLAIN)
    found, nulls = (
        source.of(Quantity.VALIDATION_MEASURE, measure="connectivity", part=part) for part in (None, "null")
    )
    last = max(n.about.epoch or 0 for n in found)
    kinds = (
        (found, 0, _ORANGE, "before training the suffix"),
        (found, last, _BLUE, "after"),
        (nulls, last, _GREY, "rows permuted: truth is 0"),
    )
    for numbers, epoch, colour, name in kinds:
        points = []
        for layer in sorted({n.about.layer or 0 for n in numbers}):
            here = (n for n in numbers if n.about.layer == layer and n.about.epoch == epoch)
            points.append((layer, by_seed(here)))
        _line(panel, points, colour, name, 1)
    panel.axvline(6.5, color=_GREY, linewidth=0.8, linestyle=":")
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


FIGURES: Mapping[str, Sequence[Sequence[Callable[[Any, Source], None]]]] = {"": ((_frontier, _rho),)}
"""End of the file's name -> rows of panels, each drawn on axes of matplotlib."""
