"""How a command ends: exit codes, and one sentence in place of a traceback."""

import signal
import sys
import threading
from types import ModuleType

import click

from semirobust.core.errors import InputError

__all__ = ["carry_out"]

_INTERRUPTED, _TERMINATED = 130, 143  # as shells give them: 128 and the signal
_GOES_ON = "a run that keeps its state goes on when started again"
_STOPPED = f"interrupted; {_GOES_ON}"


def carry_out(app: click.Command) -> None:
    """Run a command line; wrong input ends with one sentence and code 2, a lost process with 1, Ctrl-C 130,
    SIGTERM 143.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)
    try:
        code = app(standalone_mode=False)
        _await_others()
    except InputError as error:
        _fail(str(error))
    except click.exceptions.Exit as leave:
        code = leave.exit_code
    except (KeyboardInterrupt, click.exceptions.Abort):
        code = _INTERRUPTED
    except OSError as error:
        _fail(f"{error.filename or 'file'}: {error.strerror or error}")
    except Exception as error:
        if isinstance(error, click.ClickException):
            _fail(error.format_message())
        if not _lost_another(error):
            raise
        print(f"processes: another one of this run ended; {_GOES_ON}", file=sys.stderr)
        code = 1
    finally:
        _leave_group()
    if code == _INTERRUPTED:
        print(_STOPPED, file=sys.stderr)
    sys.exit(code if isinstance(code, int) else 0)


def _terminate(number: int, frame: object) -> None:
    """A scheduler takes the machine."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # one is enough: what comes now is the way out
    print(_STOPPED, file=sys.stderr)
    sys.exit(_TERMINATED)


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


def _fail(sentence: str) -> None:
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(2)
