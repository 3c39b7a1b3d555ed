"""Replacing the modules of a model."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn

__all__ = ["replace_all", "replace_module", "replace_modules", "replaced_modules"]


@contextmanager
def replaced_modules(model: nn.Module, replacements: Mapping[str, nn.Module]) -> Iterator[None]:
    """Inside, ``replacements`` are in the place of the modules of these names.

    Afterwards the original modules are back, in the mode in which their replacements are.
    """
    originals = {name: model.get_submodule(name) for name in replacements}
    try:
        replace_modules(model, replacements)
        yield
    finally:
        for name, module in originals.items():
            module.train(replacements[name].training)
        replace_modules(model, originals)


def replace_all(
    model: nn.Module, suits: Callable[[nn.Module], bool], make: Callable[[Any], nn.Module]
) -> int:
    """Replace each sub-module for which ``suits(module)`` holds by ``make(module)``; returns their number."""
    suitable = [(name, module) for name, module in model.named_modules() if suits(module)]
    replace_modules(model, {name: make(module) for name, module in suitable})
    return len(suitable)


def replace_module(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put ``module`` in the place of the sub-module ``name``, under every name that this one has."""
    replace_modules(model, {name: module})


def replace_modules(model: nn.Module, replacements: Mapping[str, nn.Module]) -> None:
    """:func:`replace_module` for several names in one look at the model."""
    instead = {model.get_submodule(name): replacement for name, replacement in replacements.items()}
    for parent in list(model.modules()):
        for attribute, child in list(parent._modules.items()):
            if child in instead:
                setattr(parent, attribute, instead[child])
