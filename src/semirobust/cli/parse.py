"""From what was typed to what the commands take, and how they end."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click
import torch
from click.exceptions import Exit

from semirobust.cli.console import speak_alone
from semirobust.cli.flags import entries
from semirobust.core.errors import InputError
from semirobust.core.text import printable
from semirobust.experiments.build import Devices
from semirobust.experiments.queue.parts import Launch
from semirobust.experiments.queue.runner import Failed
from semirobust.records.store import AnyRecord

__all__ = ["compute", "end_of", "failures", "launch_of", "layers_of"]

_MAX_THREADS = 1024  # what the system refuses ends in a crash of the process


def compute(device: str = "auto", devices: int = 1, threads: int | None = None, nodes: int = 1) -> Devices:
    """Where to compute, with so many threads."""
    if threads is not None:
        if threads < 1:
            raise InputError(f"threads: expected at least 1, got {threads}")
        if threads > _MAX_THREADS:
            raise InputError(f"threads: expected at most {_MAX_THREADS}, got {threads}")
        torch.set_num_threads(threads)
    if devices * nodes == 1:
        speak_alone()
    return Devices(device, devices, nodes)


@contextmanager
def failures() -> Iterator[None]:
    """Runs that failed are said, with code 1: what was typed is not wrong."""
    try:
        yield
    except Failed as error:
        click.echo(f"error: {printable(str(error))}", err=True)
        raise Exit(1) from None


def launch_of(launcher: str | None, workers: int | None, options: Sequence[str]) -> Launch | None:
    """Who does the parts of a command; None where this process does them one after the other."""
    if launcher is None:
        if workers is not None or options:
            raise InputError(
                "--workers and --launcher-set: expected with --launcher, such as local; got none"
            )
        return None
    count = os.cpu_count() if launcher == "local" and workers is None else workers
    return Launch(launcher, count, entries(options))


def layers_of(text: str | None) -> list[int] | None:
    """``7,9`` as numbers."""
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--layers: expected numbers with commas, such as 7,9; got {text!r}") from None


def end_of(records: Sequence[AnyRecord]) -> None:
    """Leave with exit code 1 where a training stopped."""
    if any(record.kind == "finding" and record.topic == "stopped" for record in records):
        raise Exit(1)
