"""Arithmetic of whatever runs, counted."""

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

__all__ = ["Operations"]


class Operations(TorchDispatchMode):
    """Counts the additions and multiplications of convolutions and matrix products within its block.

    They are counted by PyTorch's own formulae for each operation, forward and backward: 2 for each
    multiplication with its addition. PyTorch's own counter fails on gradients in an input alone, which every
    attack takes. What another engine than PyTorch computes is not seen. Times differ from run to run, the
    count does not::

        with Operations() as counted:
            semirobust.harden(model, images, "clat", threat=semirobust.Linf(8 / 255))
        print(counted.total)

    Given as a callback of that training too, it counts each epoch by itself.

    Attributes:
        total: so far.
        epochs: of each epoch that ended, what lies between it and the one before among them.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total, self.epochs = 0.0, list[float]()

    def on_epoch_end(self, log: object) -> None:
        """Called by a training that has it among its callbacks."""
        self.epochs.append(self.total - sum(self.epochs))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if count := flop_registry.get(func.overloadpacket):
            self.total += count(*args, **(kwargs or {}), out_val=result)
        return result
