"""What made a loss NaN or infinite."""

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["cause_of_nan"]

_EXPLODED = 1e6


def cause_of_nan(model: nn.Module, x: Tensor) -> str:
    """Where NaN or infinity first appears: the input, a parameter, a module's output, or only the loss
    itself.
    """
    if not torch.isfinite(x).all():
        return "the training images are not finite"
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            return f"the weights {name} are not finite; the learning rate is probably too high"
        if float(parameter.detach().abs().max()) > _EXPLODED:
            largest = float(parameter.detach().abs().max())
            return f"the weights {name} have grown to {largest:.1e}; the learning rate is probably too high"
    first_bad: list[str] = []

    def watch(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if isinstance(output, Tensor) and not first_bad and not torch.isfinite(output).all():
                first_bad.append(
                    f"the output of {name or 'the model'} ({type(module).__name__}) is the first that is not"
                    " finite"
                )

        return hook

    handles = [module.register_forward_hook(watch(name)) for name, module in model.named_modules()]
    try:
        with torch.no_grad():
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return first_bad[0] if first_bad else "the logits are finite, so it is the loss itself"
