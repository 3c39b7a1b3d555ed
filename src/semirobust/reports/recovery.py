"""How far training of a suffix came back, against what it cost."""

from dataclasses import replace

import plotly.graph_objects as go

from semirobust.records.schema import Number
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
    """Accuracy under attack on the images that decide by seconds of training: a line for each cut, f* as a
    level.
    """
    lines = sorted(
        {(str(n.labels.get("run", "")), int(n.labels["suffix"])) for n in source.named("recover.best")}
    )
    if not lines:
        return None
    layers = max((entry.index for entry in source.layers), default=0)
    figure = go.Figure()
    for position, (run, cut) in enumerate(lines):
        x, y = _course(source, cut, run or None)
        name = f"{run}: " * bool(run) + f"suffix of {cut}" + (f", prefix of {layers - cut}" if layers else "")
        figure.add_trace(
            go.Scatter(
                x=x, y=[100 * value for value in y], mode="lines+markers", name=name,
                line={"color": COLOURS[position % len(COLOURS)], "width": 2},
                hovertemplate=f"{name}: " + "%{y:.1f} % after %{x:.0f} s<extra></extra>",
            )
        )  # fmt: skip
    levels = {n.labels.get("run", ""): n.value for n in source.named("validation.robust") if _is_reference(n)}
    for owner, level in levels.items():
        text = f"{owner}: f*" if owner else "f*, robust as a whole"
        figure.add_hline(y=100 * level, line={"dash": "dash", "color": "#5b6670"}, annotation_text=text)
    figure.update_xaxes(title="seconds of training", rangemode="tozero")
    figure.update_yaxes(title="accuracy under attack, held-out images, %", rangemode="tozero")
    return styled(figure, 380)


def _is_reference(number: Number) -> bool:
    return "suffix" in number.labels and "epoch" not in number.labels


def _course(source: Source, cut: int, run: object) -> tuple[list[float], list[float]]:
    """Seconds so far and accuracy by epoch, means over trials; a trial that has ended stays where it came
    to.
    """
    accuracy, seconds = (_by_trial(source, name, cut, run) for name in ("validation.robust", "train.seconds"))
    x, y, spent = list[float](), list[float](), 0.0
    for epoch in range(1 + max((max(epochs) for epochs in accuracy.values()), default=-1)):
        now = [epochs[epoch] for epochs in seconds.values() if epoch in epochs]
        spent += sum(now) / len(now) if now else 0.0
        stand = [epochs[min(epoch, max(epochs))] for epochs in accuracy.values()]
        x.append(spent)
        y.append(sum(stand) / len(stand))
    return x, y


def _by_trial(source: Source, name: str, cut: int, run: object) -> dict[object, dict[int, float]]:
    found: dict[object, dict[int, float]] = {}
    for n in source.named(name):
        if n.labels.get("suffix") == cut and "epoch" in n.labels and n.labels.get("run") == run:
            found.setdefault(n.labels.get("trial"), {})[int(n.labels["epoch"])] = n.value
    return found
