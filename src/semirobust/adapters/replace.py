"""Replacing the modules of a model."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn

__all__ = ["replace_all", "replace_module", "replaced_modules"]


@contextmanager
def replaced_modules(model: nn.Module, replacements: Mapping[str, nn.Module]) -> Iterator[None]:
    """Inside, ``replacements`` are in the place of the modules of these names.

    Afterwards the original modules are back, in the mode in which their replacements are.
    """
    originals = {name: model.get_submodule(name) for name in replacements}
    try:
        for name, replacement in replacements.items():
            replace_module(model, name, replacement)
        yield
    finally:
        for name, module in originals.items():
            module.train(replacements[name].training)
            replace_module(model, name, module)


def replace_all(
    model: nn.Module, suits: Callable[[nn.Module], bool], make: Callable[[Any], nn.Module]
) -> int:
    """Replace each sub-module for which ``suits(module)`` holds by ``make(module)``; returns their number."""
    suitable = [(name, module) for name, module in model.named_modules() if suits(module)]
    for name, module in suitable:
        replace_module(model, name, make(module))
    return len(suitable)


def replace_module(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put ``module`` in the place of the sub-module ``name``, under every name that this one has."""
    original = model.get_submodule(name)
    for parent in list(model.modules()):
        for attribute in [key for key, child in parent._modules.items() if child is original]:
            setattr(parent, attribute, module)
