"""Low-rank updates of weights (LoRA), which are merged into the weights afterwards."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from semirobust.adapters.replace import replace_all, replaced_modules
from semirobust.core.errors import InputError
from semirobust.core.recomputed import check_once, once
from semirobust.core.seed import Seed
from semirobust.layers.freeze import stays_in_eval

__all__ = [
    "LowRankConv2d",
    "LowRankLinear",
    "branch",
    "effective_weights",
    "low_rank",
    "merge_updates",
    "merged",
    "on_branch",
    "on_branch_alone",
    "updates_alone",
    "with_updates",
    "without_branch",
]

_DOWN, _UP = "down", "up"


class _LowRank(nn.Module):
    """A layer that computes with W + scale * up down, where W is frozen (Hu et al. 2022, LoRA).

    Attributes:
        weight: W (outputs, ...).
        down: (r, fan-in), normal with variance 1 / fan-in at the start; or as :meth:`attach_by_kernel` says.
        up: (outputs, r), 0 at the start.
        scale: the factor of the update.
        disabled: compute with W alone.
        is_branch: W takes no gradient while the update is enabled.
    """

    weight: Tensor
    down: Tensor
    up: Tensor
    scale: float
    disabled: bool = False
    is_branch: bool = False

    def attach(self, rank: int, scale: float, seed: Seed) -> None:
        """Give the module an update of this rank, or of full rank where that is smaller."""
        outputs, fan_in = len(self.weight), self.weight[0].numel()
        r = min(rank, outputs, fan_in)
        # With `up` at 0 the layer computes as before until the first step.
        noise = torch.randn(r, fan_in, generator=seed.generator()).to(self.weight) / math.sqrt(fan_in)
        self.down, self.up = nn.Parameter(noise), nn.Parameter(self.weight.new_zeros(outputs, r))
        self.scale = scale

    def attach_by_kernel(self, rank: int, seed: Seed, *, scale: float | None = None) -> None:
        """Give the module the update of ConvLoRA's code (Aleem et al. 2024, after loralib), or of AutoLoRA's
        where there is no scale (Xu et al. 2024).

        Of a convolution of k x k taps it has rank ``rank * k`` between outputs x k and inputs x k, whatever
        these are. In ConvLoRA ``down`` is uniform within 1 / root(inputs x k). In AutoLoRA it is N(0, 1) and
        the scale 1 / ``rank``. Of a kernel that is not square k is its longer side in the rank (ours). A
        linear layer counts as one of 1 x 1 taps (ours; theirs has none).
        """
        height, width = self.weight.shape[2:] if self.weight.dim() == 4 else (1, 1)
        groups: int = getattr(self, "groups", 1)
        rows, columns = len(self.weight) // groups * height, self.weight.shape[1] * groups * width
        r = rank * max(height, width)
        if scale is None:
            noise, scale = torch.randn(r, columns, generator=seed.generator()), 1 / rank
        else:
            noise = (2 * torch.rand(r, columns, generator=seed.generator()) - 1) / math.sqrt(columns)
        noise = noise.to(self.weight)
        self.down, self.up = nn.Parameter(noise), nn.Parameter(self.weight.new_zeros(rows, r))
        self.scale = scale

    @property
    def effective_weight(self) -> Tensor:
        """The weight that the module computes with."""
        if self.disabled:
            return self.weight
        if self.is_branch:
            check_once()
        weight = self.weight.detach() if self.is_branch else self.weight
        return weight + self.scale * (self.up @ self.down).view_as(self.weight)


class LowRankConv2d(_LowRank, nn.Conv2d):
    """A convolution with a low-rank update, over outputs x (inputs, rows, columns) or by kernel."""

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.effective_weight, self.bias)


class LowRankLinear(_LowRank, nn.Linear):
    """A linear layer with a low-rank update."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.effective_weight, self.bias)


_KINDS: dict[type[nn.Module], type[_LowRank]] = {nn.Conv2d: LowRankConv2d, nn.Linear: LowRankLinear}


@contextmanager
def low_rank(model: nn.Module, names: Iterable[str], rank: int, scale: float, seed: Seed) -> Iterator[None]:
    """Inside, the modules of these names have updates, and nothing else of ``model`` trains.

    Batch norm keeps its statistics. On leaving, each weight becomes W + scale * up down, the original modules
    are back, and ``requires_grad`` is as it was.

    Raises:
        InputError: a module is neither a plain convolution nor linear, or the rank is not positive.
    """
    if rank < 1:
        raise InputError(f"rank: expected at least 1, got {rank}")
    updated = with_updates(model, names, seed, lambda module, own: module.attach(rank, scale, own))
    # Modules with buffers are those with statistics, which would change in train mode.
    with updates_alone(model, updated, lambda module: next(module.buffers(recurse=False), None) is not None):
        yield


@contextmanager
def updates_alone(
    model: nn.Module, updated: Mapping[str, "_LowRank"], is_still: Callable[[nn.Module], bool]
) -> Iterator[None]:
    """Inside, these modules are in the place of those of their names, and their updates train alone.

    On leaving, each weight becomes W + scale * up down, and all else is as it was.

    Args:
        model: whose modules they stand in for.
        updated: from :func:`with_updates`.
        is_still: whether a module stays in eval mode.
    """
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    model.requires_grad_(False)
    try:
        with replaced_modules(model, updated), stays_in_eval(filter(is_still, model.modules())):
            yield
    finally:
        for module in updated.values():  # the original module has the same weight tensor
            with torch.no_grad():
                module.weight.copy_(module.effective_weight)
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


@contextmanager
def branch(
    model: nn.Module, names: Iterable[str], rank: int, seed: Seed, *, by_kernel: bool = False
) -> Iterator[None]:
    """Inside, the modules of these names have updates that only :func:`on_branch` enables.

    Afterwards the updates are dropped.

    Args:
        model: is left as it was.
        names: of convolutions and linear layers.
        rank: of each update.
        seed: of their first values.
        by_kernel: the updates are those of AutoLoRA's code.
    """

    def attach(module: _LowRank, own: Seed) -> None:
        if by_kernel:
            module.attach_by_kernel(rank, own)
        else:
            module.attach(rank, 1.0, own)

    updated = with_updates(model, names, seed, attach)
    for module in updated.values():
        module.is_branch = module.disabled = True
    with replaced_modules(model, updated):
        yield


@contextmanager
def on_branch(model: nn.Module) -> Iterator[None]:
    """Inside, the updates of :func:`branch` are enabled, and the weights beside them take no gradient."""
    modules = [module for module in model.modules() if isinstance(module, _LowRank) and module.is_branch]
    try:
        for module in modules:
            module.disabled = False
        yield
    finally:
        for module in modules:
            module.disabled = True


@contextmanager
def on_branch_alone(model: nn.Module, head: Iterable[str]) -> Iterator[None]:
    """As :func:`on_branch`, and a pass inside gives a gradient to the updates and to the parameters named in
    ``head`` alone: neither to batch norm nor to any other layer.

    Without a branch every parameter keeps its gradient.
    """
    modules = [module for module in model.modules() if isinstance(module, _LowRank) and module.is_branch]
    kept = {id(parameter) for module in modules for parameter in (module.down, module.up)}
    kept |= {id(model.get_parameter(name)) for name in head}
    others = [p for p in model.parameters() if modules and p.requires_grad and id(p) not in kept]
    try:
        for parameter in others:
            parameter.requires_grad_(False)
        with on_branch(model), once() if modules else nullcontext():
            yield
    finally:
        for parameter in others:
            parameter.requires_grad_(True)


def without_branch(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict taken inside :func:`branch`, without the updates."""
    updated = {name.rpartition(".")[0] for name in state if name.endswith(f".{_UP}")}
    dropped = {f"{module}.{attribute}" for module in updated for attribute in (_UP, _DOWN)}
    return {name: tensor for name, tensor in state.items() if name not in dropped}


def with_updates(
    model: nn.Module, names: Iterable[str], seed: Seed, attach: Callable[["_LowRank", Seed], None]
) -> dict[str, "_LowRank"]:
    """Name -> a copy of the module with the update that ``attach`` gives it, which shares its weight.

    Raises:
        InputError: a module is neither a plain convolution nor linear.
    """
    modules = {name: model.get_submodule(name) for name in names}
    for name, module in modules.items():
        if type(module) not in _KINDS:
            raise InputError(
                f"layer {name}: expected a plain convolution or linear layer, got {type(module).__name__}"
            )
    updated = {name: _copied(module) for name, module in modules.items()}
    for name, module in updated.items():
        attach(module, seed / name)
    return updated


def _copied(module: nn.Module) -> _LowRank:
    """A copy of ``module`` that can have an update; its own parameters are the same tensors."""
    low_rank_class = _KINDS[type(module)]
    # Made without `__init__`, which would draw new weights from the global generator.
    copy = low_rank_class.__new__(low_rank_class)
    copy.__dict__.update({**module.__dict__, "_parameters": dict(module._parameters)})
    return copy


def merge_updates(model: nn.Module) -> None:
    """Replace the modules with updates by plain ones with the effective weights; ``model`` is changed."""

    def plain(module: _LowRank) -> nn.Module:
        kind = next(kind for kind, updated in _KINDS.items() if isinstance(module, updated))
        merged = kind.__new__(kind)
        weight = nn.Parameter(module.effective_weight.detach())
        parameters = {"weight": weight, "bias": module._parameters.get("bias")}
        merged.__dict__.update({**module.__dict__, "_parameters": parameters})
        return merged

    replace_all(model, lambda module: isinstance(module, _LowRank), plain)


def effective_weights(model: nn.Module) -> dict[str, Tensor]:
    """The effective weight of each module with an update, by the name of its weight."""
    return {
        f"{name}.weight": module.effective_weight
        for name, module in model.named_modules()
        if isinstance(module, _LowRank)
    }


def merged(state: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """A state dict taken inside :func:`low_rank`, with the updates merged into the weights."""
    result = {}
    for name, tensor in state.items():
        module, _, attribute = name.rpartition(".")
        has_update = f"{module}.{_UP}" in state
        if attribute == "weight" and has_update:
            tensor = tensor + scale * (state[f"{module}.{_UP}"] @ state[f"{module}.{_DOWN}"]).view_as(tensor)
        if not (attribute in (_UP, _DOWN) and has_update):
            result[name] = tensor
    return result
