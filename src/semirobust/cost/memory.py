"""Peak memory of an attack or a training step, counted before it is run."""

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
from semirobust.core.classifiers import on_classifiers
from semirobust.core.errors import InputError
from semirobust.core.outputs import counting
from semirobust.core.plain import anywhere
from semirobust.core.text import first_line
from semirobust.layers.freeze import only_trainable
from semirobust.layers.heads import main_head
from semirobust.layers.map import LayerMap, layer_map
from semirobust.layers.quiet import device_of, quiet, works_in_place
from semirobust.objectives import AbstractObjective, Step

__all__ = ["footprint", "largest_batch"]


@anywhere
@on_classifiers("model", layers=True)
def footprint(
    model: nn.Module,
    x: Tensor,
    batch: int,
    *,
    objective: AbstractObjective | None = None,
    layers: Sequence[int] | None = None,
) -> int:
    """Peak memory in bytes of a step on ``batch`` images, weights included and the data set left out.

    The step runs on tensors without values (PyTorch's fake tensors), so it takes no memory and little time.
    Counted are all tensors, each from its creation to its last use, in the precision of the weights. Training
    adds a momentum for each weight that trains, and the weights of the best epoch. Not counted are:

    - what an allocator holds besides (on a CPU up to half as much again, by glibc);
    - the workspace of libraries;
    - what options of :class:`Training` add: the fast copy that attacks search in (``fast``, 1.5 times the
      weights at most), averages and weight perturbations (as much as the weights each).

    The method is ours.

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
    one = x[:1].to(device_of(model, x.device))
    all_layers, in_place = layer_map(model, one), works_in_place(model, one)
    head = None if objective is None else main_head(model, x[:2].to(one.device))
    held = _bytes({*model.parameters(), *model.buffers()})  # a set, so that tied weights count once
    best_epoch = _bytes(model.state_dict().values())
    without_values = FakeTensorMode()
    with FakeCopyMode(without_values):
        ghost = copy.deepcopy(model)
    if in_place:  # it could not change what a gradient is taken in
        ghost.register_forward_pre_hook(lambda module, args: (args[0] * 1, *args[1:]))
    try:
        with (
            without_values,
            only_trainable(ghost, all_layers, layers),
            counting(head),
            _Alive((*ghost.parameters(), *ghost.buffers())) as alive,
        ):
            step, x_adv = _attacked(ghost, (batch, *x.shape[1:]), x.dtype, objective, all_layers, layers)
            if objective is not None:
                # The second sum is the momentum.
                held += best_epoch + _bytes(p for p in ghost.parameters() if p.requires_grad)
                ghost.train()
                objective.outer(step, x_adv).backward()
    except InputError:
        raise
    except (RuntimeError, ValueError) as error:
        raise InputError(
            "footprint: expected a network and an objective that work without values;"
            f" {first_line(error)[:200]}"
        ) from None
    return held + alive.peak


@anywhere
@on_classifiers("model", layers=True)
def largest_batch(model: nn.Module, x: Tensor, limit: float, **given: Any) -> int:
    """The largest batch whose step fits into ``limit`` bytes by :func:`footprint`; 0 where two images do not.

    Args:
        model, x: as for :func:`footprint`.
        limit: bytes.
        given: further arguments of :func:`footprint`.

    Raises:
        InputError: the limit is not a positive, finite number.
    """
    if not 0 < limit < math.inf:
        raise InputError(f"limit: expected a number of bytes, got {limit}")
    fits, fails = 0, 2  # batch norm cannot train on one
    while footprint(model, x, fails, **given) <= limit:
        fits, fails = fails, 2 * fails
    # The answer lies in [fits, fails): halve that interval.
    if not fits:
        return 0
    while fails - fits > 1:
        middle = (fits + fails) // 2
        fits, fails = (middle, fails) if footprint(model, x, middle, **given) <= limit else (fits, middle)
    return fits


def _attacked(
    ghost: nn.Module,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    objective: AbstractObjective | None,
    all_layers: LayerMap,
    layers: Sequence[int] | None,
) -> tuple[Step, Tensor]:
    """One gradient step of an attack, as in training or an evaluation, and what it gives."""
    device = device_of(ghost, torch.device("cpu"))
    x = torch.empty(shape, dtype=dtype, device=device)
    y = torch.zeros(shape[0], dtype=torch.long, device=device)
    step = Step(ghost, all_layers, x, y, all_layers.indices if layers is None else tuple(layers))
    with quiet(ghost):
        inner = (
            objective.inner(step)
            if objective
            else lambda x_adv: F.cross_entropy(ghost(x_adv), y, reduction="none")
        )
        if inner is None:
            return step, x
        x_adv = torch.empty_like(x).requires_grad_()
        (gradient,) = torch.autograd.grad(inner(x_adv).sum(), x_adv)
        return step, (x_adv + gradient.sign()).detach()


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class _Alive(TorchDispatchMode):
    """Inside, counts the bytes of all tensors that are alive, and their peak.

    A storage counts once, however many views share it, and until its last view is gone.

    Args:
        known: tensors that are not counted.

    Attributes:
        now, peak: bytes.
    """

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._known: dict[int, object] = {
            storage._cdata: storage for storage in (t.untyped_storage() for t in known)
        }

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_iter(result):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return

        def gone(_: object) -> None:
            self.now -= size
            self._known.pop(key, None)

        # A weak reference calls ``gone`` when the storage is freed.
        self._known[key] = weakref.ref(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)
