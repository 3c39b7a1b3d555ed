"""The gradient of attention in a copy in half precision on a CPU."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

__all__ = ["quicken_attention"]


def quicken_attention(model: nn.Module, x: Tensor) -> bool:
    """Let ``model``, a copy on a CPU that computes in bfloat16, take gradients through its attention in full
    precision; says whether it has any.

    PyTorch's fused attention has a gradient there that takes longer in bfloat16 than in full precision, up to
    seven times where tokens are few. Without a gradient bfloat16 is the faster, and stays.

    Args:
        x: (N, K, H, W) images like those to come; one forward pass of one image finds the attention.
    """
    mode = _InFullPrecision()
    with torch.no_grad(), mode:
        model(x[:1])
    if mode.seen:
        around: AbstractContextManager[Any] = mode
        model.register_forward_pre_hook(lambda module, args: around.__enter__() and None)
        model.register_forward_hook(
            lambda module, args, output: around.__exit__(None, None, None), always_call=True
        )
    return mode.seen


class _InFullPrecision(TorchFunctionMode):
    """Attention in full precision where there are gradients; all else as it is.

    Attributes:
        seen: whether fused attention was called.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen = False

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func not in (F.scaled_dot_product_attention, F.multi_head_attention_forward):
            return func(*args, **kwargs)
        self.seen = True
        if not torch.is_grad_enabled():
            return func(*args, **kwargs)
        if func is F.multi_head_attention_forward:  # calls attention where no mode sees it
            with sdpa_kernel(SDPBackend.MATH):
                return func(*args, **kwargs)
        mixed = func(*map(_full, args), **{name: _full(value) for name, value in kwargs.items()})
        return mixed.to(torch.bfloat16)


def _full(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype == torch.bfloat16 else value
