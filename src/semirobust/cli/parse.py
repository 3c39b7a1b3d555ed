"""From what was typed to what the commands take, and how they end."""

from collections.abc import Sequence

import torch
from click.exceptions import Exit

from semirobust.cli.console import speak_alone
from semirobust.core.errors import InputError
from semirobust.experiments.build import Devices
from semirobust.records.store import AnyRecord

__all__ = ["compute", "end_of", "layers_of"]


def compute(device: str = "auto", devices: int = 1, threads: int | None = None, nodes: int = 1) -> Devices:
    """Where to compute, with so many threads."""
    if threads is not None:
        if threads < 1:
            raise InputError(f"threads: expected at least 1, got {threads}")
        torch.set_num_threads(threads)
    if devices * nodes == 1:
        speak_alone()
    return Devices(device, devices, nodes)


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
