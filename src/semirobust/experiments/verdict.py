"""What a comparison of arms over seeds allows one to say."""

from collections.abc import Sequence
from typing import Literal

from semirobust.core.interval import ends, mean_interval
from semirobust.experiments.chance import no_better_than_chance
from semirobust.records.schema import About, Finding, LayerEntry, Number, Origin, Quantity, Topic
from semirobust.records.store import AnyRecord

__all__ = ["differences", "verdict"]


def differences(records: Sequence[AnyRecord], arm: str, other: str, attack: str) -> list[float]:
    """Accuracy of ``arm`` minus that of ``other`` under ``attack``, seed by seed."""
    by_seed: dict[str, dict[int, float]] = {arm: {}, other: {}}
    for record in records:
        if isinstance(record, Number) and record.quantity is Quantity.ACCURACY:
            about = record.about
            if about.attack == attack and about.arm in by_seed:
                by_seed[about.arm][about.seed or 0] = record.value
    return [by_seed[arm][s] - by_seed[other][s] for s in sorted(by_seed[arm].keys() & by_seed[other].keys())]


def verdict(
    records: Sequence[AnyRecord], arm: str, others: Sequence[str], attack: str, at: Origin
) -> list[AnyRecord]:
    """For each other arm the mean difference with its interval over seeds, and a sentence that says who
    wins.

    A win is none where the winner itself is no better than guessing, as far as the layers among the records
    tell how many classes there are.
    """
    found: list[AnyRecord] = []
    images = [r.n for r in records if isinstance(r, Number) and r.quantity is Quantity.ACCURACY and r.n]
    resolution = 1 / min(images) if images else 0.0
    for other in others:
        gains = differences(records, arm, other, attack)
        if not gains:
            continue
        mean, (low, high) = sum(gains) / len(gains), mean_interval(gains)
        # Seeds that agree by chance must not make the interval narrower than one image of the test set.
        low, high = (
            max(min(low, mean - resolution), -1.0),
            min(max(high, mean + resolution), 1.0),
        )
        about = About(arm=arm, other=other, attack=attack)
        bounds = (low, high) if len(gains) > 1 else (None, None)
        found.append(
            Number(
                quantity=Quantity.ACCURACY_DIFFERENCE,
                value=mean,
                n=len(gains),
                low=bounds[0],
                high=bounds[1],
                about=about,
                origin=at,
            )
        )
        ahead = _mean_of(records, arm if mean >= 0 else other, attack)
        guessed = _guessed(ahead, min(images, default=0), _outputs(records))
        found.append(_sentence(about, len(gains), mean, low, high, at, guessed))
    return found


def _mean_of(records: Sequence[AnyRecord], arm: str, attack: str) -> float:
    values = [
        r.value
        for r in records
        if isinstance(r, Number)
        and r.quantity is Quantity.ACCURACY
        and (r.about.arm, r.about.attack) == (arm, attack)
    ]
    return sum(values) / len(values) if values else 0.0


def _outputs(records: Sequence[AnyRecord]) -> int:
    """Of the last layer; 0 where none is among the records, or its output is no vector."""
    layers = [record for record in records if isinstance(record, LayerEntry)]
    last = max(layers, key=lambda layer: layer.index, default=None)
    return last.shape[0] if last is not None and len(last.shape) == 1 else 0


def _guessed(accuracy: float, n: int, outputs: int) -> str:
    """A clause where the better of two is no better than guessing; else empty."""
    if outputs < 2 or not no_better_than_chance(accuracy, n, outputs):
        return ""
    return f", yet its {accuracy:.1%} is no better than guessing ({1 / outputs:.1%})"


def _sentence(
    about: About, n: int, mean: float, low: float, high: float, at: Origin, guessed: str
) -> Finding:
    """Who wins, with the interval of the winner's lead."""
    arm, other, attack = str(about.arm), str(about.other), about.attack
    level: Literal["note", "good", "warning"]
    # The one that is ahead comes first, and its lead is above 0.
    ahead, behind = (arm, other) if mean >= 0 else (other, arm)
    if mean < 0:
        low, high = -high, -low
    amount = f"by {abs(mean) * 100:.1f} points under {attack}"
    spread = f"95 % interval over {n} seeds {' to '.join(ends(low, high, sign='+'))}"
    tie = f"{abs(mean) * 100:.1f}" == "0.0"
    equal = f"they are {'equal' if mean == 0 else 'less than 0.1 points apart'} under {attack}"
    if n < 2:
        said = f"{arm} and {other}: {equal}" if tie else f"{ahead} is better than {behind} {amount}"
        text, level = f"{said} in one seed, but one seed decides nothing", "note"
    elif low > 0:
        lost = "" if ahead == arm else f"{arm} does not win: "
        than = f" than {other}" if ahead == arm else ""
        text = f"{lost}{ahead} is better{than} {amount} ({spread}){guessed}"
        level = "warning" if lost or guessed else "good"
    else:
        lead = equal if tie else f"{ahead} leads {amount}"
        text, level = f"{arm} and {other} cannot be told apart: {lead} ({spread})", "note"
    return Finding(topic=Topic.VERDICT, text=text, level=level, about=about, origin=at)
