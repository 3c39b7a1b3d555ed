"""What it costs to look at a value on a device."""

import torch
from torch import Tensor

__all__ = ["costs_a_wait", "uploaded"]


def costs_a_wait(where: Tensor | torch.device) -> bool:
    """Whether reading a value there makes the host wait for all that it has asked of the device: anywhere but
    on a CPU.

    Nothing that is found may depend on the answer, only when it is looked at.
    """
    device = where.device if isinstance(where, Tensor) else where
    return device.type != "cpu"


def uploaded(tensor: Tensor, device: torch.device | str) -> Tensor:
    """``tensor`` on ``device``; the host goes on while a copy from it is under way.

    CUDA takes ordinary memory into a buffer of its own before the call returns: ``tensor`` may change or go
    at once. Apple's Metal does not, and there the host waits.
    """
    to = torch.device(device)
    return tensor.to(to, non_blocking=tensor.device.type == "cpu" and to.type != "mps")
