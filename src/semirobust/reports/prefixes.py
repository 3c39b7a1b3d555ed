"""What heads and read-outs of each prefix reach."""

from semirobust.figures import Curve, lines
from semirobust.records.schema import Number, Quantity
from semirobust.reports.chart import Chart, in_words, share
from semirobust.reports.figures import listed_names
from semirobust.reports.source import Cell, Source

__all__ = ["prefix_charts"]

# Measure -> its part -> words for it.
_WORDS: dict[str, dict[str | None, str]] = {
    "semirobustness": {
        None: "under attack",
        "accuracy": "share right under attack",
        "clean": "clean",
    },
    "readout": {
        None: "ridge, other half",
        "attacked": "ridge, attacked itself",
        "paper": "as in the paper, in sample",
        "random": "random weights",
        "network": "the network itself",
    },
}
_TITLES = {
    "semirobustness": "How robust is each prefix by itself?",
    "readout": "Can the output be read linearly off a prefix?",
}
_SAYS = {
    "semirobustness": "Semirobustness γ: the margin, the probability of the right class less the largest"
    " of the"
    " others, that a linear head, trained adversarially on the prefix's feature, keeps on images that it"
    " was not"
    " trained on. A better head would keep more, a stronger attack leave less. Above 0 it is right more"
    " than it is"
    " wrong; a head that answers nothing has 0.",
    "readout": "The network's logits as a linear map of all raw outputs of a prefix, scored on examples"
    " made against"
    " the network. In sample says little about new images, and examples made against another network"
    " flatter: the"
    " curve that was attacked itself is the one to believe.",
}
_AXES = {
    "semirobustness": "margin; share right",
    "readout": "accuracy under attack, %",
}


def prefix_charts(source: Source) -> list[Chart]:
    """``semirobustness``: the margin gamma_j of a head on each prefix; ``readout``: accuracy of linear
    read-outs of it.
    """
    charts = (_chart(source, measure) for measure in _WORDS)
    return [chart for chart in charts if chart is not None]


def _chart(source: Source, measure: str) -> Chart | None:
    words, shares = _WORDS[measure], measure == "readout"
    parts = [part for part in words if source.of(Quantity.MEASURE, measure=measure, part=part)]
    if not parts:
        return None
    arms = list(
        dict.fromkeys(a for p in parts for a in source.arms(Quantity.MEASURE, measure=measure, part=p))
    )
    factor, curves, rows = 100 if shares else 1, list[Curve](), list[tuple[str, ...]]()
    for arm, part in ((arm, part) for arm in arms for part in parts):
        by_layer: dict[int, list[Number]] = {}
        for found in source.of(Quantity.MEASURE, arm, measure=measure, part=part):
            by_layer.setdefault(found.about.layer or 0, []).append(found)
        if not by_layer:
            continue
        cells = {layer: Cell.of(by_layer[layer]) for layer in sorted(by_layer)}
        name = f"{arm}: {words[part]}" if len(arms) > 1 else words[part]
        low, high = (
            [factor * (c.value if (bound := getattr(c, end)) is None else bound) for c in cells.values()]
            for end in ("low", "high")
        )
        curves.append(Curve(name, [*cells], [factor * c.value for c in cells.values()], low, high))
        rows += [(name, str(layer), (share if shares else in_words)(c)) for layer, c in cells.items()]
    return Chart(
        name=measure,
        title=_TITLES[measure],
        says=_SAYS[measure],
        described=f"Line chart by the last layer of the prefix: {listed_names(c.name for c in curves)}.",
        draw=lambda width: lines(
            curves,
            x_label="last layer of the prefix",
            y_label=_AXES[measure],
            x_scale="integer",
            percent=shares,
            width=width,
        ),
        head=("", "last layer", _AXES[measure]),
        rows=rows,
        holds=lambda n: (
            n.quantity is Quantity.MEASURE and n.about.measure == measure and n.about.part in words
        ),
        note="Whiskers: 95 % intervals.",
    )
