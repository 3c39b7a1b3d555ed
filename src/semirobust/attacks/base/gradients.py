"""Gradients in the input of a network, and what is said where there are none."""

import torch
from torch import Tensor, nn

from semirobust.core.devices import costs_a_wait
from semirobust.core.errors import InputError
from semirobust.core.margin import margin
from semirobust.core.text import first_line
from semirobust.layers.quiet import quiet
from semirobust.threats.base.ball import norms, per_example

__all__ = [
    "NO_GRADIENT",
    "NoGradient",
    "blind_note",
    "confined_note",
    "gradient_note",
    "input_gradient",
    "misleading",
    "usable_gradient",
]

NO_GRADIENT = (
    "model: its output has no gradient in its input; use an attack that needs none, such as square, or hand"
    " over the network before it was quantised or exported"
)
_LOOKED_AT = 16
# Of a pixel. Deep networks with random weights follow their gradients over the smallest alone, and rounding
# with a gradient of its own is followed over the largest.
_STEPS = (1e-6, 1e-5, 1e-4, 1e-3, 4e-3, 16e-3, 64e-3)


class NoGradient(InputError):
    """The output of a network has no gradient in its input."""


def usable_gradient(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient (n, ...) without what is not finite, and for each example whether any is left: (n,).

    NaN becomes 0, so that the other pixels still move. Infinity, as of a root at 0, becomes the steepest
    finite value of the example, or 1.
    """
    length = norms(gradient, 1)
    if costs_a_wait(gradient) or not bool(torch.isfinite(length).all()):
        finite = torch.where(torch.isfinite(gradient), gradient, 0)
        steepest = norms(finite, torch.inf)
        steepest = per_example(torch.where(steepest > 0, steepest, 1), gradient)
        gradient = torch.where(torch.isinf(gradient), gradient.sign() * steepest, finite)
        length = norms(gradient, torch.inf)
    return gradient, length > 0


def input_gradient(values: Tensor, z: Tensor, *, retain_graph: bool = False) -> Tensor:
    """Gradient of the sum of ``values`` in ``z``.

    Raises:
        NoGradient: there is none, or an operation on the way has none.
    """
    if not values.requires_grad:
        raise NoGradient(NO_GRADIENT)
    try:
        (gradient,) = torch.autograd.grad(values.sum(), z, retain_graph=retain_graph, allow_unused=True)
    except RuntimeError as error:
        if "not implemented" not in str(error):
            raise
        raise NoGradient(f"{NO_GRADIENT} ({first_line(error)})") from None
    if gradient is None:
        raise NoGradient(NO_GRADIENT)
    return gradient


def blind_note(name: str, blind: int, n: int) -> str:
    """What to know of an attack that did not see where to go on some examples."""
    return (
        f"{name} saw nowhere to go on {blind} of {n} examples, where its gradients or margins were 0, all the"
        " same or no numbers; finding nothing there says nothing, so add an attack of another kind, such as"
        " square"
    )


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


def confined_note(model: nn.Module, x: Tensor, clean: Tensor) -> str:
    """What to know where all logits of ``model`` at some of ``x`` (N, ...) lie within -1 and 1, though it is
    clearly better than chance; empty where that is not so, or on too few examples to tell.

    Behind a sigmoid, a tanh or a large temperature the cross entropy hardly tells classes apart, so attacks
    by it find less, though every prediction is the same as without.

    Args:
        model: gives logits (N, C).
        x: examples that it classifies correctly.
        clean: whether each of all examples is.
    """
    with quiet(model), torch.no_grad():
        logits = model(x[:_LOOKED_AT].detach().clone())
    classes, largest = logits.shape[1], float(logits.abs().max())
    above_chance = float(clean.float().mean()) >= min(3 / classes, (1 + 1 / classes) / 2)
    if not (largest <= 1 and above_chance and int(clean.sum()) >= _LOOKED_AT):
        return ""
    return (
        f"no logit is above {largest:.2g} in size, as behind a sigmoid, a tanh or a temperature; attacks by"
        " cross entropy, such as pgd, find less there, so hand over the network without it, or use"
        " autoattack, whose losses do not depend on the scale"
    )


def misleading(model: nn.Module, x: Tensor) -> str:
    """What to say where steps along the gradient do not do to ``model`` what it promises, at some of ``x``
    (N, ...); empty where they do.

    A small step along the signs of the margin's gradient must raise the margin by a tenth of what that
    promises to first order, at one of seven lengths. An operation with a backward pass of its own may promise
    anything.
    """
    z = x[:_LOOKED_AT].detach()
    with quiet(model), torch.enable_grad():
        logits = model(z.clone())
        label, leaf = logits.detach().argmax(1), z.clone().requires_grad_()
        values = margin(model(leaf * 1).double(), label)
        try:
            gradient, usable = usable_gradient(input_gradient(values, leaf))
        except InputError:
            return ""  # said elsewhere
    before, kept = values.detach(), torch.zeros_like(usable)
    noise = 20 * torch.finfo(x.dtype).eps * logits.detach().double().abs().amax(1)
    worth = torch.zeros_like(usable)
    with quiet(model), torch.no_grad():
        for step in _STEPS:
            moved = (z + step * gradient.sign()).clamp(0, 1)
            promised = ((moved - z) * gradient).double().flatten(1).sum(1)
            rise = margin(model(moved).double(), label) - before
            seen = usable & (promised > noise)
            worth |= seen
            kept |= seen & ~(rise < 0.1 * promised)
    astray, asked = int((worth & ~kept).sum()), int(worth.sum())
    if 4 * astray <= asked:
        return ""
    return (
        f"steps along the gradient do not raise the margin on {astray} of {asked} examples, so attacks that"
        " follow gradients alone are misled and decide nothing; use square"
    )
