"""Dependence between consecutive layers as bars over what independent data reads."""

import math

from semirobust.figures import layer_bars
from semirobust.records.schema import Quantity
from semirobust.reports.arm import Arm
from semirobust.reports.chart import Chart, in_words
from semirobust.reports.network import entries_of
from semirobust.reports.source import Source

__all__ = ["connectivity_charts"]

_MEASURE = "connectivity"
_SAYS = "Dependence within each class{} between a layer, numbered below the bar, and the one before it."
_NULL = (
    " Hatched: what the same estimator reads when the examples are permuted, where the truth is 0. Only what"
    " stands above it is evidence of dependence."
)


def connectivity_charts(source: Source) -> list[Chart]:
    """One for each arm whose connectivity was measured."""
    arms = source.arms(Quantity.MEASURE, measure=_MEASURE)
    charts = (
        _chart(source, arm, f"connectivity-{i}", several=len(arms) > 1) for i, arm in enumerate(arms, 1)
    )
    return [chart for chart in charts if chart is not None]


def _chart(source: Source, arm: Arm, name: str, *, several: bool) -> Chart | None:
    numbers = source.of(Quantity.MEASURE, arm, measure=_MEASURE)
    names = {entry.index: entry.name for entry in entries_of(source, arm.run)}
    on = {n.about.layer or 0: n.about.on for n in numbers}
    cells = {
        layer: [
            source.cell(Quantity.MEASURE, arm, measure=_MEASURE, part=part, layer=layer)
            for part in (None, "null", "excess")
        ]
        for layer in sorted(on)
    }
    found = {layer: row for layer, row in cells.items() if row[0] is not None and math.isfinite(row[0].value)}
    if not found:
        return None
    values = [row[0].value for row in found.values() if row[0]]
    ends = [[getattr(row[0], end) for row in found.values()] for end in ("low", "high")]
    permuted = [row[1].value if row[1] else None for row in found.values()]
    has_null = any(v is not None for v in permuted)
    before = {layer: layer - 1 if (other := on[layer]) is None else other for layer in found}
    first, unit = next(iter(found.values()))[0], numbers[0].unit
    over = first.over if first else ""
    estimator = numbers[0].about.estimator or "the estimator"
    by = f", by {estimator}{f', in {unit}' if unit != '1' else ''},"
    return Chart(
        name=name,
        title="How much each layer depends on the one before" + (f": {arm}" if several else ""),
        says=_SAYS.format(by) + (_NULL if has_null else ""),
        described=f"Bar chart by layer of {arm}, by {estimator}.",
        draw=lambda width: layer_bars(
            [*found],
            values,
            low=ends[0],
            high=ends[1],
            behind=permuted if has_null else (),
            behind_name="examples permuted",
            y_label=f"{numbers[0].about.estimator or 'dependence'}, {unit}" if unit != "1" else "dependence",
            width=width,
        ),
        head=("layer", "on", "dependence", "permuted", "excess"),
        rows=[
            (
                f"{i} {names.get(i, '')}".strip(),
                f"{before[i]} {names.get(before[i], '')}".strip(),
                *map(in_words, row),
            )
            for i, row in found.items()
        ],
        holds=lambda n: (
            n.quantity is Quantity.MEASURE
            and n.about.measure == _MEASURE
            and n.about.part in (None, "null", "excess")
        ),
        note=f"Whiskers: 95 % interval{f' over {over}' if over else ''}; it does not hold the estimator's"
        f" bias.",
    )
