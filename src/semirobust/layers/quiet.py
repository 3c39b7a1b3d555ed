"""Running a model without changing it."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["device_of", "quiet", "run_with_hooks"]

Hooks = Iterable[tuple[nn.Module, Any]]


@contextmanager
def quiet(model: nn.Module, *, keep_mode: bool = False) -> Iterator[None]:
    """Inside, ``model`` is in eval mode and its parameters take no gradient; afterwards all is as it was.

    The ``training`` flag of each module and ``requires_grad`` of each parameter are restored, also after an
    error. Without gradients of the parameters, a backward pass to the input is about a third cheaper, and
    ``.grad`` is not written. Buffers that a model of others writes in its forward pass, such as those of an
    observer, are put back.

    Args:
        model: any module.
        keep_mode: leave the modes as they are, for attacks in train mode as in Fast-AT.
    """
    modes = [(module, module.training) for module in model.modules()]
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    buffers = [] if keep_mode else [(b, b._version, b.clone()) for b in _writable(model)]
    try:
        if not keep_mode:
            for module, _ in modes:
                module.training = False
        for parameter, _ in flags:
            parameter.requires_grad_(False)
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
        with torch.no_grad():
            for buffer, version, value in buffers:
                if buffer._version != version:
                    buffer.copy_(value)


def _writable(model: nn.Module) -> Iterator[Tensor]:
    """Buffers that a forward pass in eval mode may write: those of modules that are not PyTorch's own."""
    for module in model.modules():
        if not type(module).__module__.startswith("torch.nn.modules"):
            for buffer in module._buffers.values():
                if buffer is not None and not buffer.is_inference():  # those count no versions
                    yield buffer


def run_with_hooks(model: nn.Module, x: Tensor, before: Hooks, after: Hooks = ()) -> Any:
    """Run the model once inside :func:`quiet` with forward hooks, which are removed afterwards.

    Args:
        model: any module.
        x: its input.
        before: pairs of a module and a pre-hook (module, args, kwargs).
        after: pairs of a module and a hook (module, args, output).

    Returns:
        what the model returned.
    """
    handles = [module.register_forward_pre_hook(hook, with_kwargs=True) for module, hook in before]
    handles += [module.register_forward_hook(hook) for module, hook in after]
    try:
        with quiet(model), torch.no_grad():
            return model(x)
    finally:
        for handle in handles:
            handle.remove()


def device_of(model: nn.Module, default: torch.device) -> torch.device:
    """The device of the model's parameters and buffers; ``default`` where it has none."""
    return next((tensor.device for tensor in (*model.parameters(), *model.buffers())), default)
