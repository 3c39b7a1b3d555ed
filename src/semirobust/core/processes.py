"""What one of several equal processes does of the work, and how they put their parts together."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from semirobust.core.errors import InputError

__all__ = ["ALONE", "Share"]


@dataclass(frozen=True)
class Share:
    """The part of one process: every ``count``-th piece, from its number on.

    Pieces are done as a single process would do them, with the same batches and seeds, so that what they are
    put together to equals its result bit for bit on equal hardware.

    Args:
        fabric: of processes that are launched; None for a single one.
    """

    fabric: Fabric | None = field(default=None, repr=False)

    @property
    def rank(self) -> int:
        """The number of this process, from 0."""
        return 0 if self.fabric is None else self.fabric.global_rank

    @property
    def count(self) -> int:
        """How many processes there are."""
        return 1 if self.fabric is None else self.fabric.world_size

    def takes(self, piece: int) -> bool:
        """Whether this process does the piece of that number."""
        return piece % self.count == self.rank

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes of integers (...), on the device where they were."""
        if self.fabric is None or self.count == 1:
            return values
        found = self.fabric.all_reduce(values.to(self.fabric.device), reduce_op="sum")
        assert isinstance(found, Tensor)
        return found.to(values.device)

    def joined(self, pieces: Sequence[Any], count: int) -> list[Any]:
        """All ``count`` pieces in their order, of which each process gives those it did, in order."""
        if self.count == 1:
            return list(pieces)
        parts: list[list[Any]] = [[] for _ in range(self.count)]
        torch.distributed.all_gather_object(parts, list(pieces))  # type: ignore[no-untyped-call,unused-ignore]
        return [parts[i % self.count][i // self.count] for i in range(count)]

    def agree(self, found: str, otherwise: str) -> None:
        """Raise ``InputError(otherwise)`` in all processes where not all have ``found`` the same."""
        said = self.joined([found], self.count)
        if len(set(said)) > 1:
            raise InputError(f"{otherwise}; they found {', '.join(said)}")


ALONE = Share()
