"""How far two forms of a network are apart, by their logits and by their gradients."""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["deviation", "first_order", "gradient_of"]


def deviation(logits: Tensor, truth: Tensor) -> Tensor:
    """Largest deviation of each example's ``logits`` from ``truth`` (N, C), as a fraction of the spread of
    these: (N,).
    """
    spread = truth.amax(1) - truth.mean(1)
    # Where logits hardly differ, what they differ by is not their scale; that of the other images is.
    scale = spread.clamp_min(float(spread.mean()) / 10).clamp_min(torch.finfo(truth.dtype).tiny)
    return (logits - truth).abs().amax(1) / scale


def gradient_of(inner: Callable[[Tensor], Tensor] | None, x: Tensor) -> Tensor | None:
    """Gradient of the inner loss at ``x``; None where there is no such loss, or it has none."""
    if inner is None:
        return None
    x = x.detach().requires_grad_()
    with torch.enable_grad(), torch.autocast(x.device.type, enabled=False):
        loss = inner(x)
        if not loss.requires_grad:
            return None
        (gradient,) = torch.autograd.grad(loss.sum(), x)
    return gradient


def first_order(gradient: Tensor, direction: Tensor) -> Tensor:
    """By how much each example's loss rises along ``direction``: (N,)."""
    return (gradient * direction).flatten(1).sum(1)
