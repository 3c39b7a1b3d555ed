"""Accuracies that are kept as soon as they are measured, so that no network is attacked twice."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from semirobust.core.errors import InputError
from semirobust.experiments.identity import weights_of
from semirobust.records.schema import Origin, Settings
from semirobust.records.store import AnyRecord, read_records, write_records

__all__ = ["KeptAccuracy"]


class KeptAccuracy:
    """The records of one evaluation of one network in a file.

    Args:
        file: where they are kept.
        model: the network.
        at: what they depend on, beside its weights.
        more: what else.
    """

    def __init__(self, file: Path, model: nn.Module, at: Origin, *more: object) -> None:
        parts = (weights_of(model), at.config, at.version, at.device, *more)
        self.file, self.at = file, at
        self.key = hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    def read(self) -> list[AnyRecord] | None:
        """The records, where they are there, whole, and of this network."""
        try:
            first, *records = read_records(self.file)
        except (OSError, InputError, ValueError):
            return None
        return records if isinstance(first, Settings) and first.settings.get("key") == self.key else None

    def write(self, records: Sequence[AnyRecord]) -> None:
        """Keep records."""
        write_records(
            self.file, [Settings(stage="kept", settings={"key": self.key}, origin=self.at), *records]
        )
