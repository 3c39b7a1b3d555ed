"""Schedules of the learning rate, by name."""

import math
import re
from collections.abc import Callable, Sequence

from semirobust.core.errors import InputError
from semirobust.core.nearest import meant

__all__ = ["SCHEDULES", "Schedule", "schedule"]

Schedule = Callable[[float], float]
"""Progress in [0, 1] to a factor on the learning rate."""


def constant(progress: float) -> float:
    """1 throughout."""
    return 1.0


def step(progress: float) -> float:
    """1, then 0.1 from half of training on, 0.01 from three quarters on (Rice et al. 2020: epochs 100 and 150
    of 200).
    """
    return 1.0 if progress < 0.5 else 0.1 if progress < 0.75 else 0.01


def thirds(progress: float) -> float:
    """1, then 0.1 from a third of training on, 0.01 from two thirds on (the semirobustness paper: epochs 40
    and 80 of 120).
    """
    return 1.0 if progress < 1 / 3 else 0.1 if progress < 2 / 3 else 0.01


def cosine(progress: float) -> float:
    """(1 + cos(pi * progress)) / 2, from 1 to 0 (Loshchilov & Hutter 2017; CLAT)."""
    return (1 + math.cos(math.pi * progress)) / 2


def cyclic(progress: float) -> float:
    """A triangle from 0 up to 1 at two fifths of training and back to 0 (Wong et al. 2020)."""
    return progress / 0.4 if progress < 0.4 else (1 - progress) / 0.6


SCHEDULES: dict[str, Schedule] = {
    "constant": constant,
    "step": step,
    "thirds": thirds,
    "cosine": cosine,
    "cyclic": cyclic,
}


def drops(at: Sequence[float]) -> Schedule:
    """1, then a tenth of it from each of these fractions of training on: ``drops-75-90`` (in per cent) for
    TRADES.
    """
    return lambda progress: float(0.1 ** sum(progress >= fraction for fraction in at))


def schedule(name: str) -> Schedule:
    """The schedule called ``name``; ``drops-50-75`` divides by ten at 50 and 75 % of training."""
    if re.fullmatch(r"drops(-\d{1,2}(\.\d+)?)+", name):
        return drops([float(part) / 100 for part in name.split("-")[1:]])
    if name not in SCHEDULES:
        raise InputError(
            f"schedule: expected one of {', '.join(SCHEDULES)}, or such as drops-75-90; got {name!r}"
            f"{meant(name, SCHEDULES)}"
        )
    return SCHEDULES[name]
