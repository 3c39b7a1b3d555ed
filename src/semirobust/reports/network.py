"""The layer profile as a picture of the network."""

import math
from dataclasses import dataclass

from semirobust.records.schema import LayerEntry, Quantity
from semirobust.reports.arm import Arm
from semirobust.reports.source import Cell, Source

__all__ = ["Column", "NetworkPicture", "column_step", "entries_of", "network_pictures"]

_HEIGHT = 150.0
_BOX = 66.0


@dataclass(frozen=True)
class Column:
    """One layer: a bar above, its box below; all lengths in pixels.

    Attributes:
        cell, weakness: the measure and the weakness of the layer.
        bar_top, bar_height: the bar, drawn from the line of 1.
        low_y, high_y: ends of the whisker.
        box_width, box_height: by the number of channels and the side of the image, on a root scale.
        shade: 0 to 1, how critical it is among all.
        selected: share of epochs in which a method trained it.
    """

    entry: LayerEntry
    cell: Cell | None
    weakness: Cell | None
    x: float
    bar_top: float
    bar_height: float
    low_y: float
    high_y: float
    box_width: float
    box_height: float
    shade: float
    selected: float
    starts_block: bool
    block_columns: int


@dataclass(frozen=True)
class NetworkPicture:
    """All layers side by side.

    Attributes:
        ticks: (y, label) of the axis.
        one_y: height of the line of 1.
        first_is_weakness: the first layer's value is a weakness, not a ratio, so it has no bar.
    """

    measure: str
    arm: Arm
    columns: list[Column]
    step: float
    width: float
    height: float
    ticks: list[tuple[float, str]]
    one_y: float
    box_line: float
    over: str

    @property
    def places(self) -> int:
        """How many layers stand side by side."""
        return len(self.columns)


def network_pictures(source: Source, measure: str = "criticality") -> list["NetworkPicture"]:
    """One picture of the measure for each arm that was profiled."""
    pictures = (_picture(source, measure, arm) for arm in source.arms(Quantity.MEASURE, measure=measure))
    return [picture for picture in pictures if picture is not None]


def entries_of(source: Source, run: str | None) -> list[LayerEntry]:
    """The layers of one run in order."""
    return sorted((entry for entry in source.layers if entry.about.run == run), key=lambda entry: entry.index)


def column_step(entries: list[LayerEntry]) -> float:
    """Pixels from one layer to the next."""
    return max(30.0, min(64.0, 860.0 / len(entries)))


def _picture(source: Source, measure: str, arm: Arm) -> NetworkPicture | None:
    """The picture of one arm, on a logarithmic scale around 1; None without its layers."""
    numbers = source.of(Quantity.MEASURE, arm, measure=measure)
    indices = dict.fromkeys(n.about.layer or 0 for n in numbers)
    cells = {i: source.cell(Quantity.MEASURE, arm, measure=measure, layer=i) for i in indices}
    entries = entries_of(source, arm.run)
    if not entries:
        return None
    ratios = [
        math.log2(c.value) for i, c in cells.items() if c is not None and i > 1 and 0 < c.value < math.inf
    ]
    top, bottom = max([0.5, *ratios]) * 1.15, min([-0.5, *ratios]) * 1.15
    step = column_step(entries)

    def y(value: float) -> float:
        bounded = min(max(math.log2(value) if value > 0 else bottom, bottom), top)
        return 14 + _HEIGHT * (top - bounded) / (top - bottom)

    picks = _selected(source, arm.run)
    starts = _blocks(entries)
    most, largest = max(map(_channels, entries)), max(map(_side, entries))
    columns = []
    for position, entry in enumerate(entries):
        cell = cells.get(entry.index)
        ratio = cell.value if cell is not None and entry.index > 1 else 1.0
        columns.append(
            Column(
                entry=entry,
                cell=cell,
                weakness=source.cell(Quantity.MEASURE, arm, measure="weakness", layer=entry.index),
                x=44 + position * step,
                bar_top=min(y(ratio), y(1)),
                bar_height=abs(y(ratio) - y(1)),
                low_y=y(cell.low) if cell and cell.low is not None else y(ratio),
                high_y=y(cell.high) if cell and cell.high is not None else y(ratio),
                box_width=_box_width(entry, most, step),
                box_height=_box_height(entry, largest),
                shade=_shade(math.log2(ratio) if ratio > 0 else bottom, bottom, top),
                selected=picks.get(entry.index, 0.0),
                starts_block=position in starts,
                block_columns=starts.get(position, 0),
            )
        )
    exponents = range(math.ceil(bottom), math.floor(top) + 1)
    shown = [e for e in exponents if len(exponents) <= 7 or e % 2 == 0]
    over = next((c.over for c in cells.values() if c is not None), "")
    return NetworkPicture(
        measure=measure,
        arm=arm,
        columns=columns,
        step=step,
        width=60 + step * len(entries),
        height=_HEIGHT + _BOX + 92,
        ticks=[(y(2.0**e), f"{2.0**e:g}") for e in shown],
        one_y=y(1),
        box_line=_HEIGHT + 46 + _BOX / 2,
        over=over,
    )


def _shade(value: float, bottom: float, top: float) -> float:
    return max(0.0, min(1.0, (value - bottom) / (top - bottom)))


def _selected(source: Source, run: str | None) -> dict[int, float]:
    """Share of epochs in which the first arm that chooses layers trained each of them."""
    trained = source.of(Quantity.TRAINED_LAYER, run=run)
    if not trained:
        return {}
    first = source.of(Quantity.TRAINED_LAYER, source.arm_of(trained[0]))
    epochs = len({(n.about.seed, n.about.epoch) for n in first})
    counts: dict[int, int] = {}
    for number in first:
        index = number.about.layer or 0
        counts[index] = counts.get(index, 0) + 1
    return {index: count / epochs for index, count in counts.items()}


def _blocks(entries: list[LayerEntry]) -> dict[int, int]:
    """Position at which a block of several layers starts -> how many it has."""
    starts: dict[int, int] = {}
    position = 0
    while position < len(entries):
        end = position
        while end + 1 < len(entries) and entries[end + 1].block == entries[position].block:
            end += 1
        if end > position:
            starts[position] = end - position + 1
        position = end + 1
    return starts


def _side(entry: LayerEntry) -> int:
    return entry.shape[-1] if len(entry.shape) == 3 else 1


def _channels(entry: LayerEntry) -> int:
    return entry.shape[0] if len(entry.shape) in (1, 3) else entry.shape[-1]


def _box_height(entry: LayerEntry, largest: int) -> float:
    return 10 + (_BOX - 10) * math.sqrt(_side(entry) / largest)


def _box_width(entry: LayerEntry, most: int, step: float) -> float:
    return max(5.0, 0.78 * step * math.sqrt(_channels(entry) / most))
