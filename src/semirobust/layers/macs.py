"""How much work a network is."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from semirobust.layers.quiet import run_hooked

__all__ = ["multiplications"]


def multiplications(model: nn.Module, x: Tensor) -> dict[str, float]:
    """Multiplications of each convolution and linear module for one image, by name; what runs several times
    counts each time.

    Products of two activations, as in attention, are not counted.
    """
    found: dict[str, float] = {}

    def count(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(module: nn.Module, args: Any, output: Tensor) -> None:
            assert isinstance(module.weight, Tensor)
            transposed = isinstance(module, _ConvTransposeNd)
            points = (args[0] if transposed else output).numel() / len(x)
            found[name] = found.get(name, 0.0) + points * module.weight[0].numel()

        return hook

    named = [
        (name, module) for name, module in model.named_modules() if isinstance(module, _ConvNd | nn.Linear)
    ]
    run_hooked(model, x, [], [(module, count(name)) for name, module in named])
    return found
