"""Networks that files describe, whose size is counted while they are built."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from semirobust.core.budget import BUDGET
from semirobust.core.errors import InputError
from semirobust.experiments.model_spec import ModelSpec
from semirobust.zoo.base.named import from_zoo

__all__ = ["build_small"]


def build_small(spec: ModelSpec, weights: Path, *, offline: bool) -> nn.Module:
    """The network of a file of settings, with the file of its weights.

    One of ours is first built on the device meta, where it takes no memory.

    Raises:
        InputError: it is far larger than what lies there, or has absurdly many parts.
    """
    held = weights.stat().st_size if weights.is_file() else 0
    most = max(BUDGET.model_bytes, BUDGET.model_ratio * held)
    if not from_zoo(spec.name):
        with _counted(most), torch.device("meta"):
            spec.build(offline=offline)
    with _counted(most):
        return spec.build(offline=offline)


@contextmanager
def _counted(most: int) -> Iterator[None]:
    """Count the parts and the bytes of parameters of what this thread builds, before they have values."""
    mine, spent = threading.get_ident(), {"modules": 0, "bytes": 0}

    def module(_parent: nn.Module, _name: str, _child: nn.Module | None) -> None:
        spend("modules", 1)

    def parameter(_parent: nn.Module, _name: str, values: nn.Parameter | None) -> None:
        if values is not None and not nn.parameter.is_lazy(values):
            spend("bytes", values.numel() * values.element_size())

    def spend(what: str, count: int) -> None:
        if threading.get_ident() != mine:
            return
        spent[what] += count
        if spent["bytes"] > most or spent["modules"] > BUDGET.modules:
            raise InputError(
                f"model: expected a network of at most {BUDGET.modules:,} parts and {most:,} bytes, as the"
                " weights beside its settings allow, got a larger one; it was not built"
            )

    hooks = (
        register_module_module_registration_hook(module),
        register_module_parameter_registration_hook(parameter),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
