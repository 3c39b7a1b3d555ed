"""Batch norm in two branches, one with frozen statistics and one that adapts (TWINS)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semirobust.adapters.replace import replace_all, replaced_modules
from semirobust.core.errors import InputError
from semirobust.core.outputs import note
from semirobust.core.recomputed import check_once

__all__ = ["TwinNorm", "adaptive_alone", "split_batches", "twin_norms", "without_twins"]

_OWN = ("frozen_weight", "frozen_bias")


class TwinNorm(nn.BatchNorm2d):
    """Batch norm that can normalise the first half of a batch by frozen statistics.

    While ``split`` is set, the first half uses the statistics from when this module was made. The second half
    goes through ordinary batch norm, and so does the whole batch while ``split`` is not set (Liu et al. 2023,
    TWINS).

    Attributes:
        frozen_mean, frozen_var: the statistics from when it was made.
        frozen_weight, frozen_bias: of the first half, which train like others; None where both halves have
            the same weight and bias.
        split: whether batches are split now.
    """

    frozen_mean: Tensor
    frozen_var: Tensor
    frozen_weight: nn.Parameter | None
    frozen_bias: nn.Parameter | None
    split: bool = False

    def forward(self, x: Tensor) -> Tensor:
        if not self.split:
            return super().forward(x)
        check_once()
        first, second = x[: len(x) // 2], x[len(x) // 2 :]
        weight = self.weight if self.frozen_weight is None else self.frozen_weight
        bias = self.bias if self.frozen_bias is None else self.frozen_bias
        frozen = F.batch_norm(first, self.frozen_mean, self.frozen_var, weight, bias, False, 0.0, self.eps)
        return torch.cat([frozen, super().forward(second)])


@contextmanager
def twin_norms(model: nn.Module, *, own_affine: bool = False) -> Iterator[None]:
    """Inside, each batch norm with statistics is a :class:`TwinNorm` that shares its tensors.

    Afterwards the original modules are back.

    Args:
        model: is left as it was.
        own_affine: the frozen branch has weights and biases of its own, which begin as those of the other.

    Raises:
        InputError: there is no ``nn.BatchNorm2d`` with statistics. Beside one, batch norms of other classes
            have one branch, which a note says.
    """
    norms = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats
    }
    names = [name for name, module in norms.items() if type(module) is nn.BatchNorm2d]
    kinds = ", ".join(sorted({type(norms[name]).__name__ for name in norms.keys() - names}))
    if not names:
        raise InputError(
            "model: expected nn.BatchNorm2d with statistics, of which twins makes two branches, found"
            f" {kinds or 'no batch norm'}; adversarial trains such a network in one branch"
        )
    if kinds:
        note(f"twins: {len(norms) - len(names)} of {len(norms)} batch norms have one branch alone ({kinds})")
    with replaced_modules(model, {name: _twin(model.get_submodule(name), own_affine) for name in names}):
        yield


def without_twins(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict taken inside :func:`twin_norms`, without what the frozen branch has of its own."""
    return {name: tensor for name, tensor in state.items() if name.rpartition(".")[2] not in _OWN}


def adaptive_alone(model: nn.Module) -> None:
    """Replace the twin norms whose frozen branch has affine parameters of its own by plain batch norm, which
    computes what their other branch does; ``model`` is changed.

    That branch alone is the resulting network. Where both share these parameters, splitting may be asked for.
    """

    def plain(module: TwinNorm) -> nn.BatchNorm2d:
        norm = nn.BatchNorm2d.__new__(nn.BatchNorm2d)
        parameters = {key: value for key, value in module._parameters.items() if key not in _OWN}
        norm.__dict__.update({**module.__dict__, "_parameters": parameters})
        return norm

    replace_all(model, lambda m: isinstance(m, TwinNorm) and m.frozen_weight is not None, plain)


def _twin(module: nn.Module, own_affine: bool) -> TwinNorm:
    twin = TwinNorm.__new__(TwinNorm)
    # The tensors are shared, but the dictionaries are copied: only the twin gets the frozen statistics.
    copied = {
        "_parameters": dict(module._parameters),
        "_buffers": dict(module._buffers),
        "_non_persistent_buffers_set": set(module._non_persistent_buffers_set),
    }
    twin.__dict__.update({**module.__dict__, **copied})
    for name in ("mean", "var"):
        value = module._buffers[f"running_{name}"]
        assert value is not None
        twin.register_buffer(f"frozen_{name}", value.clone(), persistent=False)
    for own in _OWN:
        parameter = module._parameters[own.removeprefix("frozen_")]
        copied_one = None if parameter is None or not own_affine else parameter.detach().clone()
        twin.register_parameter(own, None if copied_one is None else nn.Parameter(copied_one))
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
