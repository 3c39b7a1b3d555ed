"""Algorithm 2 of the semirobustness paper: the logits of a robust network as a linear map of its prefix."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from semirobust.core.checks import check_counts
from semirobust.core.errors import InputError
from semirobust.core.interval import proportion_interval, share_interval
from semirobust.core.seed import Seed
from semirobust.dependence.base.reduction import Moments, Reduction, sketch
from semirobust.layers.features import features
from semirobust.layers.map import LayerMap
from semirobust.layers.quiet import quiet
from semirobust.layers.scores import LayerScores
from semirobust.measures import MEASURES
from semirobust.measures.base.measure import AbstractLayerMeasure, MeasureContext

__all__ = ["Readout", "ReadoutMeasure", "pseudoinverse_readout", "ridge_readout"]

_STRENGTHS = tuple(10.0**e for e in range(-4, 5))  # of the ridge, relative to the mean eigenvalue
_RANDOM = 10  # draws of random weights, for the control


class Readout(nn.Module):
    """Logits (N, C) = [raw outputs of layers 1..j, flattened, side by side] @ weight + bias.

    Args:
        model, layers: the network and its layer map.
        prefix: j.
        reductions: of the output of each layer; empty for whole outputs.
    """

    def __init__(
        self, model: nn.Module, layers: LayerMap, prefix: int, reductions: Sequence[Reduction] = ()
    ) -> None:
        super().__init__()
        self.model, self.layers, self.prefix, self.reductions = model, layers, prefix, tuple(reductions)
        self.weight, self.bias = torch.zeros(0, 0), torch.zeros(0)

    def outputs(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """(N, D_i) of each layer of the prefix, and the model's own logits."""
        indices = range(1, self.prefix + 1)
        with features(self.model, self.layers, indices, at="conv") as tape:
            logits = self.model(x)
        flat = [self.layers.at(i).per_example(tape[i], len(x), raw=True) for i in indices]
        return (
            [r(rows) for r, rows in zip(self.reductions, flat, strict=True)] if self.reductions else flat
        ), logits

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) pixels to (N, C) logits."""
        parts, _ = self.outputs(x)
        return torch.cat(parts, 1) @ self.weight.to(parts[0].dtype).to(x.device) + self.bias.to(
            parts[0].dtype
        ).to(x.device)


def pseudoinverse_readout(
    model: nn.Module, layers: LayerMap, prefix: int, x: Tensor, *, batch_size: int = 100
) -> Readout:
    """The paper's form: the mean over batches of A^+ O, least squares of minimum norm, in double precision
    and without intercept.

    A batch has far fewer examples than A has columns, so each solution fits its batch exactly. Only (n, n)
    Gram matrices are inverted. The paper scores it on the examples of the fit, which says nothing about
    others.
    """
    readout = Readout(model, layers, prefix)
    total, count = torch.zeros(0), 0
    for parts, logits in _each(readout, x, batch_size):
        a = torch.cat(parts, 1).cpu().double()
        # A^+ = A' (A A')^+, which inverts an (n, n) matrix in place of one as large as A is wide.
        solution = a.T @ (torch.linalg.pinv(a @ a.T, hermitian=True) @ logits.cpu().double())
        total, count = (solution if not count else total + solution), count + 1
    readout.weight, readout.bias = total / count, total.new_zeros(total.shape[1])
    return readout


def ridge_readout(
    model: nn.Module,
    layers: LayerMap,
    prefix: int,
    x: Tensor,
    *,
    width: int = 128,
    batch_size: int = 100,
    seed: Seed,
) -> Readout:
    """Ridge regression on a count sketch of each layer, from streamed normal equations (ours).

    The strength is the one whose fit to four fifths of the batches predicts the logits of every fifth batch
    best; the final fit uses all. Only a (D', D') matrix is stored, D' = width times the layers of the prefix.
    """
    moments = [Moments() for _ in range(prefix)]
    whole = Readout(model, layers, prefix)
    for parts, _ in _each(whole, x[:1], 1):
        for moment, rows in zip(moments, parts, strict=True):
            moment.see(rows, spread=False)
    readout = Readout(model, layers, prefix, [sketch(m, width, seed / i) for i, m in enumerate(moments)])
    fit, check = _Normal(), _Normal()
    for number, (parts, logits) in enumerate(_each(readout, x, batch_size)):
        (check if number % 5 == 4 else fit).see(torch.cat(parts, 1).cpu().double(), logits.cpu().double())
    if check.n == 0:
        raise InputError(f"examples: expected at least {4 * batch_size + 1} to fit a ridge to, got {len(x)}")
    errors = {s: check.error(*fit.solved(s)) for s in _STRENGTHS}
    readout.weight, readout.bias = (fit + check).solved(min(errors, key=lambda s: errors[s]))
    return readout


class _Normal:
    """The sums of a least squares problem with intercept, over batches (n, D) with targets (n, C)."""

    def __init__(self) -> None:
        self.n, self.sums = 0, tuple[Tensor, ...]()

    def see(self, a: Tensor, o: Tensor) -> None:
        new = (a.T @ a, a.T @ o, a.sum(0), o.sum(0), o.square().sum())
        self.sums = tuple(s + t for s, t in zip(self.sums, new, strict=True)) if self.n else new
        self.n += len(a)

    def __add__(self, other: "_Normal") -> "_Normal":
        both = _Normal()
        both.n = self.n + other.n
        both.sums = tuple(s + t for s, t in zip(self.sums, other.sums, strict=True))
        return both

    def solved(self, strength: float) -> tuple[Tensor, Tensor]:
        """Weight (D, C) and bias (C,) for a strength relative to the mean eigenvalue.

        Columns are standardised first; constant ones get weight 0.
        """
        gram, cross, a, o, _ = self.sums
        a, o = a / self.n, o / self.n
        centred, target = gram / self.n - torch.outer(a, a), cross / self.n - torch.outer(a, o)
        # Columns below this fraction of the largest spread are constant up to rounding.
        scale = centred.diagonal().clamp_min(0).sqrt()
        scale = torch.where(scale > 1e-9 * scale.max(), scale, torch.inf)
        centred = centred / torch.outer(scale, scale) + strength * torch.eye(
            len(a), dtype=a.dtype, device=a.device
        )
        weight = torch.linalg.solve(centred, target / scale[:, None]) / scale[:, None]
        return weight, o - a @ weight

    def error(self, weight: Tensor, bias: Tensor) -> float:
        """Mean squared error of a fit on these examples."""
        gram, cross, a, o, squares = self.sums
        predicted = (weight * (gram @ weight)).sum() + 2 * (a @ weight) @ bias + self.n * bias.square().sum()
        return float(predicted - 2 * (weight * cross).sum() - 2 * bias @ o + squares) / self.n


def _each(readout: Readout, x: Tensor, size: int) -> Iterator[tuple[list[Tensor], Tensor]]:
    with torch.no_grad():
        for batch in x.split(size):
            yield readout.outputs(batch)


@MEASURES.register("readout")
@dataclass(frozen=True)
class ReadoutMeasure(AbstractLayerMeasure):
    """Accuracy of the linear read-out of each prefix on the network's adversarial examples, held out from its
    fit.

    Source: the semirobustness paper, algorithm 2 and theorem 3. One half of the examples is for the fit, the
    other for the accuracy. By-products:

    - ``paper`` fits and scores on all examples, as the paper does;
    - ``attacked`` attacks the read-out itself, since its accuracy on examples made against another network is
      too high;
    - ``random`` has random weights of the same norm;
    - ``network`` is the accuracy of the network on the half that scores.

    Args:
        prefixes: the last layer of each; None for the paper's three, which leave 1, 5 and 9 layers.
        batch_size: examples in one least squares problem of the paper's form.
        width: numbers to which the ridge sketches each layer.
    """

    prefixes: Sequence[int] | None = None
    batch_size: int = 100
    width: int = 128

    def __post_init__(self) -> None:
        check_counts(1, batch_size=self.batch_size, width=self.width)

    def scores(self, context: MeasureContext) -> list[LayerScores]:
        model, layers, x = context.model, context.layers, context.x
        n = len(layers)
        wanted = (
            [j for j in (n - 9, n - 5, n - 1) if j > 0]
            if self.prefixes is None
            else sorted(set(self.prefixes))
        )
        indices = tuple(layers.at(j).index for j in wanted)
        half = len(x) // 2
        found: dict[str, list[tuple[float, float, float]]] = {}
        with quiet(model):
            for done, j in enumerate(indices):
                for part, value in self._of(replace(context, seed=context.seed / j), j, half):
                    found.setdefault(part, []).append(value)
                context.progress("readout", done + 1, len(indices))
        examples = {"paper": len(x)}
        return [
            LayerScores.from_rows(
                "readout",
                rows,
                part=part,
                indices=indices,
                examples=examples.get(part, len(x) - half),
                layers=n,
            )
            for part, rows in found.items()
        ]

    def _of(
        self, context: MeasureContext, j: int, half: int
    ) -> Iterator[tuple[str, tuple[float, float, float]]]:
        """Each part of the measure for the prefix of j layers; the first ``half`` of the examples fit."""
        model, layers, seed = context.model, context.layers, context.seed
        x, y, x_adv = context.x, context.y, context.x_adv
        # At least five batches, so that every fifth can choose the strength of the ridge.
        size = min(self.batch_size, max(half // 5, 1))
        ridge = ridge_readout(
            model, layers, j, x_adv[:half], width=self.width, batch_size=size, seed=seed / "sketch"
        ).eval()
        held = x_adv[half:], y[half:]
        yield "", _accuracy(ridge, *held)
        parts = range(half, len(x), self.batch_size)
        size = self.batch_size
        own = [
            context.attack(ridge, x[i : i + size], y[i : i + size], seed=seed / "attack" / i) for i in parts
        ]
        yield "attacked", _accuracy(ridge, torch.cat(own), held[1])
        yield "random", self._random(ridge, *held, seed / "random")
        paper = pseudoinverse_readout(model, layers, j, x_adv, batch_size=self.batch_size).eval()
        yield "paper", _accuracy(paper, x_adv, y)
        yield "network", _accuracy(model, *held)

    def _random(self, ridge: Readout, x: Tensor, y: Tensor, seed: Seed) -> tuple[float, float, float]:
        """Mean accuracy over draws of random weights, with its interval."""
        weight, values = ridge.weight, []
        for number in range(_RANDOM):
            drawn = torch.randn(weight.shape, generator=(seed / number).generator(), dtype=weight.dtype)
            ridge.weight = drawn * weight.norm() / math.sqrt(weight.numel())
            values.append(_accuracy(ridge, x, y)[0])
        ridge.weight = weight
        return float(np.mean(values)), *share_interval(values, len(y))


def _accuracy(model: nn.Module, x: Tensor, y: Tensor) -> tuple[float, float, float]:
    with torch.no_grad():
        right = int(
            sum((model(a).argmax(1) == b).sum() for a, b in zip(x.split(100), y.split(100), strict=True))
        )
    low, high = proportion_interval(right, len(y))
    return right / len(y), low, high
