"""What single features are worth, as the paper on lighter robust models draws it: its figures 5 to 8."""

from semirobust.figures import Panel, histograms
from semirobust.figures.style import number
from semirobust.records.schema import Quantity
from semirobust.reports.chart import Chart
from semirobust.reports.source import Source

__all__ = ["features_chart"]

# Part of the measure -> title of its panel.
_PANELS: dict[str | None, str] = {
    "original": "usefulness",
    "actual": "usefulness × weight: what a feature adds to the margin",
    None: "usefulness behind the logistic function",
    "robust": "the same at the worst point of the ball",
}


def features_chart(source: Source) -> Chart | None:
    """Four histograms over the features in front of the classifier, of each run in its own colour."""
    found = [source.of(Quantity.FEATURE, measure="usefulness", part=part) for part in _PANELS]
    if not any(found):
        return None
    runs = list(dict.fromkeys(n.about.run or "" for numbers in found for n in numbers))
    by_run = [
        {run: [n.value for n in numbers if (n.about.run or "") == run] for run in runs} for numbers in found
    ]
    panels = [Panel(title, values) for title, values in zip(_PANELS.values(), by_run)]
    rows = [
        (title, run or "this model", str(len(values)), *map(number, _five(values)))
        for title, of in zip(_PANELS.values(), by_run)
        for run, values in of.items()
        if values
    ]
    return Chart(
        name="features",
        title="What single features are worth",
        says="Each feature in front of the classifier, normalised, by itself: how well it points to the"
        " class, and"
        " what is left of that when each image is moved, for this feature alone, to the worst point that"
        " the attack"
        " finds in the ball. Below 0 it points to the wrong class.",
        described="Four histograms over features: " + "; ".join(_PANELS.values()) + ".",
        draw=lambda width: histograms(panels, width=width),
        head=("", "model", "features", "least", "lower quarter", "median", "upper quarter", "most"),
        rows=rows,
        holds=lambda n: (
            n.quantity is Quantity.FEATURE and n.about.measure == "usefulness" and n.about.part in _PANELS
        ),
    )


def _five(values: list[float]) -> list[float]:
    """Least, quartiles and most."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return [ordered[round(last * part / 4)] for part in range(5)]
