"""Every number that no chart shows, in tables: nothing that was recorded is missing from a page."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from semirobust.figures.style import number
from semirobust.records.schema import About, Number, Quantity
from semirobust.reports.arm import Arm
from semirobust.reports.source import Cell, Source

__all__ = ["Glossary", "NumberTable", "glossary", "number_tables", "words"]

_OPENED = ("Differences", "Size and cost", "Recovery")  # what a command was run to find out
_ROWS = 200  # of one table, more of which nobody reads; all are in the records
_Q = Quantity
_GROUPS: tuple[tuple[str, tuple[Quantity, ...]], ...] = (
    ("Accuracy", (_Q.ACCURACY, _Q.UNDECIDED, _Q.ACCURACY_BY_EPSILON, _Q.UNDECIDED_BY_EPSILON,
                  _Q.TRANSFER_ACCURACY, _Q.UNDECIDED_TRANSFER)),
    ("Differences", (_Q.ACCURACY_DIFFERENCE,)),
    ("Size and cost", (_Q.PARAMETERS, _Q.MACS, _Q.MEGABYTES, _Q.INFERENCE_SECONDS,
                       _Q.INFERENCE_RATIO, _Q.INFERENCE_RATIO_MIN, _Q.INFERENCE_RATIO_MAX)),
    ("Pruning", (_Q.DENSITY, _Q.WEIGHTS_LEFT, _Q.PARAMETER_DENSITY, _Q.FEATURES_LEFT)),
    ("Recovery", (_Q.RECOVERY_REFERENCE, _Q.RECOVERY_START, _Q.RECOVERY_BEST,
                  _Q.RECOVERY_DIFFERENCE, _Q.RECOVERY_EPOCH, _Q.RECOVERY_EPOCHS,
                  _Q.RECOVERED_TRIALS, _Q.ROBUST_PREFIX, _Q.RECOVERY_THRESHOLD)),
    ("Bounds", (_Q.LOSS_DIFFERENCE, _Q.QUADRATIC_BOUND, _Q.GRADIENT_TERM, _Q.SHARPNESS,
                _Q.PARAMETER_DISTANCE, _Q.OUTPUT_DISTANCE, _Q.PEELING_BOUND,
                _Q.TELESCOPED_BOUND, _Q.BUFFERS_DIFFER)),
    ("Training", (_Q.BEST_EPOCH, _Q.TRAINING_LOSS, _Q.VALIDATION_LOSS, _Q.VALIDATION_CLEAN,
                  _Q.VALIDATION_ROBUST, _Q.LEARNING_RATE, _Q.EPOCH_SECONDS, _Q.EPOCH_OPERATIONS,
                  _Q.TRAINED_PARAMETERS)),
    ("Layers in training", (_Q.VALIDATION_MEASURE, _Q.TRAINED_LAYER, _Q.MARKED_LAYER)),
    ("Layers and features", (_Q.MEASURE, _Q.FEATURE, _Q.FEATURE_MEAN, _Q.FEATURE_POSITIVE)),
    ("Agreement of rankings", (_Q.RANK_AGREEMENT, _Q.STABILITY, _Q.STABILITY_SAME,
                               _Q.STABILITY_CHANCE, _Q.STABILITY_SEEDS)),
    ("Others", (_Q.OTHER,)),
)  # fmt: skip
# Of what a record speaks of, what its row says beside the arm; seeds and trials are averaged over.
_NAMED = {
    "protocol": "{}", "when": "{} of training", "epoch": "epoch {}", "level": "level {}",
    "layer": "layer {}", "feature": "feature {}", "parameter": "{}", "on": "on layer {}", "estimator": "{}",
    "form": "{}", "scale": "{}", "place": "{}", "k": "top {}", "batch": "batches of {}", "attack": "{}",
    "cumulative": "", "threat": "{}", "norm": "{}", "epsilon": "ε {}", "source": "made for {}",
    "target": "seen by {}", "other": "against {}", "prefix": "{} prefix", "tuned_layer": "layer {} tuned",
    "loss_form": "{}", "loss_weight": "weight {}", "converged": "came back: {}", "network": "{}",
    "unit": "{}", "variant": "{}", "training": "{}", "size": "size {}", "fooled": "", "check": "{}",
}  # fmt: skip


@dataclass(frozen=True)
class NumberTable:
    """Numbers of one kind.

    Attributes:
        title: above it.
        head, rows: texts.
        left_out: rows that have no room.
        opened: shown without being asked for.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    left_out: int = 0
    opened: bool = False


@dataclass(frozen=True)
class Glossary:
    """What a quantity is: its name, its unit and one line."""

    name: str
    unit: str
    meaning: str


def number_tables(source: Source, elsewhere: Callable[[Number], bool]) -> list[NumberTable]:
    """The numbers in tables, a row for each thing that they speak of and a column for each quantity.

    Args:
        source: the records.
        elsewhere: whether another table of the page holds a number.
    """
    tables = list[NumberTable]()
    for title, quantities in _GROUPS:
        numbers = [n for q in quantities for n in source.of(q) if not elsewhere(n)]
        for by_epoch in (False, True):
            found = [n for n in numbers if (n.about.epoch is not None) is by_epoch]
            if found:
                said = f"{title}, epoch by epoch" if by_epoch else title
                tables.append(_table(source, said, found))
    return tables


def _table(source: Source, title: str, numbers: Iterable[Number]) -> NumberTable:
    cells: dict[tuple[Arm, str], dict[str, list[Number]]] = {}
    columns: dict[str, None] = {}
    for n in numbers:
        row, column = (source.arm_of(n), _subject(n.about)), _column(n)
        columns[column] = None
        cells.setdefault(row, {}).setdefault(column, []).append(n)
    subjects = any(subject for _, subject in cells)
    rows = [
        (str(arm), *([subject] if subjects else []), *(_cell(found.get(column)) for column in columns))
        for (arm, subject), found in cells.items()
    ]
    head = ("", *(["of"] if subjects else []), *columns)
    return NumberTable(title, head, rows[:_ROWS], max(0, len(rows) - _ROWS), title in _OPENED)


def _subject(about: About) -> str:
    said = ((text, getattr(about, name)) for name, text in _NAMED.items())
    return ", ".join(text.format(value) for text, value in said if text and value is not None)


def _column(n: Number) -> str:
    parts = (
        [n.about.measure, n.about.part] if n.quantity is not Quantity.FEATURE_POSITIVE else [n.about.measure]
    )
    of = ": ".join(filter(None, parts)) if n.about.measure else n.about.part or ""
    unit = "ms" if n.unit == "s" and n.quantity is Quantity.INFERENCE_SECONDS else n.unit
    name = f"{words(n.quantity)} {of}".strip()
    return name if unit in ("1", "") or unit in name else f"{name}, {unit}"


def _cell(numbers: Sequence[Number] | None) -> str:
    if not numbers:
        return "–"
    cell, factor = Cell.of(numbers), 1000 if numbers[0].quantity is Quantity.INFERENCE_SECONDS else 1
    if cell.value == round(cell.value) and abs(cell.value) < 1e15 and numbers[0].unit not in ("1", "s"):
        said = f"{cell.value:,.0f}"
    else:
        said = number(factor * cell.value)
    if cell.low is None or cell.high is None:
        return said
    return f"{said} ({number(factor * cell.low)} to {number(factor * cell.high)})"


def words(quantity: Quantity) -> str:
    """The name of a quantity as it is read."""
    return str(quantity).replace("_", " ")


def glossary(source: Source) -> list[Glossary]:
    """Each quantity that has a number, in the order of their list."""
    have = {n.quantity for n in source.numbers}
    return [Glossary(words(q), q.unit if q.unit != "1" else "", q.meaning) for q in Quantity if q in have]
