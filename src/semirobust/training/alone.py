"""One process on one device, without Lightning, whose import takes as long as PyTorch's."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from semirobust.core.processes import ALONE, Processes

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Alone", "processes_of"]


@dataclass(frozen=True)
class Alone:
    """What a training asks of a Fabric, for one process that computes in the precision of the network.

    Attributes:
        device: where it trains.
    """

    device: torch.device
    precision: str = "32-true"
    world_size: int = 1
    global_rank: int = 0
    is_global_zero: bool = True
    loggers: Sequence[Any] = ()

    def autocast(self) -> AbstractContextManager[None]:
        """Nothing is cast."""
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        """Gradients of the loss."""
        loss.backward()


def processes_of(fabric: "Fabric | Alone") -> Processes:
    """The processes that train together."""
    return ALONE if isinstance(fabric, Alone) else Processes(fabric)
