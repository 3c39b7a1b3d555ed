"""Gradients in the input of a network, and what is said where there are none."""

import torch
from torch import Tensor, nn

from semirobust.core.errors import InputError
from semirobust.core.text import first_line
from semirobust.layers.quiet import quiet

__all__ = ["NO_GRADIENT", "gradient_note", "input_gradient"]

NO_GRADIENT = (
    "model: its output has no gradient in its input; use an attack that needs none, such as square, or hand"
    " over the network before it was quantised"
)
_LOOKED_AT = 16


def input_gradient(values: Tensor, z: Tensor, *, retain_graph: bool = False) -> Tensor:
    """Gradient of the sum of ``values`` in ``z``.

    Raises:
        InputError: there is none, or an operation on the way has none.
    """
    if not values.requires_grad:
        raise InputError(NO_GRADIENT)
    try:
        (gradient,) = torch.autograd.grad(values.sum(), z, retain_graph=retain_graph, allow_unused=True)
    except RuntimeError as error:
        if "not implemented" not in str(error):
            raise
        raise InputError(f"{NO_GRADIENT} ({first_line(error)})") from None
    if gradient is None:
        raise InputError(NO_GRADIENT)
    return gradient


def gradient_note(model: nn.Module, x: Tensor) -> str:
    """What to know of attacks by gradients on ``model``, from the gradient of its logits at some of ``x``
    (N, ...); empty where it is as it should be.

    A network that rounds, as a quantised one does, has a gradient of 0 everywhere. An attack by gradients
    finds nothing there, and that is no robustness.
    """
    z = x[:_LOOKED_AT].detach().clone().requires_grad_()
    with quiet(model), torch.enable_grad():
        logits = model(z * 1)  # whatever the network does to its input in place
        # Weighted unequally, because the plain sum of logits may be constant.
        values = logits.float() * torch.arange(1.0, logits.shape[1] + 1, device=logits.device)
        try:
            gradient = input_gradient(values, z).flatten(1)
        except InputError as error:
            return str(error)
    zero, bad = int((gradient == 0).all(1).sum()), int((~torch.isfinite(gradient)).any(1).sum())
    if zero + bad <= len(z) // 10:
        return ""
    return (
        f"of {len(z)} examples {zero} have logits with a gradient of zero, and {bad} one that is not finite;"
        " attacks by gradients find too little, and what they leave is no sign of robustness; use square"
    )
