"""Layers whose feature does not depend on what they compute, for the weights of now."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from semirobust.core.seed import as_seed
from semirobust.layers.features import features
from semirobust.layers.layer import LayerMap
from semirobust.layers.quiet import quiet
from semirobust.layers.sites import first_tensor, tensors_in, watched

__all__ = ["without_effect"]

_EXAMPLES = 4
_SMALL = 1e-3
_SEED = as_seed(0) / "reach"


def without_effect(model: nn.Module, layers: LayerMap, x: Tensor, indices: Iterable[int]) -> tuple[int, ...]:
    """Those of the layers whose output does not move their feature, as in front of a norm of weight 0.

    The layer map says which feature depends on which layer for some weights; this asks for the present ones.
    First by gradients; a layer without one is asked again by noise, since rounding has no gradient.

    Args:
        model: the module that ``layers`` describes.
        layers: its layer map.
        x: (N, ...) inputs, of which the first few are used.
        indices: the layers asked for.
    """
    x, indices = x[:_EXAMPLES].detach(), tuple(indices)
    try:
        suspects = _without_gradient(model, layers, x, indices)
    except RuntimeError:  # an operation without a gradient
        suspects = list(indices)
    if not suspects:
        return ()
    plain = _features(model, layers, x, suspects)
    return tuple(
        index
        for index in suspects
        if torch.equal(plain[index], _features(model, layers, x, [index], disturbed=True)[index])
    )


def _without_gradient(model: nn.Module, layers: LayerMap, x: Tensor, indices: tuple[int, ...]) -> list[int]:
    outputs: dict[int, list[Tensor]] = {index: [] for index in indices}

    def keep(index: int) -> Any:
        return lambda output: outputs[index].extend(t for _, t in tensors_in([(0, output)]))

    afters = {layers.at(index).name: keep(index) for index in indices}
    by_place: dict[int, list[int]] = {}
    for index in indices:
        by_place.setdefault(layers.at(index).feature_at, []).append(index)
    with (
        quiet(model),
        torch.enable_grad(),
        features(model, layers, indices) as tape,
        watched(model, None, afters, layers.functions),
    ):
        model(x.clone().requires_grad_().clone())
        moving: set[int] = set()
        for group in by_place.values():
            feature = tape[group[0]]
            wanted = [(index, t) for index in group for t in outputs[index] if t.requires_grad]
            if not feature.requires_grad or not wanted:
                continue
            gradients = torch.autograd.grad(
                feature, [t for _, t in wanted], _noise(feature), retain_graph=True, allow_unused=True
            )
            # A softmax over one key gives a gradient of rounding errors; noise tells these from small ones.
            least = _SMALL * float(feature.detach().abs().max())
            moving.update(
                index
                for (index, output), gradient in zip(wanted, gradients, strict=True)
                if gradient is not None and float((gradient * output).detach().abs().max()) > least
            )
    return [index for index in indices if index not in moving]


def _features(
    model: nn.Module, layers: LayerMap, x: Tensor, indices: list[int], *, disturbed: bool = False
) -> dict[int, Tensor]:
    """The features of some layers; with ``disturbed`` their outputs are replaced by noise."""

    def disturb(output: Any) -> None:
        tensor = first_tensor((output,))
        tensor.copy_(_noise(tensor) * tensor.abs().amax().clamp_min(1e-3))

    after = {layers.at(index).name: disturb for index in indices} if disturbed else {}
    with (
        quiet(model),
        torch.no_grad(),
        _SEED.globally(),
        watched(model, None, after, layers.functions),
        features(model, layers, indices) as tape,
    ):
        model(x)
        return {index: tape[index].clone() for index in indices}


def _noise(like: Tensor) -> Tensor:
    return torch.randn(like.shape, generator=_SEED.generator()).to(like)
