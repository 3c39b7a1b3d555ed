"""What a network gets: a batch of its own where it would overwrite the caller's."""

import copy
import functools
import sys
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils.hooks import RemovableHandle

from semirobust.core.checks import IN_ORDER, runs_in_order, runs_on
from semirobust.core.devices import costs_a_wait
from semirobust.core.errors import InputError
from semirobust.core.text import first_line

__all__ = ["Inputs", "changed", "version"]

P = ParamSpec("P")
T = TypeVar("T")


def _unseen(hook: Callable[P, T]) -> Callable[P, T]:
    """Decorator: calls inside are none of the network's, and who counts those
    (:mod:`semirobust.layers.calls`) sees none of them.
    """

    @functools.wraps(hook)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        with torch._C.DisableTorchFunction():
            return hook(*args, **kwargs)

    return call


class Inputs:
    """Stands in front of a network and keeps what it is given from being overwritten.

    A network may normalise by ``x.sub_(mean)`` or begin with a ReLU in place. It would change the caller's
    images, and the point that an attack goes on from; and PyTorch allows no change in place of a tensor that
    a gradient is taken in. The first batch is handed over as a copy. Where the network changed the copy, each
    later batch is copied too; where it did not, batches are handed over as they are.

    Args:
        model: the network; :meth:`remove` takes the hooks off again.
    """

    def __init__(self, model: nn.Module) -> None:
        self._overwrites: bool | None = None
        self._given: list[tuple[Tensor, Tensor, int]] = []  # what came, its copy, and the copy's version
        self._failed: tuple[Exception, Tensor] | None = None  # and the batch it failed on
        self._handles: tuple[RemovableHandle, ...] = (
            # Those of a scripted module refuse, and yet work.
            nn.Module.register_forward_pre_hook(model, self._before),
            nn.Module.register_forward_hook(model, self._after, always_call=True),
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> "Inputs":
        # A network that is copied meanwhile takes its guard along.
        other = copy.copy(self)
        other._given, other._failed, other._handles = [], None, ()
        return other

    def remove(self) -> None:
        """Leave the network alone again."""
        for handle in self._handles:
            handle.remove()

    def explain(self, model: nn.Module, error: Exception) -> None:
        """Raise one sentence where ``error`` is the network's on a batch that it takes in other sizes.

        Raises:
            InputError: with that sentence, from ``error``.
        """
        if self._failed is None or self._failed[0] is not error:
            return
        if isinstance(error, (InputError, torch.OutOfMemoryError, MemoryError)):
            return
        x = self._failed[1]
        if runs_in_order(model, x):
            raise InputError(f"x: the model cannot run on it ({first_line(error)}){IN_ORDER}") from error
        fine = next((n for n in (1, 2) if n != len(x) and runs_on(model, x, n)), 0)
        if fine:
            raise InputError(
                f"model: expected a network that takes any number of examples; it runs on {fine} at once, but"
                f" not on {len(x)} ({first_line(error)})"
            ) from error

    @_unseen
    def _before(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        self._given = []
        if self._overwrites is None and module.training in _LEAVES_ALONE.get(module, ()):
            # Comparing makes the host wait for the device, so what was seen once is believed there.
            self._overwrites = False if any(map(_far, args)) else None
        if self._overwrites is False:
            return None
        own = tuple(arg.clone() if _copied(arg) else arg for arg in args)
        if self._overwrites is None:
            pairs = zip(args, own, strict=True)
            self._given = [(came, mine, version(mine)) for came, mine in pairs if came is not mine]
        return own

    @_unseen
    def _after(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        given, self._given = self._given, []
        error = sys.exc_info()[1] if output is None else None
        if isinstance(error, Exception):
            if args and isinstance(args[0], Tensor):
                self._failed = error, args[0].detach()
        elif given:
            self._overwrites = any(changed(*entry) for entry in given)
            if not self._overwrites and any(_far(came) for came, _, _ in given):
                _LEAVES_ALONE.setdefault(module, set()).add(module.training)


# Networks that were seen to leave what they are given as it is, on a device, in which modes.
_LEAVES_ALONE: WeakKeyDictionary[nn.Module, set[bool]] = WeakKeyDictionary()


def _far(value: object) -> bool:
    """Whether it is a tensor at which the host cannot look at once."""
    return isinstance(value, Tensor) and costs_a_wait(value)


def _copied(value: object) -> bool:
    # Tensors without values are counted by the byte, and there is nothing in them to protect.
    return isinstance(value, Tensor) and not isinstance(value, FakeTensor) and not value.is_meta


def version(tensor: Tensor) -> int:
    """How often the tensor was changed in place."""
    return 0 if tensor.is_inference() else tensor._version


def changed(came: Tensor, copy: Tensor, at: int) -> bool:
    """Whether the ``copy`` of what ``came`` was changed in place since its version was ``at``."""
    # ``x.data.sub_()`` leaves the version as it is, and ``x.clamp_(0, 1)`` the values.
    return version(copy) != at or not torch.equal(came.detach(), copy.detach())
