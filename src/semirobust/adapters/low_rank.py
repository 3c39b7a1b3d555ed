"""Low-rank updates of weights that are merged afterwards."""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from semirobust.adapters.replace import replace_module, standing_in
from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.layers.freeze import stays_in_eval

__all__ = [
    "LowRankConv2d",
    "LowRankLinear",
    "branch",
    "low_rank",
    "merged",
    "on_branch",
    "whole_weights",
    "without_branch",
    "without_updates",
]

_DOWN, _UP = "down", "up"


class _LowRank(nn.Module):
    """A weight layer computing with W + scale * up down, W frozen: ``down`` (r, fan-in), ``up`` (outputs, r),
    0 at the start.
    """

    weight: Tensor
    down: Tensor
    up: Tensor
    scale: float
    off: bool = False  # computes with W alone
    aside: bool = False  # W takes no gradient where the update is on

    def attach(self, rank: int, scale: float, seed: Seed) -> None:
        outputs, fan_in = len(self.weight), self.weight[0].numel()
        r = min(rank, outputs, fan_in)
        noise = torch.randn(r, fan_in, generator=seed.generator()).to(self.weight) / math.sqrt(fan_in)
        self.down, self.up = nn.Parameter(noise), nn.Parameter(self.weight.new_zeros(outputs, r))
        self.scale = scale

    @property
    def whole(self) -> Tensor:
        """The weight that the module computes with."""
        if self.off:
            return self.weight
        weight = self.weight.detach() if self.aside else self.weight
        return weight + self.scale * (self.up @ self.down).view_as(self.weight)


class LowRankConv2d(_LowRank, nn.Conv2d):
    """A convolution with a low-rank update over outputs x (inputs, rows, columns)."""

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.whole, self.bias)


class LowRankLinear(_LowRank, nn.Linear):
    """A linear layer with a low-rank update."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.whole, self.bias)


_KINDS: dict[type[nn.Module], type[_LowRank]] = {nn.Conv2d: LowRankConv2d, nn.Linear: LowRankLinear}


@contextmanager
def low_rank(model: nn.Module, names: Iterable[str], rank: int, scale: float, seed: Seed) -> Iterator[None]:
    """Inside, the modules of these names have updates, and nothing else of ``model`` trains; afterwards they
    are merged.

    Batch norm keeps its statistics. On leaving, each weight becomes W + scale * up down, the modules are
    those from before, and ``requires_grad`` is as it was.

    Raises:
        InputError: a module is neither a plain convolution nor linear, or the rank is not positive.
    """
    if rank < 1:
        raise InputError(f"rank: expected at least 1, got {rank}")
    updated = _with_updates(model, names, rank, scale, seed)
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    model.requires_grad_(False)
    try:
        with (
            standing_in(model, updated),
            stays_in_eval(
                module for module in model.modules() if next(module.buffers(recurse=False), None) is not None
            ),
        ):
            yield
    finally:
        for module in updated.values():  # the weight is the original's own
            with torch.no_grad():
                module.weight.copy_(module.whole)
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


@contextmanager
def branch(model: nn.Module, names: Iterable[str], rank: int, seed: Seed) -> Iterator[None]:
    """Inside, the modules of these names have an update that only :func:`on_branch` switches on; afterwards
    it is dropped.
    """
    updated = _with_updates(model, names, rank, 1.0, seed)
    for module in updated.values():
        module.aside = module.off = True
    with standing_in(model, updated):
        yield


@contextmanager
def on_branch(model: nn.Module) -> Iterator[None]:
    """Inside, the updates of :func:`branch` are on, and the weights beside them take no gradient."""
    modules = [module for module in model.modules() if isinstance(module, _LowRank) and module.aside]
    try:
        for module in modules:
            module.off = False
        yield
    finally:
        for module in modules:
            module.off = True


def without_branch(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state taken inside :func:`branch` as the model has it outside."""
    updated = {name.rpartition(".")[0] for name in state if name.endswith(f".{_UP}")}
    dropped = {f"{prefix}.{own}" for prefix in updated for own in (_UP, _DOWN)}
    return {name: tensor for name, tensor in state.items() if name not in dropped}


def _with_updates(
    model: nn.Module, names: Iterable[str], rank: int, scale: float, seed: Seed
) -> dict[str, "_LowRank"]:
    """A stand-in for each module of these names."""
    modules = {name: model.get_submodule(name) for name in names}
    for name, module in modules.items():
        if type(module) not in _KINDS:
            raise InputError(
                f"layer {name}: expected a plain convolution or linear layer, got {type(module).__name__}"
            )
    return {name: _updated(module, rank, scale, seed / name) for name, module in modules.items()}


def _updated(module: nn.Module, rank: int, scale: float, seed: Seed) -> _LowRank:
    """``module`` in another class, with its own tensors."""
    other = _KINDS[type(module)].__new__(_KINDS[type(module)])
    other.__dict__.update({**module.__dict__, "_parameters": dict(module._parameters)})
    other.attach(rank, scale, seed)
    return other


def without_updates(model: nn.Module) -> None:
    """Put plain modules with the whole weights where ``model``, a copy, has updates."""
    for name, module in list(model.named_modules()):
        if isinstance(module, _LowRank):
            kind = next(kind for kind, updated in _KINDS.items() if isinstance(module, updated))
            plain = kind.__new__(kind)
            own = {"weight": nn.Parameter(module.whole.detach()), "bias": module._parameters.get("bias")}
            plain.__dict__.update({**module.__dict__, "_parameters": own})
            replace_module(model, name, plain)


def whole_weights(model: nn.Module) -> dict[str, Tensor]:
    """The whole weight of each module with an update, by the name of its weight."""
    return {
        f"{name}.weight": module.whole
        for name, module in model.named_modules()
        if isinstance(module, _LowRank)
    }


def merged(state: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """A state taken inside :func:`low_rank` as the model has it outside."""
    found = {}
    for name, tensor in state.items():
        prefix, _, own = name.rpartition(".")
        if own == "weight" and f"{prefix}.{_UP}" in state:
            tensor = tensor + scale * (state[f"{prefix}.{_UP}"] @ state[f"{prefix}.{_DOWN}"]).view_as(tensor)
        if not (own in (_UP, _DOWN) and f"{prefix}.{_UP}" in state):
            found[name] = tensor
    return found
