"""Charts of accuracies: by arm and attack, over training, by the radius of the ball, from model to model."""

import json
from collections.abc import Iterable, Sequence

from semirobust.figures import Curve, Points, lines, matrix, points, security_curve
from semirobust.figures.curves import Stroke
from semirobust.figures.style import number
from semirobust.records.schema import Quantity
from semirobust.reports.arm import Arm, AttackColumn
from semirobust.reports.chart import Chart, share
from semirobust.reports.source import Cell, Source

__all__ = ["accuracy_chart", "curves_chart", "ends_of", "listed_names", "security_chart", "transfer_chart"]

_TRAIN = Arm("train")
_FEW = "With so few radii the lines between the points say little."
_VALIDATION = ((Quantity.VALIDATION_ROBUST, "under attack"), (Quantity.VALIDATION_CLEAN, "clean"))


def accuracy_chart(source: Source, arms: Sequence[Arm], name: str = "accuracies") -> Chart | None:
    """Accuracy of some arms, clean and under each attack, as points with intervals.

    ``worst`` is left out: it would lie on the strongest attack.
    """
    attacks = [attack for attack in source.attacks() if attack.name != "worst"]
    found = {(arm, attack): source.accuracy(arm, attack) for arm in arms for attack in attacks}
    attacks = [attack for attack in attacks if any(found[arm, attack] for arm in arms)]
    if not attacks:
        return None
    series = []
    for attack in attacks:
        cells = [found[arm, attack] for arm in arms]
        low, high = ends_of(cells)
        series.append(Points(str(attack), [100 * c.value if c else None for c in cells], low, high))
    names = list(map(str, arms))
    return Chart(
        name=name,
        title="Accuracy at a glance",
        says="A point for each attack, its whisker the 95 % interval: the further left, the more an"
        " attack does.",
        described=f"Points with whiskers: accuracy of {listed_names(names)} under"
        f" {listed_names(map(str, attacks))}.",
        draw=lambda width: points(names, series, width=width),
        head=("", *(f"{attack}, %" for attack in attacks)),
        rows=[(str(arm), *(share(found[arm, attack]) for attack in attacks)) for arm in arms],
        holds=lambda n: (
            n.quantity in (Quantity.ACCURACY, Quantity.UNDECIDED)
            and n.about.attack is not None
            and bool(
                source.accuracy(source.arm_of(n), AttackColumn(n.about.attack, n.about.cumulative or None))
            )
        ),
    )


def ends_of(cells: Sequence[Cell | None]) -> tuple[list[float | None], list[float | None]]:
    """Lower and upper ends of intervals of shares, in per cent and within 0 and 100."""

    def bounded(bound: float | None) -> float | None:
        return None if bound is None else 100 * min(max(bound, 0.0), 1.0)

    return [bounded(c.low) if c else None for c in cells], [bounded(c.high) if c else None for c in cells]


def curves_chart(source: Source) -> Chart | None:
    """Validation accuracy by epoch, each arm going on where training from scratch ended."""
    followed = [n for quantity, _ in _VALIDATION for n in source.of(quantity) if n.about.epoch is not None]
    arms = list(dict.fromkeys(source.arm_of(n) for n in followed))
    if not arms:
        return None
    start = max((n.about.epoch or 0 for n in followed if source.arm_of(n) == _TRAIN), default=0)
    curves, rows = list[Curve](), list[tuple[str, ...]]()
    for position, arm in enumerate(arms):
        offset = 0 if arm == _TRAIN else start
        by_epoch = {q: _mean_by_epoch(source, q, arm) for q, _ in _VALIDATION}
        for quantity, name in _VALIDATION:
            values = by_epoch[quantity]
            if values:
                x, y = [e + offset for e in values], [100 * v for v in values.values()]
                solid = quantity is Quantity.VALIDATION_ROBUST
                stroke: Stroke = "solid" if solid else "dotted"
                curves.append(Curve(f"{arm}, {name}", x, y, group=position, stroke=stroke))
        for epoch in sorted({e for values in by_epoch.values() for e in values}):
            cells = (by_epoch[q].get(epoch) for q, _ in _VALIDATION)
            said = ("–" if v is None else f"{100 * v:.1f}" for v in cells)
            rows.append((str(arm), str(epoch + offset), *said))
    return Chart(
        name="training",
        title="Training",
        says="Accuracy on held-out training images after each epoch: solid under the attack of training,"
        " dotted"
        " clean. Means over seeds.",
        described=f"Line chart: accuracy by epoch of {listed_names(map(str, arms))}, under attack and clean.",
        draw=lambda width: lines(
            curves,
            x_label="epoch",
            y_label="held-out accuracy, %",
            x_scale="integer",
            percent=True,
            width=width,
        ),
        head=("", "epoch", "under attack, %", "clean, %"),
        rows=rows,
        holds=lambda n: n.about.epoch is not None and n.quantity in dict(_VALIDATION),
    )


def security_chart(source: Source) -> Chart | None:
    """Accuracy against the radius of the ball, each arm a curve with its interval as a band."""
    quantity = Quantity.ACCURACY_BY_EPSILON
    arms, norms = source.arms(quantity), source.values(quantity, lambda about: about.norm)
    if not any(n.about.epsilon is not None for n in source.of(quantity)):
        return None
    pairs = [(arm, norm) for arm in arms for norm in norms or (None,)]
    radii = sorted(source.values(quantity, lambda about: about.epsilon))
    curves, rows, names, is_open = list[Curve](), list[tuple[str, ...]](), list[str](), False
    for arm, norm in pairs:
        found = [(e, c) for e in radii if (c := source.cell(quantity, arm, norm=norm, epsilon=e))]
        if not found:
            continue
        name, group = f"{arm}, {norm}" if len(norms) > 1 else str(arm), len(names)
        names.append(name)
        x, y = [e for e, _ in found], [100 * c.value for _, c in found]
        low, high = ([v or 0.0 for v in ends] for ends in ends_of([c for _, c in found]))
        curves.append(Curve(name, x, y, low, high, group=group))
        left = [source.cell(Quantity.UNDECIDED_BY_EPSILON, arm, norm=norm, epsilon=e) for e in x]
        if any(left):
            is_open = True
            above = [v + 100 * cell.value if cell else v for v, cell in zip(y, left)]
            curves.append(Curve(f"{name}, or not decided", x, above, group=group, stroke="dotted"))
        for (radius, cell), open_ in zip(found, left):
            undecided = "–" if open_ is None else f"{100 * open_.value:.1f}"
            rows.append((name, number(radius), share(cell), undecided))
    swept = source.values(quantity, lambda about: about.attack)
    said = f"{' or '.join(norms)}, " if norms else ""
    return Chart(
        name="strength",
        title="Strength of the attack",
        says=f"Accuracy against the radius of the ball, with the exact 95 % interval over images;"
        f" {', '.join(swept)}."
        + (" The dotted line adds the images about which the attacks decide nothing." if is_open else ""),
        described=f"Line chart: accuracy of {listed_names(names)} by the radius ε of the attack.",
        draw=lambda width: security_curve(curves, x_label=f"ε ({said}pixels from 0 to 1)", width=width),
        head=("", "ε", "accuracy, %", "not decided, %"),
        rows=rows,
        holds=lambda n: n.quantity in (quantity, Quantity.UNDECIDED_BY_EPSILON) and n.about.epsilon in radii,
        note=" ".join(filter(None, (_FEW if len(radii) < 3 else "", _mixed(source)))),
    )


def _mixed(source: Source) -> str:
    """A sentence where runs on other data, or with other settings, are drawn together."""
    runs = {
        record.about.run: (record.settings.get("data"), record.settings.get("evaluate"))
        for record in source.settings
    }
    several = len({json.dumps(each, sort_keys=True, default=str) for each in runs.values()}) > 1
    return (
        "The runs had other data or other settings: curves of different runs do not compare."
        if several
        else ""
    )


def transfer_chart(source: Source) -> Chart | None:
    """Accuracy of each model (across) on examples made for each (down)."""
    quantity = Quantity.TRANSFER_ACCURACY
    arms = source.arms(quantity)
    if not arms:
        return None
    found = {
        (arm, s, t): cell
        for arm in arms
        for s in source.values(quantity, lambda about: about.source)
        for t in source.values(quantity, lambda about: about.target)
        if (cell := source.cell(quantity, arm, source=s, target=t))
    }
    if not found:
        return None
    # Several runs stand apart, each with its own models and attack.
    down = list(dict.fromkeys((arm, s) for arm, s, _ in found))
    across = list(dict.fromkeys((arm, t) for arm, _, t in found))
    cells = [[found.get((arm, s, t)) if arm == other else None for other, t in across] for arm, s in down]
    rows, columns = (
        [f"{arm}: {name}" if len(arms) > 1 else name for arm, name in keys] for keys in (down, across)
    )
    values = [[100 * cell.value if cell else None for cell in row] for row in cells]
    left = [
        f"Made for {n.about.source}, seen by {n.about.target}: {n.value:.1%} not decided."
        for n in source.of(Quantity.UNDECIDED_TRANSFER)
    ]
    made = ", ".join(source.values(quantity, lambda about: about.attack))
    return Chart(
        name="transfer",
        title="Transfer",
        says=f"Accuracy in % of each model (across) on adversarial examples made for each (down) by"
        f" {made}. Where"
        " both are one model stands the attack on the model itself.",
        described=f"Matrix: examples made for {listed_names(rows)}, seen by {listed_names(columns)}.",
        draw=lambda width: matrix(values, rows, columns, x_label="seen by", y_label="made for", width=width),
        head=("made for", *columns),
        rows=[(name, *map(share, row)) for name, row in zip(rows, cells)],
        holds=lambda n: n.quantity is quantity and None not in (n.about.source, n.about.target),
        note=" ".join(left),
    )


def listed_names(names: Iterable[str], most: int = 6) -> str:
    """Some names in a sentence."""
    found = list(dict.fromkeys(names))
    if len(found) > most:
        return f"{', '.join(found[: most - 1])} and {len(found) - most + 1} more"
    return " and ".join(filter(None, (", ".join(found[:-1]), *found[-1:])))


def _mean_by_epoch(source: Source, quantity: Quantity, arm: Arm) -> dict[int, float]:
    by_epoch: dict[int, list[float]] = {}
    for n in source.of(quantity, arm):
        if n.about.epoch is not None:
            by_epoch.setdefault(n.about.epoch, []).append(n.value)
    return {epoch: sum(by_epoch[epoch]) / len(by_epoch[epoch]) for epoch in sorted(by_epoch)}
