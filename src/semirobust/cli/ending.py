"""How a command ends: exit codes, and one sentence in place of a traceback."""

import os
import select
import signal
import sys
import threading
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import ModuleType

import click

from semirobust.cli.streams import lost_output, results_alone, settle
from semirobust.core.errors import InputError, LostProcessError
from semirobust.core.links import real
from semirobust.core.text import first_line, printable

__all__ = ["carry_out"]

_INTERRUPTED, _TERMINATED, _HUNG_UP = 130, 143, 129  # as shells give them: 128 and the signal
_GOES_ON = "a run that keeps its state goes on when started again"
_STOPPED = f"interrupted; {_GOES_ON}"


def carry_out(app: click.Command) -> None:
    """Run a command line; wrong input ends with one sentence and code 2, a lost process or output with 1,
    Ctrl-C 130, SIGTERM 143, a closed terminal 129.
    """
    settle()
    if threading.current_thread() is threading.main_thread():
        _listen()
    code = _code_of(app)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing is left to wind up
    if code == _INTERRUPTED:
        _say(_STOPPED)
    if (why := lost_output()) and code == 0:
        _say(f"error: standard output: {why}; what goes to files is written")
        code = 1
    sys.exit(code)


def _code_of(app: click.Command) -> int:
    code: object = 0
    try:
        if any("\0" in argument for argument in sys.argv):  # which no system lets through
            raise InputError("expected arguments without zero characters, got one with them")
        real(Path())  # without a current folder PyTorch ends the process when it is imported
        pure = "--json" in sys.argv and not {"-h", "--help", "--version"}.intersection(sys.argv)
        with results_alone() if pure else nullcontext():
            code = app(standalone_mode=False)
        _await_others()
    except LostProcessError as error:
        code = _fail(str(error), 1)
    except InputError as error:
        code = _fail(str(error))
    except click.exceptions.Exit as leave:
        code = leave.exit_code
    except (KeyboardInterrupt, click.exceptions.Abort):
        code = _INTERRUPTED
    except OSError as error:
        code = _fail(f"{error.filename or 'file'}: {error.strerror or error}")
    except UnicodeError as error:  # a name that this locale's file system cannot have
        code = _fail(f"name: expected one that the encoding of file names has; {first_line(error)}")
    except Exception as error:
        if isinstance(error, click.ClickException):
            code = _fail(error.format_message())
        elif _lost_another(error):
            _say(f"processes: another one of this run ended; {_GOES_ON}")
            code = 1
        else:
            raise
    finally:
        _leave_group()
    return code if isinstance(code, int) else 0


def _listen() -> None:
    """Handlers of what tells a command to stop; where one is ignored, as below nohup, it stays so."""
    for number, code in ((signal.SIGTERM, _TERMINATED), (signal.SIGHUP, _HUNG_UP)):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, partial(_terminate, code=code))
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, _interrupt)


def _terminate(number: int, frame: object, *, code: int) -> None:
    """A scheduler takes the machine, or the terminal is gone."""
    for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(each, _heard)  # one is enough: what comes now is the way out
    if not _written(_STOPPED):
        os._exit(code)  # on the way out Python would wait for a reader
    sys.exit(code)


def _written(sentence: str) -> bool:
    """Put it on standard error past Python's buffers, in one of which the signal may have come; whether
    anybody reads there.
    """
    try:
        _, free, _ = select.select([], [2], [], 0)
        if free:
            os.write(2, f"{sentence}\n".encode())
    except (OSError, ValueError):  # closed
        return True
    return bool(free)


def _heard(number: int, frame: object) -> None:
    """Nothing more: Python complains of a signal that comes while it is set to be ignored."""


def _interrupt(number: int, frame: object) -> None:
    """Ctrl-C. Another one within a second is taken for the same; a later one does not wait."""
    began = time.monotonic()

    def again(number: int, frame: object) -> None:
        if time.monotonic() - began > 1:
            _written(_STOPPED)
            os._exit(_INTERRUPTED)

    signal.signal(signal.SIGINT, again)
    raise KeyboardInterrupt


def _await_others() -> None:
    """Let every process of a run come to its end: the first one holds what the others meet at."""
    if (group := _group()) is not None:
        group.barrier()


def _leave_group() -> None:
    """End the threads of a group of processes: left to the interpreter's end, they now and then abort a run
    that is done.
    """
    if (group := _group()) is not None:
        group.destroy_process_group()


def _group() -> ModuleType | None:
    """``torch.distributed`` where it is in use; asking does not import PyTorch."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return None
    found: ModuleType = torch.distributed
    return found


def _lost_another(error: Exception) -> bool:
    """Whether this is what gloo or NCCL say where a process of the same run is gone."""
    words = ("gloo", "NCCL", "TCPStore", "closed by peer")
    return (
        isinstance(error, RuntimeError) and _group() is not None and any(word in str(error) for word in words)
    )


def _fail(sentence: str, code: int = 2) -> int:
    _say(f"error: {InputError(sentence)}")  # which leaves out the middle of a long one
    return code


def _say(sentence: str) -> None:
    print(printable(sentence), file=sys.stderr)
