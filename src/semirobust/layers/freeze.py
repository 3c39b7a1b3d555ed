"""Freezing layers so that they stay frozen."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn

from semirobust.layers.map import LayerMap

__all__ = ["frozen", "only_trainable", "stays_in_eval"]


class _StaysInEval:
    """Stands in for ``module.train`` on a frozen module with statistics: whatever is asked, it stays in eval
    mode.

    A class rather than a closure, so that a deep copy of the model refers to the copied module.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self, mode: bool = True) -> nn.Module:
        return self.module


def _keeps_statistics(module: nn.Module) -> bool:
    """Batch norm, spectral norm: what has buffers may write them in train mode."""
    return next(module.buffers(recurse=False), None) is not None


@contextmanager
def stays_in_eval(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Inside, these modules are in eval mode, also after ``model.train()``; afterwards modes and ``train``
    are as before.
    """
    kept = [(module, module.training, module.__dict__.get("train")) for module in modules]
    try:
        for module, _, _ in kept:
            module.training = False
            module.__dict__["train"] = _StaysInEval(module)
        yield
    finally:
        for module, mode, before in kept:
            module.__dict__.pop("train", None)
            if before is not None:
                module.__dict__["train"] = before
            module.training = mode


@contextmanager
def frozen(
    model: nn.Module, layers: LayerMap, indices: Iterable[int], *, and_unassigned: bool = False
) -> Iterator[None]:
    """Inside, the given layers take no gradient and their batch norm keeps its statistics, also after
    ``model.train()``.

    Afterwards ``requires_grad``, modes and ``train`` methods are as before. A deep copy made inside stays
    frozen.

    Args:
        model: the module that ``layers`` describes.
        layers: its layer map.
        indices: the layers to freeze.
        and_unassigned: freeze also what belongs to no layer.
    """
    indices = tuple(indices)
    names = set(layers.parameters(indices)) | (set(layers.unassigned) if and_unassigned else set())
    owners = set(layers.modules(indices))
    parameters = [(p, p.requires_grad) for name, p in model.named_parameters() if name in names]
    norms = [m for name, m in model.named_modules() if name in owners and _keeps_statistics(m)]
    try:
        for parameter, _ in parameters:
            parameter.requires_grad_(False)
        with stays_in_eval(norms):
            yield
    finally:
        for parameter, flag in parameters:
            parameter.requires_grad_(flag)


@contextmanager
def only_trainable(model: nn.Module, layers: LayerMap, indices: Iterable[int] | None) -> Iterator[None]:
    """Freeze all but the given layers; ``None`` freezes nothing."""
    if indices is None:
        yield
        return
    keep = set(indices)
    for index in keep:
        layers.at(index)
    with frozen(model, layers, [index for index in layers.indices if index not in keep], and_unassigned=True):
        yield
