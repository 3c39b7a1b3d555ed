"""The linear head of a prefix: the problem that it solves, its decay and its scale."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["HeadProblem", "margin"]

_SCALES = (0.0, *(2 ** (k / 2) for k in range(-12, 13)))


@dataclass(frozen=True)
class HeadProblem:
    """The convex problem min_G mean_i max_r CE(G(z_ir), y_i) + decay / 2 |G|^2 over features z (R, N, d), for
    a linear head G.

    R counts the points that the rounds have collected of each example.
    """

    features: Tensor
    y: Tensor
    classes: int

    @property
    def check(self) -> Tensor:
        """Every fourth example, which chooses; the seeded split before makes that a random quarter."""
        return torch.arange(len(self.y)) % 4 == 3

    def best_decay(self, weight: Tensor, bias: Tensor, decays: Sequence[float]) -> float:
        """The decay that generalises best."""
        check = self.check
        if len(decays) == 1 or not check.any():
            return decays[0]
        z, y = self.features[:, check].double(), self.y[check]

        def worst(decay: float) -> float:
            w, b = self._without(check).solved(weight, bias, decay)
            return float(_worst_loss(z @ w + b, y))

        return min(decays, key=worst)

    def best_scale(self, weight: Tensor, bias: Tensor, decay: float) -> float:
        """The factor on the logits of a head fitted to the others at which the examples that choose keep the
        largest mean margin; 0, a constant head, where none keeps any.
        """
        check = self.check
        if not check.any():
            return 1.0
        w, b = self._without(check).solved(weight, bias, decay)
        logits, y = self.features[:, check].double() @ w + b, self.y[check]
        kept = [float(margin((s * logits).softmax(-1), y).amin(0).mean()) for s in _SCALES]
        return _SCALES[int(np.argmax(kept))]

    def _without(self, check: Tensor) -> "HeadProblem":
        return replace(self, features=self.features[:, ~check], y=self.y[~check])

    def solved(self, weight: Tensor, bias: Tensor, decay: float) -> tuple[Tensor, Tensor]:
        """The head with the lowest loss, by L-BFGS (SciPy) from a given one."""
        from scipy.optimize import minimize

        z = self.features.double()
        flat_z = z.flatten(0, 1)
        # Standardised, since one decay is for all channels and L-BFGS converges faster.
        mean, std = flat_z.mean(0), flat_z.std(0)
        std = torch.where(std > 1e-6 * std.max(), std, torch.inf)  # a constant channel gets weight 0
        z = (z - mean) / std
        shape = (z.shape[2] + 1, self.classes)
        scaled = torch.where(std.isfinite()[:, None], weight.double() * std[:, None], 0.0)
        start = torch.cat([scaled, (bias.double() + mean @ weight.double())[None]]).flatten()

        def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
            head = torch.from_numpy(flat.copy()).view(shape).requires_grad_()
            with torch.enable_grad():
                total = _worst_loss(z @ head[:-1] + head[-1], self.y) + decay / 2 * head[:-1].square().sum()
                (gradient,) = torch.autograd.grad(total, head)
            return float(total.detach()), gradient.flatten().numpy()

        result = minimize(loss, start.numpy(), jac=True, method="L-BFGS-B", options={"maxiter": 200})
        solution = torch.from_numpy(result.x).view(shape)
        scaled = solution[:-1] / std[:, None]
        return scaled, solution[-1] - mean @ scaled


def _worst_loss(logits: Tensor, y: Tensor) -> Tensor:
    """Mean over examples of the highest cross entropy among the points (R, N, C) of each."""
    each = F.cross_entropy(logits.flatten(0, 1), y.repeat(len(logits)), reduction="none")
    return each.view(len(logits), -1).amax(0).mean()


def margin(p: Tensor, y: Tensor) -> Tensor:
    """p_y minus the largest of the others: (..., N, C) to (..., N)."""
    index = y[:, None].expand(*p.shape[:-1], 1)
    return p.gather(-1, index).squeeze(-1) - p.scatter(-1, index, -1.0).amax(-1)
