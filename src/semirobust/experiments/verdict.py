"""What a comparison of arms over seeds allows one to say."""

from collections.abc import Sequence
from typing import Literal

from semirobust.core.interval import mean_interval
from semirobust.records.schema import About, Finding, Number, Origin, Quantity, Topic
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
        low, high = min(low, mean - resolution), max(high, mean + resolution)
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
        found.append(_sentence(about, len(gains), mean, low, high, at))
    return found


def _sentence(about: About, n: int, mean: float, low: float, high: float, at: Origin) -> Finding:
    arm, other, attack = about.arm, about.other, about.attack
    level: Literal["note", "good", "warning"]
    amount = f"by {abs(mean) * 100:.1f} points under {attack}"
    spread = f"95 % interval over {n} seeds {low * 100:+.1f} to {high * 100:+.1f}"
    if n < 2:
        text, level = f"{arm} differs from {other} {amount}, but one seed decides nothing", "note"
    elif low > 0:
        text, level = f"{arm} is better than {other} {amount} ({spread})", "good"
    elif high < 0:
        text, level = f"{arm} does not win: {other} is better {amount} ({spread})", "warning"
    else:
        leader = arm if mean > 0 else other
        text, level = f"{arm} and {other} cannot be told apart: {leader} leads {amount} ({spread})", "note"
    return Finding(topic=Topic.VERDICT, text=text, level=level, about=about, origin=at)
