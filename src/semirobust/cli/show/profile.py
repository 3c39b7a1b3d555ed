"""Measures by layer."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from semirobust.cli.console import print_json, show_table, tell

if TYPE_CHECKING:
    from semirobust.layers.map import LayerMap
    from semirobust.layers.scores import LayerScores

__all__ = ["show_profile"]


def show_profile(
    layers: "LayerMap", scores: Sequence["LayerScores"], *, as_json: bool, told: Sequence[str] = ()
) -> None:
    """The measures by layer; ``told`` as in :func:`show_accuracy`."""
    columns = {
        score.name: dict(
            zip(score.indices, zip(score.values, score.low, score.high, strict=True), strict=True)
        )
        for score in scores
        if not score.features or math.isfinite(score.low[0])  # of single features the report has the rest
    }
    notes = [*layers.notes, *(note for score in scores for note in score.notes)]
    if as_json:
        entries = [
            {
                "index": layer.index,
                "name": layer.name,
                "feature_shape": layer.feature_shape,
                **{
                    score.name: _entry(score, layer.index) for score in scores if layer.index in score.indices
                },
            }
            for layer in layers
        ]
        content = {"examples": scores[0].examples if scores else 0, "layers": entries}
        print_json({**content, "notes": [*told, *notes]})
        return
    for score in scores:
        if score.name in columns:
            _show_measure(layers, score)
    first = next((score for score in scores if score.measure == "criticality"), None)
    if first is not None:
        order = [i for i in first.measured() if i not in layers.classifier][:5]
        tell(f"Most critical, the classifier left out: layers {', '.join(map(str, order))}")
    for note in notes:
        tell(note)


def _entry(score: "LayerScores", index: int) -> dict[str, object]:
    """One layer's number with its ends and details; what is no finite number is null."""
    i = score.indices.index(index)
    numbers = {"value": float(score.values[i]), "low": float(score.low[i]), "high": float(score.high[i])}
    details = {name: values[i] for name, values in score.details.items()}
    entry = {**numbers, "unit": score.unit, **({"by": score.by} if score.by else {}), **details}
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in entry.items()}


def _show_measure(layers: "LayerMap", score: "LayerScores") -> None:
    """A table of one measure: each layer with its number and interval."""
    numbers = dict(zip(score.indices, zip(score.values, score.low, score.high, strict=True), strict=True))
    between = any(_between(*each) for each in numbers.values())
    rows = []
    for layer in layers:
        value, low, high = numbers.get(layer.index, (math.nan,) * 3)
        shown = "–" if math.isnan(value) else f"{value:.3g}"
        shape = "x".join(map(str, layer.feature_shape))
        interval = [_between(value, low, high) or "–"] * between
        rows.append((f"{layer.index} {layer.label or layer.name}", layer.kind, shape, shown, *interval))
    name = score.name.replace(".", " ")
    unit = f", in {score.unit}" if score.unit != "1" else ""
    head = ("layer", "type", "feature", name, *["95 % interval"] * between)
    show_table(f"{name}{unit}, by {score.examples} images", head, rows)


def _between(value: float, low: float, high: float) -> str:
    """The interval; nothing where none is known."""
    ends = (f"{low:.3g}", f"{high:.3g}")
    known = all(map(math.isfinite, (value, low, high))) and ends[0] != ends[1]
    return f"{ends[0]} to {ends[1]}" if known else ""
