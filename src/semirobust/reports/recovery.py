"""How far training of a suffix came back, against what it cost."""

from collections.abc import Sequence

from semirobust.figures import Curve, lines
from semirobust.figures.style import number
from semirobust.records.schema import Number, Quantity
from semirobust.reports.chart import Chart
from semirobust.reports.figures import listed_names
from semirobust.reports.source import Source

__all__ = ["recovery_chart"]


def recovery_chart(source: Source) -> Chart | None:
    """Accuracy under attack on the images that decide by seconds of training: a line for each cut, f* as a
    level.
    """
    cuts = sorted({(n.about.run or "", n.about.suffix or 0) for n in source.of(Quantity.RECOVERY_BEST)})
    if not cuts:
        return None
    curves, rows = list[Curve](), list[tuple[str, ...]]()
    for run, cut in cuts:
        layers = max((e.index for e in source.layers if (e.about.run or "") == run), default=0)
        x, y = _curve(source, cut, run or None)
        name = f"{run}: " * bool(run) + f"suffix of {cut}" + (f", prefix of {layers - cut}" if layers else "")
        curves.append(Curve(name, x, [100 * value for value in y]))
        rows += [(name, number(seconds), f"{100 * value:.1f}") for seconds, value in zip(x, y)]
    scores = source.of(Quantity.VALIDATION_ROBUST, epoch=None)
    levels = {n.about.run: n.value for n in scores if n.about.suffix is not None}
    references = [
        (f"{owner}: f*" if owner else "f*, robust as a whole", 100 * v) for owner, v in levels.items()
    ]
    rows += [(name, "–", f"{value:.1f}") for name, value in references]
    return Chart(
        name="recovery",
        title="How small may the robust prefix be?",
        says="A normally trained suffix behind a robust, frozen prefix: how far training the suffix alone"
        " comes back"
        " to the robust network (dashed), and what it costs. The first point of each line is before any"
        " training;"
        " means over trials.",
        described=f"Line chart: accuracy by seconds of training of {listed_names(c.name for c in curves)}.",
        draw=lambda width: lines(
            curves,
            x_label="seconds of training",
            y_label="accuracy under attack, %",
            references=references,
            percent=True,
            width=width,
        ),
        head=("", "seconds", "under attack, held-out images, %"),
        rows=rows,
        holds=lambda n: False,
    )


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
    for n in numbers:
        if n.about.epoch is not None:
            found.setdefault(n.about.trial, {})[n.about.epoch] = n.value
    return found
