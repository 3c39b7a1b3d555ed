"""Levels of pruning by their records: whether they are whole, and which is good enough."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from semirobust.core.errors import InputError
from semirobust.core.tensor_files import set_aside
from semirobust.data.base.images import Images
from semirobust.experiments.chance import no_better_than_chance
from semirobust.experiments.sections import Prune
from semirobust.procedures.lottery import Level
from semirobust.records.schema import Finding, Number, Quantity, Topic
from semirobust.records.store import AnyRecord, read_records

__all__ = ["kept_of", "nothing_said", "scores_by_level", "within", "without_records"]


def without_records(folder: Path, levels: int) -> None:
    """Set a kept level aside whose records are lost or damaged: it is trained again, since they are made with
    it.
    """
    for number in range(levels + 1):
        weights, records = folder / f"level-{number}.safetensors", folder / f"level-{number}.jsonl"
        if not weights.is_file():
            continue
        try:
            read_records(records)
        except InputError:
            then = f"level {number} is trained anew"
            if records.is_file():
                set_aside(records, then)
            set_aside(weights, then, why="has no records beside it")


def kept_of(
    records: Sequence[AnyRecord], levels: Sequence[Level], settings: Prune, held_out: Images
) -> tuple[Level, str]:
    """The level that becomes the run's network and why; no reason where none was judged."""
    if isinstance(settings.keep, int):
        return levels[settings.keep], "the one asked for"
    if len(held_out) == 0 or settings.validation.validation_examples == 0:
        return levels[0], ""
    broken = {
        r.about.level for r in records if isinstance(r, Finding) and r.topic in (Topic.EMPTY, Topic.STOPPED)
    }
    sound = [level for level in levels if level.number not in broken]
    if not sound:
        return levels[0], ""
    quantities = (Quantity.VALIDATION_ROBUST, Quantity.VALIDATION_CLEAN)
    robust, clean = (scores_by_level(records, quantity) for quantity in quantities)
    if settings.keep == "most-robust":
        best = max(sound, key=lambda level: (robust.get(level.number, -1.0), level.number))
        return best, "the most robust"
    enough = [
        level.number
        for level in sound
        if all(within(scores, level.number, settings.tolerance) for scores in (robust, clean))
    ]
    chosen = enough[-1] if enough else sound[0].number
    return levels[chosen], "the sparsest that is accurate and robust enough" if enough else ""


def within(scores: Mapping[int, float], number: int, tolerance: float) -> bool:
    """Whether a level is that close to the first, or to the best where there is no first; nothing said is
    nothing against it.
    """
    first = scores.get(0, max(scores.values(), default=0.0))
    return not scores or scores.get(number, -1.0) >= first - tolerance


def scores_by_level(records: Sequence[AnyRecord], quantity: Quantity) -> dict[int, float]:
    """Accuracy on held-out images by level, of the epoch whose weights are kept."""
    best: dict[int, float] = {}
    numbers = [r for r in records if isinstance(r, Number) and r.about.level is not None]
    epochs = {n.about.level: int(n.value) for n in numbers if n.quantity is Quantity.BEST_EPOCH}
    for n in numbers:
        level = n.about.level
        if n.quantity is not quantity or level is None:
            continue
        if (n.about.epoch or 0) == epochs.get(level, 0):
            best[level] = n.value
    return best


def nothing_said(records: Sequence[AnyRecord], settings: Prune, held_out: Images) -> str:
    """A clause where what levels are compared with is no better than chance, or the tolerance falls to it."""
    n, classes = min(settings.validation.validation_examples, len(held_out)), len(held_out.classes)
    for quantity, where in (
        (Quantity.VALIDATION_ROBUST, "under attack on"),
        (Quantity.VALIDATION_CLEAN, "on"),
    ):
        scores = scores_by_level(records, quantity)
        whole = scores.get(0, max(scores.values(), default=1.0))
        aim = whole - settings.tolerance if settings.keep == "sparsest" else None
        if no_better_than_chance(whole, n, classes, aim=aim):
            return (
                f"that says nothing: the whole network has {whole:.1%} {where} held-out images, and chance or"
                f" the tolerance reaches as far ({1 / classes:.1%})"
            )
    return ""
