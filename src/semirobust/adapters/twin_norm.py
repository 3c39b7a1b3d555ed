"""Batch norm in two branches, one with frozen statistics and one that adapts (TWINS)."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semirobust.adapters.replace import replaced_modules

__all__ = ["TwinNorm", "split_batches", "twin_norms"]


class TwinNorm(nn.BatchNorm2d):
    """Batch norm that can normalise the first half of a batch by frozen statistics.

    While ``split`` is set, the first half uses the statistics from when this module was made. The second half
    goes through ordinary batch norm, and so does the whole batch while ``split`` is not set. Both branches
    have the same weight and bias (Liu et al. 2023, TWINS).
    """

    frozen_mean: Tensor
    frozen_var: Tensor
    split: bool = False

    def forward(self, x: Tensor) -> Tensor:
        if not self.split:
            return super().forward(x)
        first, second = x[: len(x) // 2], x[len(x) // 2 :]
        frozen = F.batch_norm(
            first, self.frozen_mean, self.frozen_var, self.weight, self.bias, False, 0.0, self.eps
        )
        return torch.cat([frozen, super().forward(second)])


@contextmanager
def twin_norms(model: nn.Module) -> Iterator[None]:
    """Inside, each batch norm with statistics is a :class:`TwinNorm` that shares its tensors.

    Afterwards the original modules are back.
    """
    names = [
        name
        for name, module in model.named_modules()
        if type(module) is nn.BatchNorm2d and module.track_running_stats
    ]
    with replaced_modules(model, {name: _twin(model.get_submodule(name)) for name in names}):
        yield


def _twin(module: nn.Module) -> TwinNorm:
    twin = TwinNorm.__new__(TwinNorm)
    # The tensors are shared, but the dictionaries are copied: only the twin gets the frozen statistics.
    copied = {
        "_buffers": dict(module._buffers),
        "_non_persistent_buffers_set": set(module._non_persistent_buffers_set),
    }
    twin.__dict__.update({**module.__dict__, **copied})
    for name in ("mean", "var"):
        value = module._buffers[f"running_{name}"]
        assert value is not None
        twin.register_buffer(f"frozen_{name}", value.clone(), persistent=False)
    return twin


@contextmanager
def split_batches(model: nn.Module) -> Iterator[None]:
    """Inside, the twin norms of ``model`` split each batch."""
    twins = [module for module in model.modules() if isinstance(module, TwinNorm)]
    try:
        for twin in twins:
            twin.split = True
        yield
    finally:
        for twin in twins:
            twin.split = False
