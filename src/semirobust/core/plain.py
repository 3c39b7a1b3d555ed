"""Functions that can be called from anywhere, also where gradients are turned off."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

from semirobust.core.errors import InputError

__all__ = ["anywhere"]

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


def anywhere(function: Callable[_Given, _Result]) -> Callable[_Given, _Result]:
    """``function`` as if it were called outside ``torch.inference_mode`` and ``torch.no_grad``.

    Test loops of training libraries run inside these, and attacks, features and training need gradients.
    Tensors made in inference mode can take part in none, so they are copied; one that requires a gradient is
    handed over without it, since no result is to be differentiated. Both are of the arguments alone: a model
    that was built in inference mode stays what it is.

    Raises:
        InputError: new tensors are made on another device than the CPU: some of ours would stand where no
            image is.
    """

    @wraps(function)
    def called(*args: _Given.args, **kwargs: _Given.kwargs) -> _Result:
        if (place := torch.get_default_device()).type != "cpu":
            raise InputError(
                f"torch: expected the CPU as the default device, got {place}; call this inside `with"
                " torch.device('cpu'):` and bring model and images to their device by .to()"
            )
        with torch.inference_mode(mode=False), torch.enable_grad():
            plain = [_plain(arg) for arg in args]
            named = {name: _plain(arg) for name, arg in kwargs.items()}
            return function(*plain, **named)  # type: ignore[arg-type]

    return called


def _plain(value: object) -> object:
    if not isinstance(value, Tensor) or isinstance(value, torch.nn.Parameter):
        return value
    if value.is_inference():
        return value.clone()
    return value.detach() if value.requires_grad else value
