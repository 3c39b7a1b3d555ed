"""What single features are worth, as the paper on lighter robust models draws it: its figures 5 to 8."""

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from semirobust.records.schema import Quantity
from semirobust.reports.figures import COLOURS, styled
from semirobust.reports.source import Source

__all__ = ["features_figure"]

# Part of the measure -> title of its panel.
_PANELS: dict[str | None, str] = {
    "original": "usefulness",
    "actual": "usefulness × weight: what a feature adds to the margin",
    None: "usefulness behind the logistic function",
    "robust": "the same at the worst point of the ball",
}


def features_figure(source: Source) -> go.Figure | None:
    """Four histograms over the features in front of the classifier, of each run in its own colour."""
    panels = [source.of(Quantity.FEATURE, measure="usefulness", part=part) for part in _PANELS]
    if not any(panels):
        return None
    runs = list(dict.fromkeys(number.about.run or "" for numbers in panels for number in numbers))
    figure = make_subplots(
        rows=2, cols=2, subplot_titles=list(_PANELS.values()), vertical_spacing=0.2, horizontal_spacing=0.1
    )
    for position, numbers in enumerate(panels):
        row, column = position // 2 + 1, position % 2 + 1
        for number, run in enumerate(runs):
            figure.add_trace(
                go.Histogram(
                    x=[n.value for n in numbers if (n.about.run or "") == run],
                    nbinsx=40,
                    name=run,
                    legendgroup=run,
                    showlegend=position == 0 and len(runs) > 1,
                    opacity=1 if len(runs) == 1 else 0.6,
                    marker={"color": COLOURS[(position if len(runs) == 1 else number) % len(COLOURS)]},
                    hovertemplate="%{x}: %{y} features<extra>" + run + "</extra>",
                ),
                row=row,
                col=column,
            )
        figure.add_vline(x=0, line={"color": "#5b6670", "width": 1, "dash": "dot"}, row=row, col=column)
    figure.update_annotations(font={"size": 13})
    figure.update_yaxes(title="features", col=1)
    figure = styled(figure, 520)
    figure.update_layout(showlegend=len(runs) > 1, barmode="overlay", bargap=0.05, margin={"t": 40})
    return figure
