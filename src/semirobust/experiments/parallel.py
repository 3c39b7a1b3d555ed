"""The same work for several seeds, side by side on the cores of one machine."""

import logging
import logging.handlers
import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

from semirobust.core.errors import LostProcessError
from semirobust.core.progress import Progress

__all__ = ["for_each_seed"]

Result = TypeVar("Result")
_messages: Any = None
_EPOCHS = "semirobust.training"  # the logger that is told of every epoch


def for_each_seed(
    work: Callable[[int, Progress], Result], seeds: int, progress: Progress, workers: int | None = None
) -> list[Result]:
    """``work(number, progress)`` for 0..seeds-1, in that order; each number does the same as it would alone.

    Args:
        work: picklable, for it runs in processes of one thread each.
        seeds: how many.
        progress: told from all of them.
        workers: processes; one for each core where None, none at all where 1.

    Raises:
        LostProcessError: the system ended one of them.
    """
    workers = min(seeds, os.cpu_count() or 1 if workers is None else workers)
    if workers <= 1:
        return [work(number, progress) for number in range(seeds)]
    context = multiprocessing.get_context("spawn")
    messages = context.Queue()
    with ProcessPoolExecutor(workers, context, _begin, (messages, os.getpid())) as pool:
        with _no_interrupt():
            futures = [pool.submit(_run, work, number) for number in range(seeds)]
        pending = set(futures)
        try:
            while pending:
                _, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
                _forward(messages, progress)
        except BaseException:  # told to stop: nobody waits for what would take hours
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise
        try:
            return [future.result() for future in futures]
        except BrokenProcessPool:
            raise LostProcessError(
                "a worker was killed, perhaps for its memory; start again with fewer --workers"
            ) from None


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """Ctrl-C waits, and is never told to processes that start here: the one that began them ends them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(messages: Any, parent: int) -> None:
    global _messages
    _messages = messages
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one that began it is told too, and ends it
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: int) -> None:
    """End with the process that began this one, even where that was killed: nobody would read what comes of
    it.
    """
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _run(work: Callable[[int, Progress], Result], number: int) -> Result:
    last = ""

    def told(task: str, done: int, total: int) -> None:
        nonlocal last
        last = task
        _messages.put((task, done, total))

    def named(record: logging.LogRecord) -> bool:
        record.task = last  # the one who hears it hears several workers
        return True

    handler = logging.handlers.QueueHandler(_messages)
    handler.addFilter(named)
    logger = logging.getLogger(_EPOCHS)
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        return work(number, told)
    finally:
        logger.removeHandler(handler)


def _forward(messages: Any, progress: Progress) -> None:
    while True:
        try:
            found = messages.get_nowait()
        except queue.Empty:
            return
        if isinstance(found, logging.LogRecord):
            if (logger := logging.getLogger(found.name)).isEnabledFor(found.levelno):
                logger.handle(found)
        else:
            progress(*found)
