"""How much arithmetic a forward pass takes."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from semirobust.layers.quiet import run_with_hooks

__all__ = ["macs_by_module"]


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

    def count(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(module: nn.Module, args: Any, output: Tensor) -> None:
            assert isinstance(module.weight, Tensor)
            transposed = isinstance(module, _ConvTransposeNd)
            values = (args[0] if transposed else output).numel() / len(x)
            macs[name] = macs.get(name, 0.0) + values * module.weight[0].numel()

        return hook

    named = [
        (name, module) for name, module in model.named_modules() if isinstance(module, _ConvNd | nn.Linear)
    ]
    run_with_hooks(model, x, [], [(module, count(name)) for name, module in named])
    return macs
