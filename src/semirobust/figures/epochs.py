"""Layers by epoch: a measure as colour, dots where a layer trained."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from semirobust.figures.style import (
    INK,
    PAPER,
    WIDTH,
    canvas,
    drawing,
    finished,
    integer_ticks,
    plottable,
    shown,
    strokes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["EpochPanel", "layers_by_epoch"]

_MANY = 5  # panels, which make small ones
_SCATTERED = 150  # dots that are drawn one by one
_SCALE = "PuOr_r"  # purple to orange, told apart by all kinds of colour vision


@dataclass(frozen=True)
class EpochPanel:
    """One training.

    Attributes:
        title: above it.
        measured: layer and epoch, both from 1 (epoch 0 for before training) -> value, drawn as colour.
        trained: layer and epoch -> share of the seeds in which the layer trained, drawn as a dot.
    """

    title: str
    measured: Mapping[tuple[int, int], float] = field(default_factory=dict)
    trained: Mapping[tuple[int, int], float] = field(default_factory=dict)


def layers_by_epoch(
    panels: Sequence[EpochPanel], *, scale_label: str = "log₂ criticality", width: float = WIDTH
) -> "Figure":
    """Epochs across, layers down, one panel below the other; the middle of the scale of colours is 0.

    Args:
        panels: what to draw.
        scale_label: of the colours, drawn where there are any.
        width: in inches; the height fits the layers.
    """
    cells = [cell for panel in panels for cell in (*panel.measured, *panel.trained)]
    layers = max([1, *(layer for layer, _ in cells)])
    epochs = [epoch for _, epoch in cells] or [1]
    numbers = plottable([v for panel in panels for v in panel.measured.values()])
    reach = max((abs(v) for v in numbers if math.isfinite(v)), default=0.0) or 1.0
    most = 20 if len(panels) < _MANY else 8  # ticks
    with drawing():
        figure, axes = canvas(width, 0.9 + len(panels) * (0.75 + 0.2 * min(layers, 30)), max(len(panels), 1))
        drawn, many = None, sum(len(panel.trained) for panel in panels) > _SCATTERED
        for place, panel in zip(axes, panels):
            drawn = _heat(place, panel, layers, epochs, reach) or drawn
            _dots(place, panel, many=many)
            place.set_title(shown(panel.title, 60), loc="left")
            place.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
            place.set_ylim(0.5, layers + 0.5)
            integer_ticks(place.yaxis, range(1, layers + 1), most)
            integer_ticks(place.xaxis, range(min(epochs), max(epochs) + 1), most if width > 5 else 8)
            place.set_ylabel("layer")
            place.grid(visible=not panel.measured)
        axes[-1].set_xlabel("epoch")
        if drawn is not None:
            scale = figure.colorbar(drawn, ax=axes, label=shown(scale_label, 60), shrink=0.9, pad=0.01)  # type: ignore[arg-type]
            if scale.solids is not None:
                scale.solids.set_rasterized(True)  # or it is 256 shapes
        return finished(figure)


def _heat(axes: "Axes", panel: EpochPanel, layers: int, epochs: Sequence[int], reach: float) -> object | None:
    if not panel.measured:
        return None
    first, last = min(epochs), max(epochs)
    rows = [
        plottable([panel.measured.get((layer, epoch)) for epoch in range(first, last + 1)])
        for layer in range(1, layers + 1)
    ]
    return axes.imshow(
        rows,
        cmap=_SCALE,
        vmin=-reach,
        vmax=reach,
        aspect="auto",
        origin="lower",
        interpolation="none",
        extent=(first - 0.5, last + 0.5, 0.5, layers + 0.5),
    )


def _dots(axes: "Axes", panel: EpochPanel, *, many: bool) -> None:
    sizes = {cell: 10 + 30 * min(max(share, 0.0), 1.0) for cell, share in panel.trained.items()}
    if many:  # one path for each of three sizes
        for part in range(3):
            cells = [cell for cell, size in sizes.items() if min(int((size - 10) / 10), 2) == part]
            ends = [(epoch - 0.3, layer, epoch + 0.3, layer) for layer, epoch in cells]
            strokes(axes, ends, INK, 1.5 + part)
    elif sizes:
        axes.scatter(
            [epoch for _, epoch in sizes],
            [layer for layer, _ in sizes],
            s=list(sizes.values()),
            color=INK,
            edgecolors=PAPER,
            linewidths=0.8,
            clip_on=False,
        )
