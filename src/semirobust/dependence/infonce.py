"""A trained lower bound of mutual information."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from semirobust.core.checks import check_counts
from semirobust.core.devices import uploaded
from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.dependence import DEPENDENCES
from semirobust.dependence.base.dependence import Orders, Shapes
from semirobust.dependence.base.estimate import Raw
from semirobust.dependence.base.rounding import deviations
from semirobust.dependence.base.sketched import AbstractSketched

__all__ = ["InfoNCE"]


@DEPENDENCES.register("infonce")
@dataclass(frozen=True, kw_only=True)
class InfoNCE(AbstractSketched):
    """I >= log2 B + E log2 softmax_j(g(x_i) . h(y_j))_i, with g and h trained on one half and B examples of
    the other.

    Source: van den Oord et al. 2018, section 2.3; Poole et al. 2019, equation 12. Ours: g and h are networks
    with one hidden layer on standardised features, trained by Adam with weight decay. The bound is taken on
    the held-out half alone, so that memorised examples do not count, and 0 replaces a negative value. It
    cannot exceed log2 B. The null permutes the held-out rows only and keeps the trained critic. So it tests
    independence; it does not say what the bound would be after training on independent data.

    Args:
        steps: training steps.
        batch: examples in a step, and the maximum of B.
        hidden: width of the hidden layer; the output has half of it.
        learning_rate: of Adam.
        points: maximum number of examples, drawn at random.
        sketch: wider features are sketched to this many numbers (ours), which lowers the value of features
            without structure.
        permutations: number of permutations of the held-out rows for the null.
    """

    steps: int = 400
    batch: int = 256
    hidden: int = 128
    learning_rate: float = 2e-3
    points: int = 20_000
    sketch: int = 512

    name: ClassVar[str] = "InfoNCE"
    unit: ClassVar[str] = "bits"
    min_examples: ClassVar[int] = 40

    def __post_init__(self) -> None:
        AbstractSketched.__post_init__(self)
        check_counts(1, steps=self.steps)
        check_counts(2, batch=self.batch, hidden=self.hidden)
        if not self.learning_rate > 0:
            raise InputError(f"learning_rate: expected a positive number, got {self.learning_rate}")

    def measure(self, x: Tensor, y: Tensor, shapes: Shapes, orders: Orders, seed: Seed) -> Raw:
        rows = torch.randperm(x.shape[1], generator=(seed / "halves").generator()).to(x.device)
        half = len(rows) // 2
        a, b = (
            _standardised(side, rows[:half], shape.dtype) for side, shape in zip((x, y), shapes, strict=True)
        )
        critic = self._trained(a[rows[:half]], b[rows[:half]], seed)
        g, h = (_output(side[rows[half:]], part) for side, part in zip((a, b), critic, strict=True))
        size = min(self.batch, len(g))
        terms = _bound(g, h, size)
        null = [max(float(_bound(g, h[order], size).mean()), 0.0) for order in orders.of(len(g))]
        return Raw(
            value=max(float(terms.mean()), 0.0),
            error=float(terms.std() / math.sqrt(len(terms))),
            null=tuple(null),
            used=x.shape[1],
            ceiling=math.log2(size),
        )

    @torch.inference_mode(False)
    @torch.enable_grad()
    def _trained(self, x: Tensor, y: Tensor, seed: Seed) -> tuple[list[Tensor], list[Tensor]]:
        x, y = x.clone(), y.clone()  # tensors from inference mode cannot be differentiated
        generator = (seed / "critic").generator()
        g, h = (_weights(side.shape[1], self.hidden, generator, side.device) for side in (x, y))
        optimiser = torch.optim.AdamW([*g, *h], self.learning_rate, weight_decay=1e-2)
        size = min(self.batch, len(x))
        # Drawn on the host and brought to the device in one piece.
        drawn = [torch.randperm(len(x), generator=generator)[:size] for _ in range(self.steps)]
        own = torch.arange(size, device=x.device)
        for rows in uploaded(torch.stack(drawn), x.device):
            loss = F.cross_entropy(_output(x[rows], g) @ _output(y[rows], h).T, own)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return g, h


def _standardised(columns: Tensor, rows: Tensor, dtype: torch.dtype) -> Tensor:
    """(N, k) with mean 0 and deviation 1 over the given rows."""
    middle = columns[:, rows].mean(1, keepdim=True)
    return ((columns - middle) / deviations(columns, dtype, rows)).T.float().contiguous()


def _weights(inputs: int, hidden: int, generator: torch.Generator, device: torch.device) -> list[Tensor]:
    """Two layers; weights are drawn with variance 1 / fan-in, biases start at 0."""
    shapes = ((inputs, hidden), (hidden,), (hidden, hidden // 2), (hidden // 2,))
    drawn = [
        torch.randn(s, generator=generator) / math.sqrt(s[0]) if len(s) == 2 else torch.zeros(s)
        for s in shapes
    ]
    return [w.to(device).requires_grad_() for w in drawn]


def _output(x: Tensor, weights: list[Tensor]) -> Tensor:
    first, bias, second, last = weights
    return torch.relu(x @ first + bias) @ second + last


def _bound(g: Tensor, h: Tensor, size: int) -> Tensor:
    """(n,) log2 B + log2 softmax of each pair within its batch; an incomplete last batch is left out."""
    whole = len(g) // size * size
    batches = zip(g[:whole].detach().split(size), h[:whole].detach().split(size), strict=True)
    return torch.cat(
        [(F.log_softmax(a @ b.T, 1).diagonal() + math.log(size)) / math.log(2) for a, b in batches]
    ).double()
