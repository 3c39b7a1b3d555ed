"""The program in a process of its own, waited for by what it does and never by the clock."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["LAST_RESORT", "PROGRAM", "finish", "started", "wait_until"]

PROGRAM = (sys.executable, "-m", "semirobust")
# Seconds after which a process counts as hung. No test comes near it, however busy the machine is.
LAST_RESORT = 1800
_PLACES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT")


@contextmanager
def started(
    folder: Path, *command: str, program: tuple[str, ...] = PROGRAM, before: Callable[[], None] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Start a process as a terminal would; at the end of the block it and its children are gone.

    A shell starts what runs in the background with Ctrl-C ignored, and children inherit that: the process
    gets the default handlers back, or it could not be interrupted. ``before`` is called in the process first.
    """

    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if before is not None:
            before()

    process = subprocess.Popen(
        [*program, *map(str, command)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if name not in _PLACES},
        preexec_fn=prepare,  # noqa: PLW1509 - it only sets handlers and limits
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def finish(
    folder: Path, *command: str, program: tuple[str, ...] = PROGRAM, before: Callable[[], None] | None = None
) -> tuple[int, str, str]:
    """Run a command to its end: exit code, output, errors."""
    with started(folder, *command, program=program, before=before) as process:
        out, errors = process.communicate(timeout=LAST_RESORT)
        return process.returncode, out, errors


def wait_until(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait until something has happened, as long as the process lives that is to do it."""
    began = time.monotonic()
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() - began < LAST_RESORT, "the process hangs"
        time.sleep(0.05)
