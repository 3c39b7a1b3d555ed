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
    """``tensor`` on ``device``; the host goes on while a copy from it is under way."""
    return tensor.to(device, non_blocking=tensor.device.type == "cpu")
