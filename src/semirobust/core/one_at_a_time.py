"""What a process can do only once at a time."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["one_at_a_time"]


class _Turn:
    """A lock that the thread which has it may take again."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self.lock = threading.RLock()


_TURN = _Turn()
if hasattr(os, "register_at_fork"):
    # A process forked while another thread had its turn would wait for it for ever.
    os.register_at_fork(after_in_child=_TURN.renew)


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Inside, no other thread of this process is inside.

    Whatever looks at a network changes it for a while (mode, ``requires_grad``, hooks) and draws from
    generators that the whole process has, so threads take turns: each gets the numbers that it would get
    alone. Names are imported at first use in turn too. A function that is inside must not wait for a thread
    that wants to be.
    """
    with _TURN.lock:
        yield
