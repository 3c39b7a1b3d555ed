"""What one would write without this library: PGD as torchattacks has it, and training around it."""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.gpu.machine import timed

__all__ = ["pgd", "training_steps"]


def pgd(
    model: nn.Module, x: Tensor, y: Tensor, steps: int, radius: float = 8 / 255, step: float = 2 / 255
) -> Tensor:
    """Untargeted PGD with a random start, all images to the end."""
    x_adv = (x + torch.empty_like(x).uniform_(-radius, radius)).clamp(0, 1)
    for _ in range(steps):
        x_adv.requires_grad_(True)
        loss = F.cross_entropy(model(x_adv), y)
        (grad,) = torch.autograd.grad(loss, x_adv)
        moved = x_adv.detach() + step * grad.sign()
        x_adv = torch.clamp(torch.clamp(moved, x - radius, x + radius), 0, 1)
    return x_adv.detach()


def training_steps(start: nn.Module, batches: list[tuple[Tensor, Tensor]], steps: int, rate: float) -> float:
    """Seconds of PGD-AT on these batches: attack, loss, step."""
    model = copy.deepcopy(start)
    optimiser = torch.optim.SGD(model.parameters(), rate, momentum=0.9, weight_decay=5e-4)

    def work() -> None:
        for x, y in batches:
            model.eval()
            x_adv = pgd(model, x, y, steps)
            model.train()
            optimiser.zero_grad()
            loss = F.cross_entropy(model(x_adv), y)
            loss.backward()
            optimiser.step()

    return timed(batches[0][0].device, work)
