"""What a report shows of records that are too many to show, so that no file of them costs a large machine."""

import base64
import itertools
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace

from semirobust.core.budget import BUDGET
from semirobust.records.schema import Finding, Number, Origin, Picture, Quantity, Topic
from semirobust.reports.arm import Arm, AttackColumn
from semirobust.reports.source import Source

__all__ = ["limited"]

_NOWHERE = Origin(config="", version="", device="", seed="")
_OF_LAYERS = (Quantity.VALIDATION_MEASURE, Quantity.TRAINED_LAYER, Quantity.MARKED_LAYER)
_OF_TRIALS = (Quantity.VALIDATION_ROBUST, Quantity.EPOCH_SECONDS)
_SIGNATURE, _HEADER = b"\x89PNG\r\n\x1a\n", 24


def limited(source: Source) -> Source:
    """The source without what no figure or table has room for, and with a sentence on what is left out.

    Of each kind the first in order of appearance are kept. The records themselves keep all.
    """
    left = _Left(list(source.numbers))
    left.keep("arms", lambda n: Arm.of(n.about), BUDGET.arms)
    left.keep(f"layers beyond {BUDGET.layers_drawn:,}", lambda n: n.about.layer if _beyond(n) else None, 0)
    for quantity in (Quantity.ACCURACY, Quantity.UNDECIDED):
        left.keep("attacks", lambda n: AttackColumn.of(n.about), BUDGET.columns, quantity)
    left.keep("norms", lambda n: n.about.norm, BUDGET.columns)
    left.keep("radii", lambda n: n.about.epsilon, BUDGET.radii)
    left.keep("levels", lambda n: n.about.level, BUDGET.radii)
    left.keep("trials", lambda n: n.about.trial, BUDGET.drawn)
    curve, pair = Quantity.ACCURACY_BY_EPSILON, Quantity.TRANSFER_ACCURACY
    left.keep("curves", lambda n: (Arm.of(n.about), n.about.norm), BUDGET.arms, curve)
    left.keep("source models", lambda n: (Arm.of(n.about), n.about.source), BUDGET.arms, pair)
    left.keep("target models", lambda n: n.about.target, BUDGET.columns, pair)
    layers = source.layers[: BUDGET.layers_drawn]
    most = max(1, BUDGET.columns_drawn // max(len(layers), 1))
    measured = Quantity.MEASURE
    left.keep("profiles", lambda n: (Arm.of(n.about), n.about.measure, n.about.part), 2 * most, measured)
    left.thin(_OF_LAYERS, lambda n: n.about.layer)
    left.thin(_OF_TRIALS, lambda n: n.about.trial)
    pictures = [p for p in source.pictures if _pixels(p) <= BUDGET.picture_pixels][: BUDGET.arms]
    findings, settings = list(source.findings[: BUDGET.drawn]), list(source.settings[: BUDGET.columns])
    for what, kept, given in (
        ("layers", len(layers), len(source.layers)),
        ("pictures", len(pictures), len(source.pictures)),
        ("sentences", len(findings), len(source.findings)),
        ("tables of settings", len(settings), len(source.settings)),
    ):
        if kept < given:
            left.note(what, kept, given)
    notes = [_note(f"not all is shown: {said}") for said in left.notes]
    return replace(
        source,
        numbers=left.numbers,
        layers=layers,
        pictures=pictures,
        findings=[*findings, *notes],
        settings=settings,
    )


@dataclass
class _Left:
    """The numbers that are left, and what was left out so far."""

    numbers: list[Number]
    notes: list[str] = field(default_factory=list)

    def note(self, what: str, kept: int, given: int) -> None:
        self.notes.append(f"{kept:,} of {given:,} {what}")

    def keep(
        self, what: str, of: Callable[[Number], Hashable], most: int, quantity: Quantity | None = None
    ) -> None:
        """Keep the first values of ``of``, of one quantity or of all; those that are None count as none."""
        asked = [n for n in self.numbers if quantity in (None, n.quantity)]
        found = dict.fromkeys(value for n in asked if (value := of(n)) is not None)
        if len(found) <= most:
            return
        gone = set(itertools.islice(found, most, None))
        self.numbers = [n for n in self.numbers if quantity not in (None, n.quantity) or of(n) not in gone]
        self.note(what, most, len(found))

    def thin(self, quantities: Sequence[Quantity], row: Callable[[Number], int | None]) -> None:
        """Leave out epochs where a figure would have more than so many cells."""
        asked = [n for n in self.numbers if n.quantity in quantities and n.about.epoch is not None]
        epochs = sorted({n.about.epoch or 0 for n in asked})
        arms = len({Arm.of(n.about) for n in asked})
        rows = max((abs(row(n) or 0) for n in asked), default=0) + 1
        most = max(1, BUDGET.cells // (rows * max(arms, 1)))
        if len(epochs) <= most:
            return
        kept = set(epochs[:: -(-len(epochs) // most)])
        left_out = {id(n) for n in asked if n.about.epoch not in kept}
        self.numbers = [n for n in self.numbers if id(n) not in left_out]
        self.note("epochs", len(kept), len(epochs))


def _beyond(number: Number) -> bool:
    return number.about.layer is not None and abs(number.about.layer) > BUDGET.layers_drawn


def _note(text: str) -> Finding:
    return Finding(topic=Topic.NOTE, text=text, level="warning", origin=_NOWHERE)


def _pixels(picture: Picture) -> int:
    """What a PNG unpacks to in whatever shows it, by its header."""
    try:
        head = base64.b64decode(picture.png[: 4 * _HEADER // 3 + 4])
    except ValueError:
        return 0  # shown as no picture
    if head[:8] != _SIGNATURE or len(head) < _HEADER:
        return 0
    return int.from_bytes(head[16:20], "big") * int.from_bytes(head[20:24], "big")
