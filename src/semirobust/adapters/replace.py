"""Putting a module where another one is."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn

__all__ = ["replace_all", "replace_module", "standing_in"]


@contextmanager
def standing_in(model: nn.Module, others: Mapping[str, nn.Module]) -> Iterator[None]:
    """Inside, ``others`` are where the modules of these names were; afterwards those are back, in the mode of
    their stand-ins.
    """
    originals = {name: model.get_submodule(name) for name in others}
    try:
        for name, other in others.items():
            replace_module(model, name, other)
        yield
    finally:
        for name, module in originals.items():
            module.train(others[name].training)
            replace_module(model, name, module)


def replace_all(
    model: nn.Module, suits: Callable[[nn.Module], bool], make: Callable[[Any], nn.Module]
) -> int:
    """Put ``make(module)`` where each sub-module is that suits; says how many."""
    chosen = [(name, module) for name, module in model.named_modules() if suits(module)]
    for name, module in chosen:
        replace_module(model, name, make(module))
    return len(chosen)


def replace_module(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put ``module`` where the sub-module ``name`` is."""
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, module)
