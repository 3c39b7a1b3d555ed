"""How much arithmetic a forward pass takes."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from semirobust.layers.quiet import run_with_hooks
from semirobust.layers.sites import first_tensor

__all__ = ["macs_by_module", "macs_of"]


def macs_by_module(model: nn.Module, x: Tensor) -> dict[str, float]:
    """Multiply-accumulate operations (MACs) of each convolution and linear module for one example, by name.

    Output values times weights per output value; of a transposed convolution, input values times weights per
    input value. A module that runs several times counts each time. Products of two activations, as in
    attention, are not counted.

    Args:
        model: any module; it is left as it is.
        x: examples (N, ...) to run it on.
    """
    macs: dict[str, float] = {}
    given: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            given[name] = first_tensor((*args, *kwargs.values()))

        return hook

    def count(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(module: nn.Module, args: Any, output: Tensor) -> None:
            assert isinstance(module.weight, Tensor)
            macs[name] = macs.get(name, 0.0) + macs_of(module, [module.weight], given[name], output) / len(x)

        return hook

    named = [
        (name, module) for name, module in model.named_modules() if isinstance(module, _ConvNd | nn.Linear)
    ]
    before = [(module, keep(name)) for name, module in named]
    run_with_hooks(model, x, before, [(module, count(name)) for name, module in named])
    return macs


def macs_of(module: nn.Module | None, weights: Sequence[Tensor], given: Tensor, result: Tensor) -> float:
    """MACs of one call of a weight layer: positions of its result times its weights.

    Args:
        module: the layer; None for a function on parameters.
        weights: its weight matrices.
        given, result: the first tensor that it got, and the one that it returned.
    """
    if isinstance(module, _ConvTransposeNd):
        return float(given.numel() * weights[0][0].numel())
    if isinstance(module, _ConvNd | nn.Linear) or module is None:
        # Of an update of rank 0 a matrix has no rows.
        matrices = [weight for weight in weights if weight.dim() > 1 and len(weight)]
        return float(sum(result.numel() * weight[0].numel() for weight in matrices))
    # Attention and recurrent layers use each of their weights once for each position.
    width = result.shape[-1] if result.dim() else 1
    return result.numel() / max(width, 1) * sum(weight.numel() for weight in weights)
