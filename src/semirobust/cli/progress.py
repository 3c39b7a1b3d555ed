"""Progress of a command on standard error: bars on a terminal, a line for each epoch everywhere, and the time
that is left for all of it.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from semirobust.cli.console import aside, errors, speaks
from semirobust.core.text import printable

__all__ = ["Clock", "bars", "spoken_time"]

_FIRST = 5.0  # seconds of training after which the first estimate is said
_LONG = 60.0  # seconds from which on an estimate is worth a line of its own
_ALL = "in all"


@dataclass
class Clock:
    """How long a command will still take, by the epochs that it trains.

    Args:
        work: the trainings of the command in their order: what progress calls each, and its epochs. Those
            that an earlier call has done already are passed over.
    """

    work: Sequence[tuple[str, int]]
    at: int = 0
    began: float | None = None
    first: float = 0.0
    done: float = 0.0
    now: float = field(default=0.0, repr=False)

    @property
    def total(self) -> int:
        """Epochs of all trainings."""
        return sum(epochs for _, epochs in self.work)

    def step(self, task: str, share: float, now: float) -> bool:
        """A training came so far; False where no training is called so."""
        found = next((i for i in range(self.at, len(self.work)) if self.work[i][0] == task), None)
        if found is None:
            return False
        self.at, self.now = found, now
        before = sum(epochs for _, epochs in self.work[:found])
        self.done = before + share * self.work[found][1]
        if self.began is None:
            self.began, self.first = now, self.done
        if share >= 1 and found + 1 < len(self.work):
            self.at = found + 1
        return True

    @property
    def left(self) -> float | None:
        """Seconds that are left at the pace until now; None before there is one."""
        if self.began is None or self.done <= self.first:
            return None
        pace = (self.now - self.began) / (self.done - self.first)
        return max(0.0, pace * (self.total - self.done))


def spoken_time(seconds: float) -> str:
    """A time as one says it: ``40 s``, ``12 min``, ``3 h 20 min``, ``2 days 4 h``."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} days {hours} h" if hours else f"{days} days"


class _Left(ProgressColumn):
    """The time left: that of the clock where there is one, else by the pace of the bar."""

    max_refresh = 0.5

    def __init__(self) -> None:
        super().__init__()
        self.plain = TimeRemainingColumn()

    def render(self, task: Task) -> Text:
        said: str | None = task.fields.get("left")
        return self.plain.render(task) if said is None else Text(said, style="progress.remaining")


@contextmanager
def bars(
    work: Sequence[tuple[str, int]] = (), *, first: Callable[[], None] = lambda: None, quiet: bool = False
) -> Iterator[Any]:
    """A progress callback that draws one bar for each task on standard error, and says every epoch that ends.

    Without a terminal there are no bars, but a line for each epoch.

    Args:
        work: as in :class:`Clock`; without it no time is said for the whole.
        first: is called once, when all that was asked for is checked and the work begins.
        quiet: draw and say nothing.
    """
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        _Left(),
    )
    silent = quiet or not speaks()
    with Progress(*columns, console=errors, disable=silent or not errors.is_terminal) as display:
        told = _Told(display, Clock(work), first)
        with _listening(told, silent):
            yield told
        told.begin()


class _Told:
    """What is told of steps and epochs, and drawn."""

    def __init__(self, display: Progress, clock: Clock, first: Callable[[], None]) -> None:
        self.display, self.clock, self.first = display, clock, first
        self.began = False
        self.tasks: dict[str, TaskID] = {}
        self.last, self.estimated = "", False
        self.whole: TaskID | None = None

    def begin(self) -> None:
        """Say what runs, once."""
        if not self.began:
            self.began = True
            self.first()

    def __call__(self, task: str, done: int, total: int) -> None:
        self.begin()
        self.last = task
        known = self.tasks.get(task)
        if known is None or (self.display.tasks[known].finished and done < total):
            known = self.tasks[task] = self.display.add_task(printable(task), total=total)
        self.display.update(known, completed=done, total=total)
        if self.clock.step(task, done / total if total else 1.0, time.monotonic()):
            self._whole()
            self._estimate(task, done)

    def _whole(self) -> None:
        """The bar of the whole command, where it is more than one training."""
        if len(self.clock.work) < 2:
            return
        if self.whole is None:
            self.whole = self.display.add_task(_ALL, total=self.clock.total)
        left = self.clock.left
        said = "" if left is None else f"about {spoken_time(left)} left"
        self.display.update(self.whole, completed=int(self.clock.done), left=said)

    def _estimate(self, task: str, done: int) -> None:
        """Once, after the first steps: how long it will take."""
        left, began = self.clock.left, self.clock.began
        if self.estimated or left is None or began is None or self.clock.now - began < _FIRST:
            return
        self.estimated = True
        if left >= _LONG:
            whole = f"{self.clock.total:,} epochs in all"
            aside(f"By its first steps this takes about {spoken_time(left)} for {whole}.")

    def epoch(self, record: logging.LogRecord) -> None:
        """A line for an epoch that ended."""
        self.begin()
        task = str(getattr(record, "task", self.last))
        left = self.clock.left
        rest = "" if left is None or left == 0 else f"; about {spoken_time(left)} left in all"
        name = "" if task == "train" and len(self.clock.work) < 2 else f"{task}, "
        aside(f"{name}{record.getMessage()}{rest}")


class _Handler(logging.Handler):
    def __init__(self, told: _Told) -> None:
        super().__init__(logging.INFO)
        self.told = told

    def emit(self, record: logging.LogRecord) -> None:
        if hasattr(record, "epoch"):
            self.told.epoch(record)
        elif hasattr(record, "begins"):
            self.told.begin()
        elif record.levelno >= logging.WARNING and not logging.getLogger().handlers and logging.lastResort:
            logging.lastResort.handle(record)  # as it would be without this handler


@contextmanager
def _listening(told: _Told, silent: bool) -> Iterator[None]:
    """Hear when the work begins, and the epochs that training logs."""
    if silent:
        yield
        return
    logger, handler = logging.getLogger("semirobust"), _Handler(told)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
