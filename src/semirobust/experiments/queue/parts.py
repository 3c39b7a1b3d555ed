"""Parts of one command, done by many workers before the command itself puts them together.

A part leaves its states, levels and accuracies where the command looks for them, so that the command finds
them done. Workers share what is to be done through the locks of the parts' folders: each part is taken up by
one.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from semirobust.core.budget import read_json
from semirobust.core.errors import InputError
from semirobust.core.files import write_atomically
from semirobust.core.progress import Progress, begins, silent
from semirobust.core.text import first_line
from semirobust.experiments.launch import LAUNCHERS
from semirobust.experiments.queue.runner import Failed
from semirobust.experiments.run_lock import Busy, claimed

__all__ = ["Launch", "Part", "do_parts"]

_DONE, _PAUSE = "part.json", 1.0


@dataclass(frozen=True)
class Part:
    """One part of a command.

    Attributes:
        name: how it is called where it fails.
        folder: its own, which its worker locks.
        do: does it; can be sent to another process.
        key: of all settings that it depends on; with another one it is done again.
    """

    name: str
    folder: Path
    do: Callable[[Progress], None]
    key: str


@dataclass(frozen=True)
class Launch:
    """Who does the parts of a command.

    Attributes:
        launcher: one of :data:`semirobust.experiments.launch.LAUNCHERS`.
        workers: how many; one for each part where None.
        options: of the launcher.
    """

    launcher: str = "local"
    workers: int | None = None
    options: Mapping[str, Any] | None = None


def do_parts(parts: Sequence[Part], launch: Launch, progress: Progress = silent) -> None:
    """Do all parts that are not done.

    Raises:
        Failed: some could not be done; the others are.
        InputError: an unknown launcher, or options that it does not have.
    """
    if launch.workers is not None and launch.workers < 1:
        raise InputError(f"workers: expected at least 1, got {launch.workers}")
    start = LAUNCHERS.make(launch.launcher, launch.options or {})
    waiting = [part for part in parts if not _done(part)]
    if not waiting:
        return
    begins("parts")
    count = min(len(waiting), launch.workers or len(waiting))
    failed = start(partial(_work_through, waiting), count, progress)
    if failed and not all(map(_done, waiting)):
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        raise Failed(f"{failed[0]}{more}; what is done stays, and is not done again")


def _work_through(parts: Sequence[Part], number: int, progress: Progress) -> list[str]:
    """Take up parts that nobody else has, until none is left; a sentence for each that failed."""
    failed: list[str] = []
    waiting = list(parts)
    waiting = waiting[number % len(waiting) :] + waiting[: number % len(waiting)]
    while waiting:
        waiting = [part for part in waiting if not _done(part)]
        taken = [part for part in waiting if _take(part, failed, progress)]
        waiting = [part for part in waiting if part not in taken]
        if waiting and not taken:
            time.sleep(_PAUSE)  # another worker has them; it may be taken away
    return failed


def _take(part: Part, failed: list[str], progress: Progress) -> bool:
    """Do a part, if nobody else does; whether this worker need not look at it again."""
    try:
        with claimed(part.folder, alone=True):
            if not _done(part):
                part.do(progress)
                content = json.dumps({"key": part.key}).encode()
                write_atomically(part.folder / _DONE, content)
    except Busy:
        return False
    except Exception as error:  # the others go on
        logging.getLogger("semirobust.experiments").debug("%s failed", part.name, exc_info=True)
        failed.append(f"{part.name}: {first_line(error, with_type=not isinstance(error, InputError))}")
    return True


def _done(part: Part) -> bool:
    try:
        return bool(read_json(part.folder / _DONE)["key"] == part.key)
    except (OSError, ValueError, KeyError, TypeError):
        return False
