"""Batch norm in two branches: one with the statistics from before, one that adapts."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semirobust.adapters.replace import standing_in

__all__ = ["TwinNorm", "halves", "twin_norms"]


class TwinNorm(nn.BatchNorm2d):
    """Batch norm that, while ``split``, gives the first half of a batch the statistics it had when it was
    made.

    The second half, and the whole batch otherwise, go through the batch norm as it is. Weight and bias are
    shared."""

    frozen_mean: Tensor
    frozen_var: Tensor
    split: bool = False

    def forward(self, x: Tensor) -> Tensor:
        if not self.split:
            return super().forward(x)
        first, second = x[: len(x) // 2], x[len(x) // 2 :]
        still = F.batch_norm(
            first, self.frozen_mean, self.frozen_var, self.weight, self.bias, False, 0.0, self.eps
        )
        return torch.cat([still, super().forward(second)])


@contextmanager
def twin_norms(model: nn.Module) -> Iterator[None]:
    """Inside, each batch norm with statistics is a :class:`TwinNorm` with its own tensors; afterwards it is
    itself again.
    """
    names = [
        name
        for name, module in model.named_modules()
        if type(module) is nn.BatchNorm2d and module.track_running_stats
    ]
    with standing_in(model, {name: _twin(model.get_submodule(name)) for name in names}):
        yield


def _twin(module: nn.Module) -> TwinNorm:
    twin = TwinNorm.__new__(TwinNorm)
    own = {
        "_buffers": dict(module._buffers),
        "_non_persistent_buffers_set": set(module._non_persistent_buffers_set),
    }
    twin.__dict__.update({**module.__dict__, **own})
    for name in ("mean", "var"):
        value = module._buffers[f"running_{name}"]
        assert value is not None
        twin.register_buffer(f"frozen_{name}", value.clone(), persistent=False)
    return twin


@contextmanager
def halves(model: nn.Module) -> Iterator[None]:
    """Inside, the twin norms of ``model`` split each batch."""
    twins = [module for module in model.modules() if isinstance(module, TwinNorm)]
    try:
        for twin in twins:
            twin.split = True
        yield
    finally:
        for twin in twins:
            twin.split = False
