"""How the index moved over training, and which layers trained when."""

import math

from semirobust.core.text import listed
from semirobust.figures import EpochPanel, layers_by_epoch
from semirobust.figures.style import number
from semirobust.records.schema import Number, Quantity
from semirobust.reports.chart import Chart
from semirobust.reports.figures import listed_names
from semirobust.reports.source import Source

__all__ = ["training_curve_chart"]

_TOLD = 20  # layers of a row
_DOTS = (Quantity.TRAINED_LAYER, Quantity.MARKED_LAYER)


def training_curve_chart(source: Source, measure: str = "criticality") -> Chart | None:
    """Layers down, epochs across, one panel for each arm: the measure where it was followed, dots where a
    layer trained.
    """
    followed = source.of(Quantity.VALIDATION_MEASURE, measure=measure)
    found, trained, marked = (
        [n for n in numbers if _drawn(n)]
        for numbers in (followed, source.of(Quantity.TRAINED_LAYER), source.of(Quantity.MARKED_LAYER))
    )
    arms = list(dict.fromkeys(source.arm_of(n) for n in (*found, *trained, *marked)))
    if not arms:
        return None
    panels, rows = list[EpochPanel](), list[tuple[str, ...]]()
    for arm in arms:
        measured = _means([n for n in found if source.arm_of(n) == arm])
        dots, rings = (_shares([n for n in each if source.arm_of(n) == arm]) for each in (trained, marked))
        logs = {cell: math.log2(v) for cell, v in measured.items()}
        panels.append(EpochPanel(str(arm), logs, {**rings, **dots}))
        for epoch in sorted({epoch for _, epoch in (*measured, *dots, *rings)}):
            values = _told({layer: v for (layer, at), v in measured.items() if at == epoch})
            told = [_layers_at(cells, epoch) for cells in (dots, rings)]
            rows.append((str(arm), str(epoch), *told, values or "–"))
    says = [
        f"Colour: {measure} on held-out images after the epoch, orange above 1, purple below; the first"
        f" layer has"
        " no ratio and stays blank."
        if any(panel.measured for panel in panels)
        else "",
        "Dots: layers that trained, the larger the more seeds trained them." if trained else "",
        "Where all trained, dots are layers that were singled out: held still, attacked or regularised."
        if marked
        else "",
    ]
    return Chart(
        name="layers-by-epoch",
        title="Which layers were critical, and which trained, epoch by epoch"
        if any(panel.measured for panel in panels)
        else "Which layers trained, epoch by epoch",
        says=" ".join([*filter(None, says), "Means over seeds."]),
        described=f"Grid of layers by epoch for {listed_names(map(str, arms))}.",
        draw=lambda width: layers_by_epoch(panels, scale_label=f"log₂ {measure}", width=width),
        head=("", "epoch", "trained", "singled out", f"{measure} by layer"),
        rows=rows,
        holds=lambda n: _drawn(n) and (n.quantity in _DOTS or _coloured(n, measure)),
    )


def _layers_at(cells: dict[tuple[int, int], float], epoch: int) -> str:
    layers = [layer for layer, at in cells if at == epoch]
    return listed(layers, "layer") if layers else "–"


def _told(values: dict[int, float]) -> str:
    """The value of each layer, of very many layers the largest."""
    layers = sorted(values, key=lambda layer: -values[layer])[:_TOLD]
    said = ", ".join(f"{layer}: {number(values[layer])}" for layer in sorted(layers))
    return f"{said} (the largest of {len(values)})" if len(values) > _TOLD else said


def _means(numbers: list[Number]) -> dict[tuple[int, int], float]:
    """Geometric mean over seeds by layer and epoch."""
    cells: dict[tuple[int, int], list[float]] = {}
    for n in numbers:
        if _coloured(n, n.about.measure or ""):
            cells.setdefault((_layer(n), _epoch(n)), []).append(math.log2(n.value))
    return {cell: 2.0 ** (sum(logs) / len(logs)) for cell, logs in cells.items()}


def _shares(numbers: list[Number]) -> dict[tuple[int, int], float]:
    """Share of the seeds in which a layer trained in an epoch."""
    seeds = max(len({n.about.seed for n in numbers}), 1)
    counts: dict[tuple[int, int], int] = {}
    for n in numbers:
        counts[_layer(n), _epoch(n)] = counts.get((_layer(n), _epoch(n)), 0) + 1
    return {cell: min(count / seeds, 1.0) for cell, count in counts.items()}


def _drawn(n: Number) -> bool:
    """Whether it has its place; a suffix of several sizes behind the robust prefix has a figure of its"
    " own."""
    of_a_recovery = n.about.suffix is not None and n.about.prefix is None
    return not of_a_recovery and n.about.layer is not None and n.about.epoch is not None


def _coloured(n: Number, measure: str) -> bool:
    """Whether it is a colour; the first layer's is a weakness and no ratio."""
    here = n.quantity is Quantity.VALIDATION_MEASURE and n.about.measure == measure
    return here and 0 < n.value < math.inf and _layer(n) > 1


def _layer(n: Number) -> int:
    return n.about.layer or 0


def _epoch(n: Number) -> int:
    return n.about.epoch or 0
