"""Memory layouts that a convolution cannot take."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["safe_layouts"]

_BLOCK = 16  # channels that oneDNN takes at once with AVX-512; 8 with AVX2


@contextmanager
def safe_layouts(model: nn.Module) -> Iterator[None]:
    """Within it, strided 1x1 convolutions of fewer than 16 channels get their input contiguous on a CPU.

    In the channels-last layout oneDNN's gradient of their weights writes past its workspace: wrong gradients
    or a crash, from 48 pixels a side on here (uxlfoundation/oneDNN, issue 6035; PyTorch 2.13). Shortcuts of
    narrow residual networks are such."""
    handles = [
        module.register_forward_pre_hook(_contiguous) for module in model.modules() if _harmful(module)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _harmful(module: nn.Module) -> bool:
    return (
        isinstance(module, nn.Conv2d)
        and module.kernel_size == (1, 1)
        and max(int(step) for step in module.stride) > 1
        and module.in_channels // module.groups < _BLOCK
    )


def _contiguous(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
    x = inputs[0]
    if not isinstance(x, Tensor) or x.device != torch.device("cpu"):
        return None
    return (x.contiguous(), *inputs[1:])
