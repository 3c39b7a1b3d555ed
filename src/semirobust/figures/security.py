"""Accuracy against the radius of the ball."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from semirobust.figures.curves import Curve, lines
from semirobust.figures.style import WIDTH

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["security_curve"]


def security_curve(
    curves: Sequence[Curve],
    *,
    norm: str = "",
    x_label: str = "",
    references: Sequence[tuple[str, float]] = (),
    title: str = "",
    width: float = WIDTH,
    height: float = 0.0,
) -> "Figure":
    """A curve for each model, with its interval as a band.

    Args:
        curves: ε in pixels from 0 to 1 across, accuracy in per cent up.
        norm: of the ball, such as ``Linf``, named on the axis.
        x_label: in place of what ``norm`` gives.
        references: such as chance.
        title: above the chart.
        width, height: in inches; 0 is a height that fits.
    """
    said = x_label or f"ε ({f'{norm}, ' if norm else ''}pixels in 0 to 1)"
    return lines(
        curves,
        x_label=said,
        y_label="accuracy, %",
        title=title,
        references=references,
        interval="band",
        percent=True,
        width=width,
        height=height,
    )
