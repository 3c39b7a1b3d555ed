"""What every objective must do."""

from dataclasses import replace

import torch

from semirobust.core.seed import as_seed
from semirobust.layers.map import layer_map
from semirobust.layers.quiet import quiet
from semirobust.objectives import AbstractObjective, Step
from semirobust.testing.base.check import Subject, demanded, require
from semirobust.testing.base.network import examples, network

__all__: list[str] = []

_N = 6
_STEP = 1e-6


def _step() -> Step:
    model = network().double()
    for parameter in model.parameters():
        parameter.requires_grad_()
    x, y = examples(_N)
    return Step(model, layer_map(model, x.double()), x.double(), y, (1, 2))


def _near(step: Step, seed: int) -> torch.Tensor:
    noise = torch.randn(step.x.shape, generator=as_seed(seed).generator(), dtype=torch.float64)
    return step.x + 0.05 * noise


@demanded("objectives")
def the_gradient_is_that_of_the_loss(subject: Subject) -> None:
    """Give an outer loss whose gradient is what finite differences say; in the classifier, where it holds
    back that of layers in front.
    """
    step, objective = _step(), subject.make()
    x_adv = _near(step, 1)
    weight = step.model.get_parameter("linear.weight" if objective.holds_back else "block.conv2.weight")
    loss = objective.outer(step, x_adv)
    require(loss.dim() == 0 and torch.isfinite(loss), f"the outer loss is {loss}, not one finite number")
    (gradient,) = torch.autograd.grad(loss, weight)
    direction = torch.randn(weight.shape, generator=as_seed(2).generator(), dtype=torch.float64)
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            weight.add_(direction, alpha=sign * _STEP)
            values.append(float(objective.outer(step, x_adv)))
            weight.add_(direction, alpha=-sign * _STEP)
    numeric, exact = (values[0] - values[1]) / (2 * _STEP), float((gradient * direction).sum())
    same = abs(numeric - exact) <= 1e-8 + 1e-5 * abs(exact)
    require(same, f"the gradient along a direction is {exact:.8g}, finite differences say {numeric:.8g}")


@demanded("objectives")
def shares_of_labels_count(subject: Subject) -> None:
    """Where ``needs_one_label`` is empty, go by ``step.shares``: whole ones give the outer loss of the
    labels, and halves another.
    """
    step, objective = _step(), subject.make()
    if objective.needs_one_label:
        return
    x_adv = _near(step, 1)
    whole = torch.nn.functional.one_hot(step.y, 3).double()
    halves = (whole + whole.roll(1, 0)) / 2
    by_label, by_whole, by_halves = (
        objective.outer(replace(step, shares=shares), x_adv) for shares in (None, whole, halves)
    )
    require(torch.allclose(by_label, by_whole), f"{by_label} by labels is {by_whole} by whole shares of them")
    require(not torch.allclose(by_label, by_halves), "needs_one_label is empty, and shares change nothing")


@demanded("objectives")
def the_inner_loss_is_per_example(subject: Subject) -> None:
    """Give an inner loss (N,) in which each value depends on its own image alone, or None."""
    step, objective = _step(), subject.make()
    with quiet(step.model):
        inner = objective.inner(step)
        if inner is None:
            return
        x_adv = _near(step, 3).requires_grad_()
        loss = inner(x_adv)
        require(loss.shape == (_N,), f"the inner loss has the shape {tuple(loss.shape)}, not ({_N},)")
        (gradient,) = torch.autograd.grad(loss[2], x_adv)
    require(float(gradient[2].abs().sum()) > 0, "the inner loss has no gradient at its own image")
    others = torch.cat([gradient[:2], gradient[3:]])
    require(not others.any(), "the inner loss of one image depends on another")


@demanded("objectives")
def what_is_flat_at_the_start_says_so(subject: Subject) -> None:
    """Say with ``flat_at_start`` where the gradient of the inner loss is 0 at the image itself."""
    step = _step()
    objective: AbstractObjective = subject.make()
    with quiet(step.model):
        inner = objective.inner(step)
        if inner is None or objective.flat_at_start:
            return
        x = step.x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(inner(x).sum(), x)
    require(float(gradient.abs().sum()) > 0, "the gradient is 0 at the image, and flat_at_start is False")
