"""The layer profile as a picture of the network."""

import math
from dataclasses import dataclass

from semirobust.figures.style import shown
from semirobust.records.schema import LayerEntry, Quantity
from semirobust.reports.arm import Arm
from semirobust.reports.source import Cell, Source

__all__ = ["Column", "NetworkPicture", "column_step", "entries_of", "network_pictures", "short_names"]

_HEIGHT = 150.0
_BOX = 66.0
_NAME = 24  # letters of a layer's name


@dataclass(frozen=True)
class Column:
    """One layer: a bar above, its box below; all lengths in pixels.

    Attributes:
        cell, weakness: the measure and the weakness of the layer.
        bar_top, bar_height: the bar, drawn from the line of 1.
        low_y, high_y: ends of the whisker.
        above: whether the bar stands above the line of 1.
        label: the layer's name, its middle left out where it is long.
        box_width, box_height: by the number of channels and the side of the image, on a root scale.
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
    above: bool
    label: str
    selected: float
    starts_block: bool
    block_columns: int


@dataclass(frozen=True)
class NetworkPicture:
    """All layers side by side.

    Attributes:
        ticks: (y, label) of the axis.
        one_y: height of the line of 1.
        label_y: height of the numbers of the layers.
        trained_by: the arm whose layers are marked; empty for none.
        remark: what a reader may stumble over.
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
    label_y: float
    trained_by: str
    remark: str

    @property
    def selected(self) -> bool:
        """Whether layers are marked as trained."""
        return any(column.selected > 0 for column in self.columns)

    @property
    def has_blocks(self) -> bool:
        """Whether several layers stand in one block."""
        return any(column.starts_block for column in self.columns)

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


def short_names(entries: list[LayerEntry]) -> dict[int, str]:
    """Index -> name of each layer, without the part up to a dot that all of them begin with."""
    names = [entry.name for entry in entries]
    first = names[0].partition(".")[0] + "." if names else ""
    shared = len(names) > 1 and all(name.startswith(first) and name != first for name in names)
    return {e.index: e.name.removeprefix(first) if shared else e.name for e in entries}


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

    names = short_names(entries)
    trained_by, picks = _selected(source, arm.run)
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
                above=ratio >= 1,
                label=shown(names[entry.index], _NAME),
                selected=picks.get(entry.index, 0.0),
                starts_block=position in starts,
                block_columns=starts.get(position, 0),
            )
        )
    over = next((c.over for c in cells.values() if c is not None), "")
    longest = max(len(column.label) for column in columns)
    return NetworkPicture(
        measure=measure,
        arm=arm,
        columns=columns,
        step=step,
        width=60 + step * len(entries),
        height=_HEIGHT + _BOX + 76 + 5.6 * longest,
        ticks=[(y(2.0**e), f"{2.0**e:g}") for e in _exponents(bottom, top)],
        one_y=y(1),
        box_line=_HEIGHT + 46 + _BOX / 2,
        over=over,
        label_y=_HEIGHT + _BOX + 62,
        trained_by=trained_by,
        remark=_remark(columns, trained_by, arm),
    )


def _exponents(bottom: float, top: float) -> list[int]:
    """Powers of two with a tick."""
    exponents = range(math.ceil(bottom), math.floor(top) + 1)
    return [e for e in exponents if len(exponents) <= 7 or e % 2 == 0]


def _selected(source: Source, run: str | None) -> tuple[str, dict[int, float]]:
    """The first arm that chooses layers, and the share of its epochs in which each of them trained."""
    trained = source.of(Quantity.TRAINED_LAYER, run=run)
    if not trained:
        return "", {}
    arm = source.arm_of(trained[0])
    first = source.of(Quantity.TRAINED_LAYER, arm)
    epochs = len({(n.about.seed, n.about.epoch) for n in first})
    counts: dict[int, int] = {}
    for n in first:
        index = n.about.layer or 0
        counts[index] = counts.get(index, 0) + 1
    return str(arm), {index: count / epochs for index, count in counts.items()}


def _remark(columns: list[Column], trained_by: str, arm: Arm) -> str:
    """A sentence where the tallest bar is not of a layer that was trained."""
    bars = [c for c in columns if c.cell is not None and c.entry.index > 1 and math.isfinite(c.cell.value)]
    tallest = max(bars, key=lambda c: c.cell.value if c.cell else 0.0, default=None)
    if not trained_by or tallest is None or tallest.selected > 0:
        return ""
    return (
        f"The tallest bar, layer {tallest.entry.index}, is not among those that {trained_by} trained: it"
        f" chose by"
        f" training images and its own rule, and this is {arm} on other images."
    )


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
