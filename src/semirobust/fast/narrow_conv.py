"""The gradient of convolutions of one or two channels in their input, where the processor's own is slow."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semirobust.adapters.replace import replace_all

__all__ = ["Narrow", "quicken_narrow"]

# Measured on single-channel images: up to so many output channels the gradient is soonest had as a
# convolution with the kernel turned round, with more as one matrix product whose columns are added up where
# they belong. Without AVX-512 the former is slower than the processor's own, and the latter pays from more
# channels on.
_FEW_IN, _FEW_OUT, _MANY_OUT = 2, 8, 17


def quicken_narrow(model: nn.Module) -> int:
    """Give convolutions of ``model``, a copy without parameter gradients, that gradient where it is faster;
    says how many.
    """
    return replace_all(model, _suits, Narrow)


def _suits(module: nn.Module) -> bool:
    if (
        type(module) is not nn.Conv2d
        or module.groups != 1
        or module.padding_mode != "zeros"
        or isinstance(module.padding, str)
    ):
        return False
    plain = module.stride == (1, 1) and module.dilation == (1, 1)
    reaches = all(p < k for p, k in zip(module.padding, module.kernel_size, strict=True))
    min_channels = 1 if torch.backends.cpu.get_cpu_capability().startswith("AVX512") else _MANY_OUT
    return plain and reaches and module.in_channels <= _FEW_IN and module.out_channels >= min_channels


class Narrow(nn.Conv2d):
    """A convolution with stride 1 that takes and gives channels first, whose gradient is the one described
    above.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        padding = conv.padding
        assert not isinstance(padding, str)
        size = (conv.kernel_size[0], conv.kernel_size[1])
        shape = conv.in_channels, conv.out_channels, size
        super().__init__(
            *shape, padding=(padding[0], padding[1]), bias=False, device="meta"
        )  # no random number is drawn
        self.weight, self.bias = conv.weight, conv.bias

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = _Function.apply(x, self)  # type: ignore[no-untyped-call]
        return y


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, conv: Narrow) -> Tensor:
        ctx.conv, ctx.size = conv, x.shape[2:]
        return F.conv2d(x.contiguous(), conv.weight.contiguous(), conv.bias, 1, conv.padding)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        conv, weight = ctx.conv, ctx.conv.weight
        kernel, padding, grad = conv.kernel_size, conv.padding, grad.contiguous()
        if conv.out_channels <= _FEW_OUT:
            turned = weight.flip(2, 3).transpose(0, 1).contiguous()
            return F.conv2d(
                grad, turned, padding=(kernel[0] - 1 - padding[0], kernel[1] - 1 - padding[1])
            ), None
        columns = torch.matmul(weight.reshape(len(weight), -1).t(), grad.flatten(2))
        return F.fold(columns, tuple(ctx.size), kernel, padding=padding), None
