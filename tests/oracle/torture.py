"""Networks whose answers are those of a linear one, and whose outputs or gradients are not as they should be.

Of a linear network with two classes the robust examples of every ball are known: those whose margin exceeds
epsilon times the dual norm of the weights. What is done to it here changes no answer inside [0, 1], so they
stay known; where it does, the truth says so.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["TORTURES", "Linear", "examples", "tortured"]

SIZE = (1, 8, 8)


class Linear(nn.Module):
    """Logits (-m, m) of m = <w, x - 1/2>."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        w = torch.randn(SIZE, generator=torch.Generator().manual_seed(seed))
        self.w = nn.Parameter(w + w.sign() * 0.3)

    def forward(self, x: Tensor) -> Tensor:
        m = (self.w * (x - 0.5)).flatten(1).sum(1)
        return torch.stack([-m, m], 1)


def examples(model: Linear, norm: str, epsilon: float, n: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images (n, 1, 8, 8), their labels, and whether each is robust: every second one is.

    Their margins are a fifth and twice what the ball can take away.
    """
    dual = {"linf": 1, "l2": 2, "l1": torch.inf}[norm]
    limit = epsilon * float(model.w.detach().flatten().norm(dual))
    draw = torch.Generator().manual_seed(seed)
    x = 0.5 + 0.04 * (torch.rand((n, *SIZE), generator=draw) - 0.5)
    robust, y = torch.arange(n) % 2 == 0, torch.randint(0, 2, (n,), generator=draw)
    wanted = torch.where(robust, 2.0, 0.2) * limit * (2 * y - 1)
    w = model.w.detach()
    m = (w * (x - 0.5)).flatten(1).sum(1)
    x = x + ((wanted - m) / w.square().sum()).view(-1, 1, 1, 1) * w
    assert float(x.min()) > epsilon * 1.01 and float(x.max()) < 1 - epsilon * 1.01
    return x, y, robust


class _Tortured(nn.Module):
    def __init__(self, inner: Linear, change: Callable[..., Tensor]) -> None:
        super().__init__()
        self.inner, self.change, self.calls = inner, change, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.change(self, x, self.inner(x))


class _Backwards(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return -gradient


class _Noise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        draws = torch.Generator().manual_seed(1)
        return torch.randn(gradient.shape, generator=draws).to(gradient)


def _at(x: Tensor, values: Tensor) -> Tensor:
    """What adds 0 to a logit, with the gradient of ``values`` (n,) times 0, which is NaN where that is inf."""
    return 0 * values[:, None]


def _root_of_nothing(x: Tensor) -> Tensor:
    return (x.flatten(1)[:, 0] * 0).sqrt()


def _steep(x: Tensor) -> Tensor:
    return (x.flatten(1)[:, 0] - x.flatten(1)[:, 0].detach()).abs().sqrt()


def _hard(z: Tensor) -> Tensor:
    return z.sign() * 3


def _normed(x: Tensor, z: Tensor) -> Tensor:
    return (z - z.mean(0)) / (z.std(0, correction=0) + 1e-5)


# Name -> (the change, whether its answers at perturbed points are NaN, which no example withstands).
TORTURES: dict[str, tuple[Callable[..., Tensor], bool]] = {
    "as it is": (lambda m, x, z: z, False),
    "NaN gradient in a pixel": (lambda m, x, z: z + _at(x, _root_of_nothing(x)), False),
    "NaN gradient everywhere": (
        lambda m, x, z: z + 0 * (x * 0).sqrt().flatten(1).sum(1, keepdim=True),
        False,
    ),
    "NaN gradient of some examples": (
        lambda m, x, z: z + _at(x, (x * (x[:, :1, :1, :1] > 0.5)).flatten(1).sqrt().sum(1)) * 0,
        False,
    ),
    "infinite gradient": (lambda m, x, z: z + 1e-3 * _steep(x)[:, None], False),
    "NaN gradient by a masked division": (
        lambda m, x, z: torch.where(z.isnan(), z / (x * 0).flatten(1).sum(1, keepdim=True), z),
        False,
    ),
    "no gradient at all": (lambda m, x, z: z.detach(), False),
    "gradient of zero": (lambda m, x, z: z.detach() + 0 * z, False),
    "rounded input": (lambda m, x, z: m.inner((x * 4096).round() / 4096), False),
    "hard answers": (lambda m, x, z: _hard(z), False),
    "half hard": (lambda m, x, z: torch.where(z.abs() > 0.02, _hard(z), z * 150), False),
    "saturated": (lambda m, x, z: z * 1e6, False),
    "more saturated": (lambda m, x, z: z * 1e30, False),
    "saturated by tanh": (lambda m, x, z: torch.tanh(1e4 * z), False),
    "faint": (lambda m, x, z: z * 1e-30, False),
    "faint and offset": (lambda m, x, z: z * 1e-3 + 4.0, False),
    "log of probabilities": (lambda m, x, z: (200 * z).softmax(1).log(), False),
    "backwards gradient": (lambda m, x, z: m.inner(_Backwards.apply(x)), False),
    "noise for a gradient": (lambda m, x, z: m.inner(_Noise.apply(x)), False),
    "a masked class": (lambda m, x, z: torch.cat([z, torch.full_like(z[:, :1], -torch.inf)], 1), False),
    "NaN off the grid": (
        lambda m, x, z: torch.where(((x - m.grid(x)).abs().amax((1, 2, 3)) > 1e-7)[:, None], torch.nan, z),
        True,
    ),
    "NaN in one logit off the grid": (
        lambda m, x, z: torch.where(
            ((x - m.grid(x)).abs().amax((1, 2, 3)) > 1e-7)[:, None] & (z == z.amax(1, keepdim=True)),
            torch.nan,
            z,
        ),
        True,
    ),
    "answers drawn": (lambda m, x, z: z + 0.3 * z.abs().mean() * torch.randn_like(z), False),
    "answers by the batch": (lambda m, x, z: _normed(x, z), False),
    "answers by the call": (lambda m, x, z: z if m.calls % 2 else z.flip(1), False),
    "answers late": (lambda m, x, z: z if m.calls < 12 else z * 0 + z.sign().detach() * 9, False),
    "answers rounded to a grid": (lambda m, x, z: (z * 1024).round() / 1024, False),
    "gradient a thousandth of noise": (
        lambda m, x, z: m.inner(x + _Noise.apply(1e-3 * x) - (1e-3 * x).detach()),
        False,
    ),
    "one logit detached": (lambda m, x, z: torch.stack([z[:, 0].detach(), z[:, 1]], 1), False),
    "half precision inside": (lambda m, x, z: z.bfloat16().float(), False),
    "double inside": (lambda m, x, z: z.double().float(), False),
}


def tortured(name: str, model: Linear, x: Tensor) -> nn.Module:
    """``model`` with that done to it; ``x`` are the images that count as being on the grid."""
    made = _Tortured(model, TORTURES[name][0]).eval()
    made.grid = lambda z: x[torch.cdist(z.flatten(1), x.flatten(1)).argmin(1)]  # type: ignore[assignment]
    return made
