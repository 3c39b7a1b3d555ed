"""Several equal processes of one run: who does which piece of the work, and how the pieces come together."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from semirobust.core.errors import InputError

if TYPE_CHECKING:  # importing it takes as long as PyTorch, and a single process needs none
    from lightning_fabric import Fabric

__all__ = ["ALONE", "Processes"]


@dataclass(frozen=True)
class Processes:
    """The processes of one run, seen from one of them: process r of n does the pieces r, r + n, r + 2n, ...

    A piece is done as a single process would do it, with the same batches and seeds. So the joint result
    equals that of a single process, bit for bit on equal hardware.

    Args:
        fabric: the launched processes; None for a single one.
    """

    fabric: "Fabric | None" = field(default=None, repr=False)

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

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes of integers (...), on the device of ``values``."""
        if self.fabric is None or self.count == 1:
            return values
        result = self.fabric.all_reduce(values.to(self.fabric.device), reduce_op="sum")
        assert isinstance(result, Tensor)
        return result.to(values.device)

    def max(self, values: Tensor) -> Tensor:
        """The largest over all processes of integers of at most 32 bits (...), like ``values`` otherwise."""
        if self.fabric is None or self.count == 1:
            return values
        result = self.fabric.all_reduce(values.to(self.fabric.device, torch.int32), reduce_op="max")
        assert isinstance(result, Tensor)
        return result.to(values.device, values.dtype)

    def mean_(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite each tensor with its mean over all processes; tensors of one dtype, on one device.

        For gradients, and for the statistics of batch norm.
        """
        every = list(tensors)
        if self.fabric is None or self.count == 1 or not every:
            return
        # All tensors in one call, because each call waits for all processes.
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in every])
        mean = self.fabric.all_reduce(flat, reduce_op="mean")
        assert isinstance(mean, Tensor)
        with torch.no_grad():
            for tensor, part in zip(every, mean.split([tensor.numel() for tensor in every]), strict=True):
                tensor.copy_(part.view_as(tensor))

    def gather(self, pieces: Sequence[Any], count: int) -> list[Any]:
        """All ``count`` pieces in their order; each process hands in those it did, in order."""
        if self.count == 1:
            return list(pieces)
        parts: list[list[Any]] = [[] for _ in range(self.count)]
        torch.distributed.all_gather_object(parts, list(pieces))  # type: ignore[no-untyped-call,unused-ignore]
        return [parts[i % self.count][i // self.count] for i in range(count)]

    def check_equal(self, state: str, expectation: str) -> None:
        """Raise ``InputError(expectation)`` in all processes where ``state`` is not the same in all.

        Where only one of them raised, the others would wait for it for ever.
        """
        states = self.gather([state], self.count)
        if len(set(states)) > 1:
            raise InputError(f"{expectation}; they found {', '.join(states)}")


ALONE = Processes()
