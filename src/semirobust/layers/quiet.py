"""Running a model without changing it."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from semirobust.core.checks import IN_ORDER, cannot_run, check_device, runs_in_order
from semirobust.core.errors import InputError
from semirobust.layers.caches import foreign, refill, without_traces
from semirobust.layers.inputs import Inputs, changed, version

__all__ = ["as_it_was", "device_of", "guarded", "quiet", "run_with_hooks", "works_in_place"]

Hooks = Iterable[tuple[nn.Module, Any]]


@contextmanager
def guarded(model: nn.Module) -> Iterator[None]:
    """Inside, ``model`` cannot overwrite what it is given (:class:`semirobust.layers.inputs.Inputs`).

    Raises:
        InputError: it takes only certain numbers of examples.
    """
    inputs = Inputs(model)
    try:
        yield
    except Exception as error:
        inputs.explain(model, error)
        raise
    finally:
        inputs.remove()


@contextmanager
def quiet(model: nn.Module, *, keep_mode: bool = False) -> Iterator[None]:
    """Inside, ``model`` is in eval mode and its parameters take no gradient; afterwards all is as it was.

    The ``training`` flag of each module and ``requires_grad`` of each parameter are restored, also after an
    error. Without gradients of the parameters, a backward pass to the input is about a third cheaper, and
    ``.grad`` is not written. Buffers that a model of others writes or replaces in its forward pass, such as
    those of an observer, are put back, and so is what it keeps in its attributes. It cannot overwrite what it
    is given (:func:`guarded`).

    Args:
        model: any module.
        keep_mode: leave the modes as they are, for attacks in train mode as in Fast-AT.

    Raises:
        InputError: the model was built inside ``torch.inference_mode``.
    """
    with guarded(model), _still(model, keep_mode=keep_mode), without_traces(model):
        yield


@contextmanager
def _still(model: nn.Module, *, keep_mode: bool = False) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    buffers = [] if keep_mode else [(b, b._version, b.clone()) for b in _writable(model)]
    tables = (
        []
        if keep_mode
        else [(m._buffers, dict(m._buffers)) for m in foreign(model) if isinstance(m._buffers, dict)]
    )
    if any(parameter.is_inference() for parameter, _ in flags) and not torch.is_inference_mode_enabled():
        raise InputError(
            "model: its weights were made inside torch.inference_mode and take part in no gradient; build and"
            " load it outside"
        )
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
        for table, before in tables:  # those that the model put in the place of others
            refill(table, before)
        with torch.no_grad():
            for buffer, version, value in buffers:
                if buffer._version != version:
                    buffer.copy_(value)


def _writable(model: nn.Module) -> Iterator[Tensor]:
    """Buffers that a forward pass in eval mode may write: those of modules that are not PyTorch's own."""
    for module in foreign(model):
        for buffer in module._buffers.values():
            if buffer is not None and not buffer.is_inference():  # those count no versions
                yield buffer


@contextmanager
def as_it_was(model: nn.Module) -> Iterator[None]:
    """Afterwards modes and buffers of the model, such as the statistics of a batch norm, are as before."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        with torch.no_grad():
            for name, value in buffers.items():
                model.get_buffer(name).resize_(value.shape).copy_(value)


def run_with_hooks(model: nn.Module, x: Tensor, before: Hooks, after: Hooks = ()) -> Any:
    """Run the model once, as still as inside :func:`quiet`, with forward hooks, which are removed afterwards.

    Hooks see ``x`` itself. Where the model overwrites it, its values are put back.

    Args:
        model: any module.
        x: its input.
        before: pairs of a module and a pre-hook (module, args, kwargs).
        after: pairs of a module and a hook (module, args, output).

    Returns:
        what the model returned.

    Raises:
        InputError: the model cannot run on ``x``.
    """
    handles = [module.register_forward_pre_hook(hook, with_kwargs=True) for module, hook in before]
    handles += [module.register_forward_hook(hook) for module, hook in after]
    kept = x.detach().clone()
    try:
        with _still(model), torch.no_grad():
            return model(x)
    except InputError:
        raise
    except Exception as error:  # a model can fail in any way on what it was not made for
        check_device(model, x)
        raise cannot_run(x, error, hint=IN_ORDER if runs_in_order(model, x) else "") from error
    finally:
        for handle in handles:
            handle.remove()
        with torch.no_grad():
            if not torch.equal(x, kept):
                x.copy_(kept)


def works_in_place(model: nn.Module, x: Tensor) -> bool:
    """Whether ``model`` overwrites what it is given; ``x`` and the model are left as they were."""
    own = x.detach().clone()
    before = version(own)
    with _still(model), torch.no_grad():
        model(own)
    return changed(x, own, before)


def device_of(model: nn.Module, default: torch.device) -> torch.device:
    """The device of the model's parameters and buffers; ``default`` where it has none."""
    return next((tensor.device for tensor in (*model.parameters(), *model.buffers())), default)
