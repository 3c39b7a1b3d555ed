"""Whether an accuracy says anything."""

from semirobust.core.interval import proportion_interval

__all__ = ["no_better_than_chance"]


def no_better_than_chance(accuracy: float, n: int, classes: int, *, aim: float | None = None) -> bool:
    """Whether an accuracy on ``n`` examples may be that of an answer by chance, or an ``aim`` below it is.

    By the exact 95 % interval. What comes as far as such a network has come nowhere.
    """
    chance = 1 / max(classes, 1)
    by_chance = n > 0 and proportion_interval(min(max(round(accuracy * n), 0), n), n)[0] <= chance
    return by_chance or (aim is not None and aim <= chance)
