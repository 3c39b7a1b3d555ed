"""Standard output and error that never stop a command: closed, full, or without the characters of UTF-8."""

import codecs
import io
import logging
import os
import select
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TextIO

from semirobust.core.text import printable

__all__ = ["in_reach", "lost_output", "results", "results_alone", "settle"]

_HANDLER = "semirobust"
_PLAIN = {
    "→": "->", "←": "<-", "–": "-", "—": "-", "−": "-", "×": "x", "·": "*", "…": "...", "ε": "eps",
    "γ": "gamma", "ρ": "rho", "σ": "sigma", "α": "alpha", "δ": "delta", "λ": "lambda", "ℓ": "l", "∞": "inf",
    "≤": "<=", "≥": ">=", "±": "+-", "√": "sqrt ", "²": "^2", "₂": "2", "‘": "'", "’": "'",
    "“": '"', "”": '"', "•": "*",
}  # fmt: skip


class _Sink(io.FileIO):
    """The end of a stream. What cannot be written is dropped and the first reason kept, since a pipe without
    a reader or a full disk behind it is no reason to lose a run.
    """

    lost = ""
    closed_before = False

    def write(self, data: object, /) -> int:
        size = memoryview(data).nbytes  # type: ignore[arg-type]
        if self.closed_before:
            self.lost = self.lost or "it was closed"
        if self.lost:
            return size
        try:
            while (written := super().write(data)) is None:  # type: ignore[arg-type]
                select.select([], [self.fileno()], [])  # a terminal that another program set not to wait
        except BrokenPipeError:
            self.lost = "nobody reads it any more"
        except OSError as error:
            self.lost = error.strerror or type(error).__name__
        else:
            return written
        return size


_sinks: dict[str, _Sink] = {}


def settle() -> None:
    """Put such streams in place of the process's own, once; files are never opened as 0, 1 or 2.

    Characters that the terminal's encoding lacks are written in ASCII. Messages of logging and warnings are
    printed with control characters escaped.
    """
    if _sinks:
        return
    codecs.register_error(_HANDLER, _replaced)
    closed = [number for number in (0, 1, 2) if not _is_open(number)]
    for _ in closed:  # the lowest free number is the next one taken
        os.open(os.devnull, os.O_RDWR)
    if 0 in closed or sys.stdin is None:
        sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115 - to the end
    if sys.stdout is sys.__stdout__:
        sys.stdout = _stream("stdout", sys.stdout, 1, closed=1 in closed)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _stream("stderr", sys.stderr, 2, closed=2 in closed)
    plain = warnings.formatwarning
    warnings.formatwarning = lambda message, *where, **more: plain(printable(str(message)), *where, **more)
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_OneLine())


class _OneLine(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:
        return printable(super().formatMessage(record))


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _stream(name: str, before: TextIO | None, number: int, *, closed: bool) -> TextIO:
    if before is not None:
        before.flush()
    sink = _sinks[name] = _Sink(number, "w", closefd=False)
    sink.closed_before = closed
    lines = number == 2 or sink.isatty()
    encoding = (before.encoding if before is not None else None) or "utf-8"
    return io.TextIOWrapper(io.BufferedWriter(sink), encoding, _HANDLER, line_buffering=lines)


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    return "".join(_PLAIN.get(c) or codecs.decode(_escape(c), "ascii") for c in characters), error.end


def _escape(character: str) -> bytes:
    return character.encode("ascii", "backslashreplace")


_apart: TextIO | None = None


def results() -> TextIO:
    """Where results go: standard output, whatever prints to it."""
    return _apart or sys.stdout


@contextmanager
def results_alone() -> Iterator[None]:
    """Inside, only what goes to :func:`results` reaches standard output; what else prints, such as the code
    of a user's model, goes to standard error.
    """
    global _apart
    _apart = sys.stdout
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _apart = None


def in_reach(text: str) -> str:
    """``text`` in the characters that standard output has."""
    if not _sinks:
        return text
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, _HANDLER).decode(encoding)


def lost_output() -> str:
    """Why not all of standard output arrived; empty where it did."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return _sinks["stdout"].lost if "stdout" in _sinks else ""
