"""Figures of the page of the paper on lighter robust models."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from semirobust.records import Quantity
from semirobust.reports import Seeds, Source, cells

__all__ = ["FIGURES", "HEIGHT"]

HEIGHT = 4.2  # of a row, in inches
_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#5b6670"
_NAMES = {"standard": "standard", "fgsm": "FGSM", "pgd": "PGD"}
_FEATURES = {"features-standard": "standard", "features-pgd": "PGD"}


def _capacity(panel: Any, source: Source, network: str, title: str) -> None:
    """Accuracy by parameters, under what was trained against and under PGD-40."""
    for training, colour in (("standard", _GREY), ("fgsm", _ORANGE), ("pgd", _BLUE)):
        for attack, style in (("clean", ":"), ("fgsm", "--"), ("pgd-40", "-")):
            points = []
            for size in range(6):
                here = source.only(network=network, training=training, size=size)
                found = cells(here, Quantity.ACCURACY, attack=attack)
                number = cells(here, Quantity.PARAMETERS)
                if found:
                    points.append((number.mean, found))
            name = f"{_NAMES[training]}-trained" if attack == "pgd-40" else None
            _shares(panel, points, style, colour, name)
    panel.set(
        xscale="log",
        xlabel="parameters",
        ylabel="accuracy, %: clean (dotted), FGSM (dashed), PGD-40 (solid)",
        ylim=(0, 100),
        title=title,
    )
    _legend(panel, "best")


def _shares(panel: Any, points: list[tuple[float, Seeds]], style: str, colour: str, name: str | None) -> None:
    """A line in per cent, with 95 % over seeds around it where there are three of them."""
    if points:
        x = [x for x, _ in points]
        panel.plot(
            x, [100 * y.mean for _, y in points], style, marker="o", markersize=2.5, color=colour, label=name
        )
    if points and all(len(y.values) > 2 for _, y in points):
        ends = [[min(max(100 * end, 0), 100) for end in y.interval] for _, y in points]
        panel.fill_between(
            x, [low for low, _ in ends], [high for _, high in ends], color=colour, alpha=0.12, linewidth=0
        )


def _tickets(panel: Any, source: Source, network: str, title: str) -> None:
    """Accuracy by weights left, for tickets and fresh weights."""
    source = source.only(network=network)
    levels = sorted(source.values(Quantity.DENSITY, lambda about: about.level))
    for arm, colour, words in (("ticket", _BLUE, "ticket"), ("fresh-weights", _ORANGE, "fresh weights")):
        for attack, style in (("clean", ":"), ("fgsm", "--"), ("pgd-40", "-")):
            points = []
            for level in levels:
                here = source.only(unit=arm, level=level)
                found = cells(here, Quantity.ACCURACY, attack=attack)
                left = cells(here, Quantity.DENSITY)
                if found:
                    points.append((100 * left.mean, found))
            _shares(panel, points, style, colour, words if attack == "clean" else None)
    panel.set(xscale="log", xlabel="weights left, %", ylabel="accuracy, %", ylim=(0, 100), title=title)
    panel.invert_xaxis()
    _legend(panel, "best")


def _legend(panel: Any, where: str) -> None:
    """Where something was drawn: a run that was not carried out leaves its panel empty."""
    if panel.get_legend_handles_labels()[0]:
        panel.legend(frameon=False, loc=where)


def _used(panel: Any, source: Source) -> None:
    """What each feature adds to the margin by its usefulness, of one seed."""
    for (network, name), colour in zip(_FEATURES.items(), (_GREY, _BLUE), strict=True):
        here = source.only(network=network, attack="40 steps")
        useful, actual = (_of_features(here, part) for part in ("original", "actual"))
        panel.plot(useful, actual, "o", markersize=3, color=colour, alpha=0.7, label=f"{name}-trained")
    panel.axhline(0, color=_GREY, linewidth=0.8, linestyle=":")
    panel.set(xlabel="usefulness of Ilyas et al.", ylabel="actual usefulness (figure 7)")
    panel.legend(frameon=False)


def _of_features(source: Source, part: str | None) -> list[float]:
    found = source.of(Quantity.FEATURE, part=part)
    return [n.value for n in sorted(found, key=lambda n: n.about.feature or 0)]


def _worths(panel: Any, source: Source, part: str | None, title: str, attack: str = "40 steps") -> None:
    """A histogram over the 100 features of one seed, by training, in bins that both share."""
    by_training = {
        name: _of_features(source.only(network=network, attack=attack), part)
        for network, name in _FEATURES.items()
    }
    every = [value for found in by_training.values() for value in found]
    for (name, found), colour in zip(by_training.items(), (_GREY, _BLUE), strict=True):
        words = f"{name}-trained"
        panel.hist(found, bins=30, range=(min(every), max(every)), color=colour, alpha=0.55, label=words)
    panel.axvline(0, color=_GREY, linewidth=0.8, linestyle=":")
    panel.set(xlabel=title, ylabel="features, of 100")
    panel.legend(frameon=False)


FIGURES: Mapping[str, Sequence[Sequence[Callable[[Any, Source], None]]]] = {
    "": (
        (
            partial(_capacity, network="capacity-mnist", title="MNIST, 0.3"),
            partial(_capacity, network="capacity-fashion-mnist", title="Fashion-MNIST, 0.1"),
            partial(_capacity, network="capacity-cifar10", title="CIFAR-10, 8/255"),
        ),
        (
            partial(_tickets, network="lottery-standard", title="tickets, standard training"),
            partial(_tickets, network="lottery-fgsm", title="tickets, FGSM training"),
            partial(_tickets, network="lottery-pgd", title="tickets, PGD training"),
        ),
    ),
    "-features": (
        (
            partial(_worths, part="original", title="usefulness of Ilyas et al. (figure 5)"),
            partial(_worths, part="actual", title="actual usefulness (figure 6)"),
            _used,
        ),
        (
            partial(_worths, part=None, title="usefulness behind the logistic function"),
            partial(
                _worths,
                part="robust",
                attack="3 steps of 0.01",
                title="robust usefulness, 3 steps of 0.01 (figure 8)",
            ),
            partial(_worths, part="robust", title="robust usefulness, 40 steps"),
        ),
    ),
}
"""End of the file's name -> rows of panels, each drawn on axes of matplotlib."""
