"""Maxima over 2x2 pixels, sooner than the processor's own."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semirobust.adapters.replace import replace_all

__all__ = ["Pool", "quicken_pooling"]


def quicken_pooling(model: nn.Module) -> int:
    """Replace the 2x2 max pooling modules of ``model``, a copy without parameter gradients; says how many."""
    return replace_all(model, _suits, lambda module: Pool(ceil=module.ceil_mode))


def _suits(module: nn.Module) -> bool:
    if type(module) is not nn.MaxPool2d or module.return_indices:
        return False
    sizes = [
        value if isinstance(value, tuple) else (value, value) for value in (module.kernel_size, module.stride)
    ]
    return sizes == [(2, 2), (2, 2)] and module.padding in (0, (0, 0)) and module.dilation in (1, (1, 1))


class Pool(nn.Module):
    """2x2 max pooling with stride 2, as two maxima of neighbours.

    As in PyTorch's, the first of equal values gets the gradient.
    """

    def __init__(self, *, ceil: bool) -> None:
        super().__init__()
        self.ceil = ceil

    def forward(self, x: Tensor) -> Tensor:
        # With an odd side the border decides, and other programs have the maximum itself.
        if x.shape[-1] % 2 or x.shape[-2] % 2 or torch.compiler.is_compiling():
            return F.max_pool2d(x, 2, ceil_mode=self.ceil)
        y: Tensor = _Function.apply(x)  # type: ignore[no-untyped-call]
        return y


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        left, right = x[..., ::2], x[..., 1::2]
        across = torch.maximum(left, right)
        upper, lower = across[..., ::2, :], across[..., 1::2, :]
        ctx.save_for_backward(left >= right, upper >= lower)
        return torch.maximum(upper, lower)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        first, above = ctx.saved_tensors
        across = torch.empty_like(first, dtype=grad.dtype)
        torch.mul(grad, above, out=across[..., ::2, :])
        torch.sub(grad, across[..., ::2, :], out=across[..., 1::2, :])
        last = (
            grad.dim() == 4
            and grad.is_contiguous(memory_format=torch.channels_last)
            and not grad.is_contiguous()
        )
        form = torch.channels_last if last else torch.contiguous_format
        shape = (*first.shape[:-1], 2 * first.shape[-1])
        result = torch.empty(shape, dtype=grad.dtype, device=grad.device, memory_format=form)
        torch.mul(across, first, out=result[..., ::2])
        torch.sub(across, result[..., ::2], out=result[..., 1::2])
        return result
