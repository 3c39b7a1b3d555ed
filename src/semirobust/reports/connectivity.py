"""Dependence between consecutive layers as bars over what independent data reads."""

import math
from dataclasses import dataclass

from semirobust.records.schema import LayerEntry, Quantity
from semirobust.reports.arm import Arm
from semirobust.reports.network import column_step, entries_of
from semirobust.reports.source import Cell, Source

__all__ = ["ConnectivityPicture", "Gap", "connectivity_pictures"]

_MEASURE = "connectivity"
_HEIGHT = 150.0
_LEFT = 44.0


@dataclass(frozen=True)
class Gap:
    """Between a layer and the one before it; lengths in pixels.

    Attributes:
        entry, before: the layer and the name of the one before it.
        value, null, excess: the numbers, the last two where rows were permuted.
        x: middle of the bar.
        top, null_top: heights of the value and of the null.
        low_y, high_y: ends of the whisker.
    """

    entry: LayerEntry
    before: str
    value: Cell
    null: Cell | None
    excess: Cell | None
    x: float
    top: float
    null_top: float
    low_y: float
    high_y: float


@dataclass(frozen=True)
class ConnectivityPicture:
    """All pairs of one arm side by side."""

    arm: Arm
    estimator: str
    unit: str
    gaps: list[Gap]
    step: float
    width: float
    height: float
    zero_y: float
    ticks: list[tuple[float, str]]

    @property
    def places(self) -> int:
        """How many pairs stand side by side."""
        return len(self.gaps)


def connectivity_pictures(source: Source) -> list[ConnectivityPicture]:
    """One picture for each arm whose connectivity was measured."""
    pictures = (_picture(source, arm) for arm in source.arms(Quantity.MEASURE, measure=_MEASURE))
    return [picture for picture in pictures if picture is not None]


def _picture(source: Source, arm: Arm) -> ConnectivityPicture | None:
    numbers = source.of(Quantity.MEASURE, arm, measure=_MEASURE)
    entries = entries_of(source, arm.run)
    names = {entry.index: entry.name for entry in entries}
    layers = [(n.about.layer or 0, n.about.on) for n in numbers]
    on = {layer: layer - 1 if other is None else other for layer, other in layers}
    rows = []
    for position, entry in enumerate(entries):
        value, null, excess = (
            source.cell(Quantity.MEASURE, arm, measure=_MEASURE, part=part, layer=entry.index)
            for part in (None, "null", "excess")
        )
        if value is not None and math.isfinite(value.value):
            rows.append((position, entry, value, null, excess))
    if not rows:
        return None
    shown = [cell for _, _, value, null, _ in rows for cell in (value, null) if cell is not None]
    ends = [v for cell in shown for v in (cell.value, cell.low, cell.high) if v is not None]
    top, bottom = max([*ends, 1e-9]) * 1.08, min([0.0, *ends]) * 1.08
    step = column_step(entries)

    def y(value: float) -> float:
        return 14 + _HEIGHT * (top - value) / (top - bottom)

    gaps = [
        Gap(
            entry=entry,
            before=names.get(on[entry.index], ""),
            value=value,
            null=null,
            excess=excess,
            x=_LEFT + position * step,
            top=y(value.value),
            null_top=y(0 if null is None else null.value),
            low_y=y(value.value if value.low is None else value.low),
            high_y=y(value.value if value.high is None else value.high),
        )
        for position, entry, value, null, excess in rows
    ]
    return ConnectivityPicture(
        arm=arm,
        estimator=numbers[0].about.estimator or "",
        unit=numbers[0].unit,
        gaps=gaps,
        step=step,
        width=60 + step * len(entries),
        height=_HEIGHT + 48,
        zero_y=y(0),
        ticks=[(y(v), f"{v:.3g}") for v in _round_values(bottom, top)],
    )


def _round_values(bottom: float, top: float) -> list[float]:
    """Four to eight multiples of 1, 2 or 5 times a power of ten."""
    unit = 10.0 ** math.floor(math.log10(top - bottom))
    spacing = next(unit * s for s in (0.1, 0.2, 0.5, 1, 2) if (top - bottom) / (unit * s) <= 8)
    return [round(i * spacing, 12) for i in range(math.ceil(bottom / spacing), math.floor(top / spacing) + 1)]
