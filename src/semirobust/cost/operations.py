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

    Attributes:
        total: so far.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if count := flop_registry.get(func.overloadpacket):
            self.total += count(*args, **(kwargs or {}), out_val=result)
        return result
