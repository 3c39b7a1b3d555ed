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
    ``.grad`` is not written.

    Args:
        model: any module.
        keep_mode: leave the modes as they are, for attacks in train mode as in Fast-AT.
    """
    modes = [(module, module.training) for module in model.modules()]
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
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
