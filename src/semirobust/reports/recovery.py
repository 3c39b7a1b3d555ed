"""How far training of a suffix came back, against what it cost."""

from collections.abc import Sequence

import plotly.graph_objects as go

from semirobust.records.schema import Number, Quantity
from semirobust.reports.figures import COLOURS, styled
from semirobust.reports.source import Source

__all__ = ["recovery_figure"]


def recovery_figure(source: Source) -> go.Figure | None:
    """Accuracy under attack on the images that decide by seconds of training: a line for each cut, f* as a
    level.
    """
    lines = sorted({(n.about.run or "", n.about.suffix or 0) for n in source.of(Quantity.RECOVERY_BEST)})
    if not lines:
        return None
    layers = max((entry.index for entry in source.layers), default=0)
    figure = go.Figure()
    for position, (run, cut) in enumerate(lines):
        x, y = _curve(source, cut, run or None)
        name = f"{run}: " * bool(run) + f"suffix of {cut}" + (f", prefix of {layers - cut}" if layers else "")
        figure.add_trace(
            go.Scatter(
                x=x, y=[100 * value for value in y], mode="lines+markers", name=name,
                line={"color": COLOURS[position % len(COLOURS)], "width": 2},
                hovertemplate=f"{name}: " + "%{y:.1f} % after %{x:.0f} s<extra></extra>",
            )
        )  # fmt: skip
    scores = source.of(Quantity.VALIDATION_ROBUST, epoch=None)
    references = {n.about.run: n.value for n in scores if n.about.suffix is not None}
    for owner, level in references.items():
        text = f"{owner}: f*" if owner else "f*, robust as a whole"
        figure.add_hline(y=100 * level, line={"dash": "dash", "color": "#5b6670"}, annotation_text=text)
    figure.update_xaxes(title="seconds of training", rangemode="tozero")
    figure.update_yaxes(title="accuracy under attack, held-out images, %", rangemode="tozero")
    return styled(figure, 380)


def _curve(source: Source, cut: int, run: str | None) -> tuple[list[float], list[float]]:
    """Seconds so far and accuracy by epoch, means over trials; a trial that has ended stays where it came
    to.
    """
    accuracy, seconds = (
        _by_trial(source.of(quantity, run=run, suffix=cut, prefix=None))
        for quantity in (Quantity.VALIDATION_ROBUST, Quantity.EPOCH_SECONDS)
    )
    x, y, spent = list[float](), list[float](), 0.0
    ends = {trial: max(epochs) for trial, epochs in accuracy.items()}
    for epoch in sorted({epoch for epochs in accuracy.values() for epoch in epochs}):
        now = [epochs[epoch] for epochs in seconds.values() if epoch in epochs]
        spent += sum(now) / len(now) if now else 0.0
        stand = [epochs[min(epoch, ends[trial])] for trial, epochs in accuracy.items()]
        x.append(spent)
        y.append(sum(stand) / len(stand))
    return x, y


def _by_trial(numbers: Sequence[Number]) -> dict[int | None, dict[int, float]]:
    """Trial -> epoch -> value."""
    found: dict[int | None, dict[int, float]] = {}
    for number in numbers:
        if number.about.epoch is not None:
            found.setdefault(number.about.trial, {})[number.about.epoch] = number.value
    return found
