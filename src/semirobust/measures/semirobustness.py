"""Semirobustness of a prefix: whether some classifier of its feature can be robust."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from semirobust.attacks import AbstractAttack
from semirobust.attacks.pgd import PGD
from semirobust.core.checks import check_counts, check_examples, check_mode
from semirobust.core.classifiers import on_classifiers
from semirobust.core.errors import InputError
from semirobust.core.interval import proportion_interval
from semirobust.core.plain import anywhere
from semirobust.core.progress import Progress, silent
from semirobust.core.seed import Seed, as_seed
from semirobust.layers.features import forward_to
from semirobust.layers.map import LayerMap, layer_map
from semirobust.layers.quiet import quiet
from semirobust.layers.scores import Floats, LayerScores
from semirobust.measures import MEASURES
from semirobust.measures.base.head import HeadProblem, margin
from semirobust.measures.base.measure import AbstractLayerMeasure, MeasureContext
from semirobust.threats import AbstractBall

__all__ = ["Headed", "Semirobustness", "semirobustness"]

_BATCH = 256


class Headed(nn.Module):
    """A linear classifier of the pooled feature of a frozen prefix: logits (N, C).

    Args:
        model, layers: the network and its layer map.
        after: j, the prefix's last layer.
        classes: C.
        pool: average over positions; False takes the feature whole.
    """

    def __init__(
        self, model: nn.Module, layers: LayerMap, after: int, classes: int, *, pool: bool = True
    ) -> None:
        super().__init__()
        self.model, self.layers, self.after, self.pool = model, layers, after, pool
        self.weight, self.bias = torch.zeros(0, classes), torch.zeros(classes)
        self.scale = 1.0  # of the logits; it changes no decision

    def feature(self, x: Tensor) -> Tensor:
        """(N, d), pooled."""
        feature = forward_to(self.model, self.layers, x, self.after)[self.after]
        feature = feature.movedim(self.layers.at(self.after).batch_dim, 0)
        if not self.pool or feature.dim() < 3:
            return feature.reshape(len(x), -1)
        parts = len(feature) // len(x)  # several where windows of an image count as examples
        # The input of a linear module has its channels last, as tokens have; that of a convolution second.
        place = self.layers.at(self.after).feature_at
        last = feature.dim() == 3 or (
            place <= len(self.layers) and self.layers.at(place).kind in ("Linear", "linear")
        )
        pooled = feature.mean(tuple(range(1, feature.dim() - 1)) if last else tuple(range(2, feature.dim())))
        return pooled if parts == 1 else pooled.reshape(len(x), parts, -1).mean(1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) pixels to (N, C) logits."""
        return self.scale * (self.feature(x) @ self.weight + self.bias)


@dataclass(frozen=True)
class _Margins:
    """What a head keeps of each example: (N,) each.

    Attributes:
        worst, clean: the margin at the worst of several points, and at the input itself.
        right, clean_right: whether the head is right there, whatever its scale.
    """

    worst: Floats
    clean: Floats
    right: NDArray[np.bool_]
    clean_right: NDArray[np.bool_]


@MEASURES.register("semirobustness")
@dataclass(frozen=True)
class Semirobustness(AbstractLayerMeasure):
    """gamma_j = E[ min_delta m(G_j(F_j(x + delta)), y) ], m the margin p_y - max_{k != y} p_k of a head G_j
    trained for it.

    Source: the semirobustness paper, definition 1, whose y G(F) for labels of -1 and 1 this extends to many
    classes (ours). The true gamma_j is the best over all heads and the worst over all perturbations. The
    measured one is a lower bound as to the head, and an upper bound as to the attack.

    The head is linear on the averaged feature. It is fitted to one part of the examples and scored on the
    other. In each round the attack goes through the frozen prefix against the head of the round before. The
    resulting points join the features that the head must classify, and the head minimises the mean over
    examples of the highest loss among their points. (These are cutting planes for the min-max problem, which
    is convex in a linear head.)

    A margin depends on the scale of the logits, which the loss sets for another aim: a head that is right
    less often than its confidence says has a negative margin, where a constant head has 0. So the scale of
    the head is the one of highest mean margin on the quarter of the fitted examples that chooses the decay,
    under a head fitted to the others; 0 where no scale keeps any (ours). Decisions do not depend on it. The
    scaled head is attacked once more.

    By-products: the margin on clean inputs; the fraction that the head classifies correctly under attack,
    which tells prefixes apart where all margins are near 0; and how much of that fraction each prefix loses
    against the one measured before it (``drop``; ours), which is a criterion of layers.

    Args:
        layers: the last layer of each prefix; all where None.
        rounds: of attack and fit.
        fraction: of the examples that the heads are fitted to.
        decays: weight decays of the head, on standardised features. The one with the lowest worst-case loss
            on every fourth example of the fit is taken, since an overfitted head is confident and wrong on
            others.
        rescale: choose the scale of the logits as well; False leaves that of the fit.
        pool: average the feature over positions; False takes it whole, which needs many examples.
        resamples: of the bootstrap over the examples that score.
    """

    layers: Sequence[int] | None = None
    rounds: int = 4
    fraction: float = 0.5
    decays: Sequence[float] = (1e-3, 1e-2, 1e-1, 1.0)
    pool: bool = True
    resamples: int = 1000
    rescale: bool = True

    def __post_init__(self) -> None:
        check_counts(1, rounds=self.rounds, resamples=self.resamples)
        if not 0 < self.fraction < 1 or not self.decays or min(self.decays) < 0:
            raise InputError(
                f"fraction and decays: expected between 0 and 1, and some of at least 0; got {self.fraction},"
                f" {self.decays}"
            )

    def scores(self, context: MeasureContext) -> list[LayerScores]:
        model, layers, attack, seed = context.model, context.layers, context.attack, context.seed
        x, y, x_adv = context.x, context.y, context.x_adv
        indices = (
            layers.indices
            if self.layers is None
            else tuple(sorted({layers.at(i).index for i in self.layers}))
        )
        order = torch.randperm(len(x), generator=(seed / "halves").generator())
        cut = round(self.fraction * len(x))
        if not indices:
            raise InputError("layers: expected at least one, got none")
        if not 0 < cut < len(x):
            raise InputError(
                f"examples: expected some to fit the heads to and some to score them on, got {len(x)}"
            )
        fit, held = order[:cut].to(x.device), order[cut:].to(x.device)
        rows: list[_Margins] = []
        with quiet(model):
            with torch.no_grad():
                classes = model(x[:1]).shape[1]
            for done, j in enumerate(indices):
                head = Headed(model, layers, j, classes, pool=self.pool).eval()
                scale = self._train(head, x[fit], y[fit], x_adv[fit], attack, seed / j)
                rows.append(_margins(head, x[held], y[held], x_adv[held], attack, seed / j / "held", scale))
                context.progress("semirobustness", done + 1, len(indices))
        return self._scored(indices, rows, len(layers), seed)

    def _train(
        self, head: Headed, x: Tensor, y: Tensor, x_adv: Tensor, attack: AbstractAttack, seed: Seed
    ) -> float:
        """Fit the head; gives the scale that its logits are to have."""
        seen = [_feature(head, x), _feature(head, x_adv)]
        head.weight = torch.zeros(seen[0].shape[1], len(head.bias), dtype=x.dtype, device=x.device)
        head.bias = head.bias.to(head.weight)
        for number in range(self.rounds):
            problem = HeadProblem(torch.stack(seen).cpu(), y.cpu(), len(head.bias))
            start = head.weight.cpu(), head.bias.cpu()
            decay = problem.best_decay(*start, self.decays)
            weight, bias = problem.solved(*start, decay)
            head.weight, head.bias = weight.to(head.weight), bias.to(head.bias)
            # The last head is not attacked here but on the examples that score.
            if number + 1 < self.rounds:
                seen.append(_feature(head, attack.in_batches(head, x, y, seed=seed / number)))
        return problem.best_scale(*start, decay) if self.rescale else 1.0

    def _scored(
        self, indices: tuple[int, ...], rows: Sequence[_Margins], n: int, seed: Seed
    ) -> list[LayerScores]:
        worst = np.stack([row.worst for row in rows])
        clean = np.stack([row.clean for row in rows])
        right = np.stack([row.right for row in rows])
        clean_right = np.stack([row.clean_right for row in rows])
        draws = np.random.default_rng((seed / "bootstrap").integer).integers(
            0, worst.shape[1], (self.resamples, worst.shape[1])
        )
        gamma = self._interval("", indices, worst, draws, n)
        accuracy = self._interval("accuracy", indices, right.astype(np.float64), draws, n)
        details = {
            "accuracy": [float(found.mean()) for found in right],
            "clean_accuracy": [float(found.mean()) for found in clean_right],
        }
        found = [
            replace(gamma, details=details),
            accuracy,
            self._interval("clean", indices, clean, draws, n),
        ]
        if len(indices) > 1:
            fall = right[:-1].astype(np.float64) - right[1:]
            found.append(self._interval("drop", indices[1:], fall, draws, n))
        return found

    def _interval(
        self, part: str, indices: tuple[int, ...], margins: Floats, draws: NDArray[np.int64], n: int
    ) -> LayerScores:
        means = margins[:, draws].mean(2)
        low, high = np.quantile(means, [0.025, 0.975], axis=1)
        if part in ("accuracy", "drop"):
            low, high = _where_all_agree(margins, low, high, least=-1.0 if part == "drop" else 0.0)
        return LayerScores(
            measure="semirobustness",
            part=part,
            unit="1",
            indices=indices,
            values=margins.mean(1),
            low=low,
            high=high,
            examples=margins.shape[1],
            layers=n,
            by="linear head",
        )


def _where_all_agree(values: Floats, low: Floats, high: Floats, *, least: float) -> tuple[Floats, Floats]:
    """Intervals (L,) of means of shares or their differences (L, N), from ``least`` to 1, exact where no
    example differs from another: a bootstrap of these has no spread.
    """
    n, equal = values.shape[1], (values == values[:, :1]).all(1)
    beyond = proportion_interval(0, n)[1]  # up to so many may be otherwise
    exact = np.clip(values[:, 0] - beyond, least, 1), np.clip(values[:, 0] + beyond, least, 1)
    return np.where(equal, exact[0], low), np.where(equal, exact[1], high)


def _feature(head: Headed, x: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([head.feature(part) for part in x.split(_BATCH)])


def _margins(
    head: Headed, x: Tensor, y: Tensor, x_adv: Tensor, attack: AbstractAttack, seed: Seed, scale: float
) -> _Margins:
    """The margins at the worst of the points, and at the clean one.

    The points are the clean input, the perturbation of the whole network, the attack on the head, and that on
    the head at its scale.
    """
    points = [x, x_adv, attack.in_batches(head, x, y, seed=seed)]
    plain = [_margin_at(head, point, y) for point in points]
    margins = plain
    if scale != 1.0:
        head.scale = scale
        if scale > 0:  # a constant head has nothing to attack
            points.append(attack.in_batches(head, x, y, seed=seed / "scaled"))
        margins = [_margin_at(head, point, y) for point in points]
    return _Margins(np.min(margins, axis=0), margins[0], np.min(plain, axis=0) > 0, plain[0] > 0)


def _margin_at(head: Headed, x: Tensor, y: Tensor) -> Floats:
    with torch.no_grad():
        p = torch.cat([head(part) for part in x.split(_BATCH)]).cpu().double().softmax(1)
    margins: Floats = margin(p, y.cpu()).numpy()
    return margins


@anywhere
@on_classifiers("model", layers=True)
def semirobustness(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    threat: AbstractBall | None = None,
    attack: AbstractAttack | None = None,
    layers: Sequence[int] | None = None,
    seed: int | Seed = 0,
    progress: Progress = silent,
    measure: Semirobustness | None = None,
) -> LayerScores:
    """gamma_j of the prefixes of ``model`` (:class:`Semirobustness`).

    Args:
        model: gives logits (N, C); in eval mode. It is left as it was.
        x: (N, ...) pixels in [0, 1]; heads are fitted to a half of them and scored on the other.
        y: (N,) true labels.
        threat: the perturbations allowed; PGD-20 attacks.
        attack: another attack, in place of ``threat``.
        layers: the last layer of each prefix; all where None.
        seed: of the split of examples, the attacks and the bootstrap.
        progress: told after each prefix.
        measure: other settings; its ``layers`` then replace the argument.
    """
    check_examples(x, y)
    check_mode(model)
    if (threat is None) == (attack is None):
        got = "neither" if threat is None else "both"
        raise InputError(f"threat: expected a threat model such as Linf(8/255), or an attack; got {got}")
    if attack is None:
        assert threat is not None
        attack = PGD(threat, steps=20)
    seed, measure = as_seed(seed), Semirobustness(layers=layers) if measure is None else measure
    x_adv = attack(model, x, y, seed=seed / "attack")
    layers_ = layer_map(model, x)
    context = MeasureContext(model, layers_, x, y, x_adv, attack, seed, progress)
    found = measure.scores(context)[0]
    return replace(found, names=layers_.names(found.indices))
