"""How much memory an attack or a training step takes, before it is tried."""

import copy
import math
import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from semirobust.core.checks import check_counts
from semirobust.core.errors import InputError
from semirobust.core.text import first_line
from semirobust.layers.freeze import only_trainable
from semirobust.layers.map import LayerMap, layer_map
from semirobust.layers.quiet import device_of, quiet
from semirobust.objectives import AbstractObjective, Step

__all__ = ["footprint", "largest_batch"]


def footprint(
    model: nn.Module,
    x: Tensor,
    batch: int,
    *,
    objective: AbstractObjective | None = None,
    layers: Sequence[int] | None = None,
) -> int:
    """The most bytes that tensors take at once in a step on ``batch`` images, weights included, the data set
    left out.

    The step is carried out on tensors without values, so it takes no memory and little time. Counted are all
    tensors, each from its making to its last use, in the precision of the weights; training also has a
    momentum for each weight that trains, and the weights of its best epoch. Not counted: what an allocator
    keeps beside them (on a CPU up to half as much again, by glibc), what a library works in, and what options
    of :class:`Training` add: copies that attacks search (``search``, 1.5 times the weights at most), averages
    and weight perturbations (as much as the weights each). (Ours.)

    Args:
        model: gives logits (N, C).
        x: (n, K, H, W) an image or some, on any device.
        batch: images in a step.
        objective: what training lowers; None for an attack by gradients of the cross entropy alone.
        layers: the layers that train; all where None.

    Raises:
        InputError: the network or the objective asks for values.
    """
    check_counts(1, batch=batch)
    found = layer_map(model, x[:1].to(device_of(model, x.device)))
    held = _bytes({*model.parameters(), *model.buffers()})  # tied ones once
    best = _bytes(model.state_dict().values())
    without_values = FakeTensorMode()
    with FakeCopyMode(without_values):
        ghost = copy.deepcopy(model)
    try:
        with (
            without_values,
            only_trainable(ghost, found, layers),
            _Alive((*ghost.parameters(), *ghost.buffers())) as alive,
        ):
            step, x_adv = _attacked(ghost, (batch, *x.shape[1:]), objective, found, layers)
            if objective is not None:
                held += best + _bytes(p for p in ghost.parameters() if p.requires_grad)
                ghost.train()
                objective.outer(step, x_adv).backward()
    except InputError:
        raise
    except (RuntimeError, ValueError) as error:
        raise InputError(
            "footprint: expected a network and an objective that work without values;"
            f" {first_line(error)[:200]}"
        ) from None
    return held + alive.most


def largest_batch(model: nn.Module, x: Tensor, limit: float, **given: Any) -> int:
    """The most images in a step that take ``limit`` bytes at most, by :func:`footprint`; 0 where two do not
    fit.

    Raises:
        InputError: the limit is no number of bytes.
    """
    if not 0 < limit < math.inf:
        raise InputError(f"limit: expected a number of bytes, got {limit}")
    fits, fails = 0, 2  # batch norm cannot train on one
    while footprint(model, x, fails, **given) <= limit:
        fits, fails = fails, 2 * fails
    if not fits:
        return 0
    while fails - fits > 1:
        middle = (fits + fails) // 2
        fits, fails = (middle, fails) if footprint(model, x, middle, **given) <= limit else (fits, middle)
    return fits


def _attacked(
    ghost: nn.Module,
    shape: tuple[int, ...],
    objective: AbstractObjective | None,
    found: LayerMap,
    layers: Sequence[int] | None,
) -> tuple[Step, Tensor]:
    """One step of an attack, as training or an evaluation takes it."""
    device = device_of(ghost, torch.device("cpu"))
    x, y = torch.empty(shape, device=device), torch.zeros(shape[0], dtype=torch.long, device=device)
    step = Step(ghost, found, x, y, found.indices if layers is None else tuple(layers))
    with quiet(ghost):
        inner = (
            objective.inner(step)
            if objective
            else lambda x_adv: F.cross_entropy(ghost(x_adv), y, reduction="none")
        )
        if inner is None:
            return step, x
        here = torch.empty_like(x).requires_grad_()
        (slope,) = torch.autograd.grad(inner(here).sum(), here)
        return step, (here + slope.sign()).detach()


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class _Alive(TorchDispatchMode):
    """Counts the bytes of storages that are made inside and still used, and the most there were; not of
    ``known`` tensors.
    """

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.most = 0
        self._known: dict[int, object] = {
            storage._cdata: storage for storage in (t.untyped_storage() for t in known)
        }

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        for tensor in tree_iter(found):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return found

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return

        def gone(_: object) -> None:
            self.now -= size
            self._known.pop(key, None)

        self._known[key] = weakref.ref(storage, gone)
        self.now += size
        self.most = max(self.most, self.now)
