"""How far training of a suffix came back, against what it cost."""

from dataclasses import replace

import plotly.graph_objects as go

from semirobust.records.record import Number
from semirobust.reports.figures import COLOURS, styled
from semirobust.reports.source import Source

__all__ = ["by_cut", "recovery_figure"]


def by_cut(source: Source) -> Source:
    """The same with the size of the suffix in the names of the arms that have one."""
    return replace(source, numbers=[_named(number) for number in source.numbers])


def _named(number: Number) -> Number:
    arm, size = number.labels.get("arm"), number.labels.get("suffix")
    if size is None or arm == "robust":
        return number
    name = str(arm).replace("suffix", f"suffix of {size}").replace("start", f"suffix of {size}, untrained")
    return number.model_copy(update={"labels": {**number.labels, "arm": name}})


def recovery_figure(source: Source) -> go.Figure | None:
    """Accuracy under attack on the images that decide by seconds of training: a line for each cut, f* as a level."""
    cuts = sorted({int(n.labels["suffix"]) for n in source.named("recover.best")})
    if not cuts:
        return None
    layers = max((entry.index for entry in source.layers), default=0)
    figure = go.Figure()
    for position, cut in enumerate(cuts):
        x, y = _course(source, cut)
        prefix = f", prefix of {layers - cut}" if layers else ""
        figure.add_trace(
            go.Scatter(
                x=x, y=[100 * value for value in y], mode="lines+markers", name=f"suffix of {cut}{prefix}",
                line={"color": COLOURS[position % len(COLOURS)], "width": 2},
                hovertemplate=f"suffix of {cut}: " + "%{y:.1f} % after %{x:.0f} s<extra></extra>",
            )
        )  # fmt: skip
    levels = [n.value for n in source.named("validation.robust") if "suffix" in n.labels and "epoch" not in n.labels]
    if levels:
        figure.add_hline(y=100 * levels[0], line={"dash": "dash", "color": "#5b6670"}, annotation_text="f*, robust as a whole")
    figure.update_xaxes(title="seconds of training", rangemode="tozero")
    figure.update_yaxes(title="accuracy under attack, held-out images, %", rangemode="tozero")
    return styled(figure, 380)


def _course(source: Source, cut: int) -> tuple[list[float], list[float]]:
    """Seconds so far and accuracy by epoch, means over trials."""
    names = ("train.seconds", "validation.robust")
    found: dict[str, dict[int, list[float]]] = {name: {} for name in names}
    for name in names:
        for number in source.named(name):
            if number.labels.get("suffix") == cut and "epoch" in number.labels:
                found[name].setdefault(int(number.labels["epoch"]), []).append(number.value)
    seconds, x, y = 0.0, list[float](), list[float]()
    for epoch, values in sorted(found["validation.robust"].items()):
        spent = found["train.seconds"].get(epoch, [0.0])
        seconds += sum(spent) / len(spent)
        x.append(seconds)
        y.append(sum(values) / len(values))
    return x, y
