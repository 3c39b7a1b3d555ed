"""What a call costs, measured in a process of its own, and whether it did what no reader may."""

import json
import os
import resource
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from semirobust.core.budget import BUDGET
from semirobust.core.errors import InputError

__all__ = ["BYTES", "SECONDS", "Cost", "measured", "peak", "watched"]

# The start of the process takes 300 MiB, and with PyTorch about two of the five seconds on an idle core. What it
# does then is given five, since a core that is shared counts up to twice as many.
SECONDS, BYTES = BUDGET.seconds, BUDGET.memory - (300 << 20)
_ENDLESS = 120
# What Python reports of itself (PEP 578) that no reader does.
_RUN = {"os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "pty.spawn", "os.startfile"}
_ASKED = {"socket.connect", "socket.getaddrinfo", "socket.sendto", "urllib.Request", "webbrowser.open"}


@dataclass(frozen=True)
class Cost:
    """What came of a call.

    Attributes:
        said: the sentence of a refusal; empty where it went well.
        failed: a traceback, or what was done that no reader does; empty as it should be.
        seconds: of the processor.
        peak: bytes above what the process had before.
    """

    said: str
    failed: str
    seconds: float
    peak: int

    @property
    def wrong(self) -> str:
        """What is not as promised; empty where all is."""
        if self.failed:
            return self.failed
        if self.said and not 0 < len(self.said) <= 1000:
            return f"a sentence of {len(self.said)} characters"
        if self.seconds > SECONDS:
            return f"{self.seconds:.1f} s"
        return f"{self.peak >> 20} MiB" if self.peak > BYTES else ""


def measured(call: Callable[[], object], inside: Path) -> Cost:
    """Do it in a copy of this process; it may write below ``inside`` alone."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(out)
        try:
            _work(call, inside, into)
        finally:
            os._exit(0)
    os.close(into)
    with os.fdopen(out, "rb") as pipe:
        content = pipe.read()
    _, status = os.waitpid(child, 0)
    if not content:
        return Cost("", f"the process died ({status})", 0.0, 0)
    return Cost(**json.loads(content))


def _work(call: Callable[[], object], inside: Path, into: int) -> None:
    done: list[str] = []
    quiet = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(quiet, stream)
    before, said, failed = peak(begin=True), "", ""
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(_ENDLESS)
    start = _seconds()
    try:
        with watched(inside, done), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call()
    except InputError as error:
        said = str(error) or "nothing"
    except BaseException as error:
        failed = "".join(traceback.format_exception(error)[-4:])[-1500:]
    cost = Cost(said, "; ".join(done[:3]) or failed, _seconds() - start, peak() - before)
    os.write(into, json.dumps(cost.__dict__).encode())


def _seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak(*, begin: bool = False) -> int:
    """The largest memory that this process has held, in bytes; from now on where it begins."""
    if begin:
        Path("/proc/self/clear_refs").write_text("5")
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) << 10
    return 0


def _too_long(number: int, frame: object) -> None:
    raise TimeoutError(f"more than {_ENDLESS} s by the clock")


_WATCHING: list[tuple[str, list[str]]] = []
_OURS = (sys.prefix, sys.base_prefix, str(Path(__file__).parents[2]), *map(str, map(Path, sys.path[1:])), "<")


def _noted(event: str, arguments: tuple[object, ...]) -> None:
    """What of the things that Python reports no reader does."""
    if not _WATCHING:
        return
    inside, done = _WATCHING[-1]
    if event in _RUN or event in _ASKED:
        done.append(f"{event} {str(arguments)[:200]}")
    elif event == "exec":
        file = str(getattr(arguments[0], "co_filename", "?"))
        if not file.startswith(_OURS):
            done.append(f"ran code of {file[:200]}")
    elif event == "open" and isinstance(arguments[2], int):
        path, flags = arguments[0], arguments[2]
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and isinstance(path, str | bytes):
            name = os.path.normpath(Path.cwd() / os.fsdecode(path))
            if not name.startswith((inside, "/dev/null")) and "__pycache__" not in name:
                done.append(f"wrote {name[:200]}")


@contextmanager
def watched(inside: Path, done: list[str]) -> Iterator[None]:
    """Note in ``done`` what no reader does: run something, ask for something, write elsewhere than inside."""
    if not _HOOKED:
        sys.addaudithook(_noted)
        _HOOKED.append(True)
    _WATCHING.append((str(inside), done))
    try:
        yield
    finally:
        _WATCHING.pop()


_HOOKED: list[bool] = []
