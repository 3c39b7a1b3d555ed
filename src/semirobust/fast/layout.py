"""Which memory layout of images a network takes.

Channels last is the faster one for most convolutions on a CPU, by about 1.4 times. A network that flattens by
``x.view(len(x), -1)`` cannot take it, and runs on images as the caller has them.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from semirobust.core.seed import Seed
from semirobust.core.text import first_line
from semirobust.layers.quiet import as_it_was, quiet

__all__ = ["in_layout", "like", "safe_layouts", "suited"]

_LOG = logging.getLogger("semirobust.fast")
_TRIED = 2  # examples, since what merges them with channels works on one alone
_SEED = Seed(("layout",))
_FOUND: WeakKeyDictionary[nn.Module, dict[object, torch.memory_format]] = WeakKeyDictionary()

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
    x = inputs[0] if inputs else None
    if not isinstance(x, Tensor) or x.device != torch.device("cpu"):
        return None
    return (x.contiguous(), *inputs[1:])


def in_layout(x: Tensor, layout: torch.memory_format) -> Tensor:
    """``x`` in that memory layout, where it has the four dimensions of images."""
    return x.contiguous(memory_format=layout) if x.dim() == 4 else x


def like(gradient: Tensor, x: Tensor) -> Tensor:
    """The gradient in plain memory order where ``x`` is, so that a step from ``x`` stays so.

    A network that turns its input round gives a gradient that is turned round.
    """
    return gradient.contiguous() if x.is_contiguous() else gradient


def suited(model: nn.Module, x: Tensor, *, train: bool = False) -> torch.memory_format:
    """The layout of images like ``x`` for ``model``: channels last where it was tried and works.

    Two examples are tried, forward and backward, and their logits compared with those of the same examples
    in plain order, once for a network of these modules. Where both layouts are one, as with a single channel,
    nothing is tried.

    Args:
        model: it is left as it was, statistics and random numbers included.
        x: (N, ...) examples.
        train: it is to be trained on them, so train mode and the gradients of parameters are tried too.
    """
    if x.dim() != 4:
        return torch.contiguous_format
    plain = x[:_TRIED].detach().clone(memory_format=torch.contiguous_format)
    last = plain.contiguous(memory_format=torch.channels_last)
    if last.is_contiguous():
        return torch.channels_last
    kinds = tuple(map(type, model.modules()))
    key = (kinds, plain.shape, x.dtype, x.device, train, torch.is_autocast_enabled(x.device.type))
    known = _FOUND.setdefault(model, {})
    if key not in known:
        known[key] = _tried(model, plain, last, train=train)
    return known[key]


def _tried(model: nn.Module, plain: Tensor, last: Tensor, *, train: bool) -> torch.memory_format:
    try:
        with _SEED.globally(), quiet(model), torch.no_grad():
            expected = model(plain)
        with _SEED.globally(), quiet(model):
            logits = _forward_and_backward(model, last)
        if train:
            with _SEED.globally(), as_it_was(model), safe_layouts(model):
                model.train()
                _forward_and_backward(model, last)
    except Exception as error:  # a network can fail in any way on what it was not made for
        _LOG.info("images keep plain memory order because in channels last %s", first_line(error))
        return torch.contiguous_format
    if not _equal(logits, expected):
        _LOG.info("images keep plain memory order because channels last gives other logits")
        return torch.contiguous_format
    return torch.channels_last


def _forward_and_backward(model: nn.Module, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    with torch.enable_grad():
        logits: Tensor = model(x)
        if logits.requires_grad:
            inputs = [x, *(p for p in model.parameters() if p.requires_grad)]
            torch.autograd.grad(logits.float().logsumexp(1).sum(), inputs, allow_unused=True)
    return logits.detach()


def _equal(logits: Tensor, expected: Tensor) -> bool:
    """Whether two results differ by rounding alone; not finite ones are for others to refuse."""
    eps = torch.finfo(expected.dtype).eps
    logits, expected = logits.double(), expected.double()
    spread = (expected.amax(1) - expected.amin(1)).clamp_min(0)
    rounding = max(1e-4, 10 * eps)
    return bool(
        ((logits - expected).abs().amax(1) <= 1e-2 * spread + rounding * expected.abs().amax(1)).all()
    )
