"""Feeds wrong files to a reader and notes what it should not have done."""

import random
import resource
import shutil
import signal
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from semirobust.core.errors import InputError
from tests.fuzz.cost import BYTES, SECONDS, peak, watched
from tests.fuzz.mutate import mutated
from tests.fuzz.readers import READERS, Reader

__all__ = ["Case", "attempt", "bounded", "fuzz"]

_SPACE = 6 << 30  # bytes of addresses, far above what is allowed, so that the machine goes on
_LAST_RESORT = 1800  # seconds by the clock, after which something waits for ever


@dataclass(frozen=True)
class Case:
    """What went wrong, and with which file."""

    reader: str
    content: bytes
    what: str


def fuzz(name: str, count: int, seed: int, place: Path) -> Iterator[Case]:
    """Read ``count`` wrong files of one kind; the cases in which the reader did something else than read or
    refuse them.
    """
    reader, chance = READERS[name], random.Random(f"{name}/{seed}")
    folder = place / "good"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    reader.make(folder)
    good = (folder / reader.name).read_bytes()
    others = [good]
    for _ in range(count):
        content = mutated(good, chance, others)
        others = [*others[-20:], content]
        what = attempt(reader, folder, content)
        if what:
            yield Case(name, content, what)


def attempt(reader: Reader, folder: Path, content: bytes) -> str:
    """Read one wrong file; a sentence where the reader hung, failed, did what none does, or left something
    behind.
    """
    file = folder / reader.name
    file.write_bytes(content)
    before, done, held = set(folder.rglob("*")), list[str](), peak(begin=True)
    try:
        with bounded(), watched(folder, done), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.read(folder)
    except InputError as error:
        if not str(error).strip() or len(str(error)) > 1000:
            return f"a sentence of {len(str(error))} characters"
        if "MemoryError" in str(error) or "allocate" in str(error):
            return f"memory: {error}"
    except BaseException as error:
        return (
            "".join(traceback.format_exception_only(error)).strip()
            + "\n"
            + "".join(traceback.format_tb(error.__traceback__)[-3:])
        )
    if done:
        return "; ".join(done[:3])
    if (taken := peak() - held) > BYTES:
        return f"memory: {taken >> 20} MiB"
    left = set(folder.rglob("*")) - before
    return f"left behind: {', '.join(sorted(p.name for p in left))}" if left else ""


class _Hang(BaseException):
    pass


@contextmanager
def bounded(seconds: int = SECONDS) -> Iterator[None]:
    """Seconds of processor time and bytes that one file may cost; other work on the machine does not count."""

    def hang(number: int, frame: object) -> None:
        raise _Hang(f"more than {seconds} seconds")

    before = {sign: signal.signal(sign, hang) for sign in (signal.SIGPROF, signal.SIGALRM)}
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + _SPACE, hard))
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.alarm(_LAST_RESORT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        for sign, handler in before.items():
            signal.signal(sign, handler)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
