"""Usefulness of each input of the classifier, without and under attack."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from semirobust.core.checks import check_examples, check_mode, probe
from semirobust.core.classifiers import on_classifiers
from semirobust.core.errors import InputError
from semirobust.core.plain import anywhere
from semirobust.core.progress import Progress, silent
from semirobust.core.seed import Seed, as_seed
from semirobust.core.shown import AbstractResult
from semirobust.core.table import Cell, Kind, Table
from semirobust.layers.map import LayerMap, layer_map
from semirobust.layers.quiet import quiet
from semirobust.layers.scores import Floats, LayerScores
from semirobust.measures import MEASURES
from semirobust.measures.base.feature_attack import FeatureAttack, Head, extremes
from semirobust.measures.base.measure import AbstractLayerMeasure, MeasureContext
from semirobust.threats import AbstractBall

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FeatureAttack", "FeatureUsefulness", "Usefulness", "usefulness"]


@dataclass(frozen=True, eq=False, repr=False)
class Usefulness(AbstractResult):
    """Usefulness of each of d features: means over examples, and over classes where there are more than two.

    Attributes:
        useful: E[t (2 s(w f) - 1)], t = 1 for the class and -1 for the rest, s the logistic function, f the
            normalised feature and w its weight for the class against the mean of the others: from -1 to 1.
        robust: the same at the worst point of the ball for this feature alone.
        original: |E[t f]| (Ilyas et al. 2019).
        original_robust: the same at the worst point.
        actual: w E[t f], what the feature adds to the margin.
        low, high, robust_low, robust_high: 95 % intervals of ``useful`` and ``robust`` over examples.
        active: fraction of examples on which the feature is not 0.
        mean, robust_mean: means of ``useful`` and ``robust`` over features, with intervals over examples.
        examples: how many.
        attack: the attack in words.
    """

    useful: Floats
    robust: Floats
    original: Floats
    original_robust: Floats
    actual: Floats
    low: Floats
    high: Floats
    robust_low: Floats
    robust_high: Floats
    active: Floats
    mean: tuple[float, float, float]
    robust_mean: tuple[float, float, float]
    examples: int
    attack: str

    def __len__(self) -> int:
        return len(self.useful)

    @property
    def robustly_useful(self) -> int:
        """How many features have a robust usefulness above 0."""
        return int((self.robust > 0).sum())

    def table(self) -> Table:
        arrays = {
            "useful": self.useful,
            "low": self.low,
            "high": self.high,
            "robust": self.robust,
            "robust_low": self.robust_low,
            "robust_high": self.robust_high,
            "original": self.original,
            "original_robust": self.original_robust,
            "actual": self.actual,
        }
        rows = list(zip(range(len(self)), *arrays.values(), self.active, strict=True))
        columns: dict[str, Kind] = {"feature": "count", **dict.fromkeys(arrays, "number"), "active": "share"}
        attacked = not math.isnan(self.robust_mean[0])
        under = f", {self.robustly_useful} of them useful under {self.attack}" if attacked else ""
        facts: dict[str, Cell] = {"examples": self.examples, "attack": self.attack, "mean": self.mean[0]}
        return Table(
            f"{len(self)} features on {self.examples:,} examples, {(self.useful > 0).sum()} useful{under}",
            columns,
            rows,
            {**facts, "robust mean": self.robust_mean[0]},
        )

    @staticmethod
    def drawn(table: Table) -> "Figure":
        from semirobust.figures import Panel, histograms

        shown = {"useful": "useful", "under attack": "robust"}
        values = {name: [v for v in table.numbers(column) if v == v] for name, column in shown.items()}
        panel = Panel("usefulness of each feature", {name: v for name, v in values.items() if v})
        return histograms([panel], x_label="usefulness, -1 to 1")


@anywhere
@on_classifiers("model", layers=True)
def usefulness(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    threat: AbstractBall | None = None,
    attack: FeatureAttack | None = None,
    reference: Tensor | None = None,
    layers: LayerMap | None = None,
    seed: int | Seed = 0,
    progress: Progress = silent,
) -> Usefulness:
    """Usefulness and robust usefulness of the inputs of the last linear layer of ``model``.

    Source: "Lighter robust model", section IV. With two classes it is the paper's formula, w the difference
    of the two rows of weights. With more, each class is taken against the mean of the others, and the average
    over classes is returned (ours). Features have mean 0 and standard deviation 1 on ``reference``, which is
    the training images in the paper; w is the weight of the normalised feature.

    Args:
        model: gives logits (N, C) by a linear layer at its end; in eval mode. It is left as it was.
        x: (N, ...) pixels in [0, 1].
        y: (N,) labels.
        threat: the perturbations allowed; :class:`FeatureAttack` attacks with its defaults.
        attack: another attack, in place of ``threat``. Without either nothing is attacked, and robust
            usefulness is NaN.
        reference: images that features are normalised on; ``x`` where None.
        layers: its layer map, where it is known.
        seed: of random starts.
        progress: told of every batch.

    Raises:
        InputError: the last layer is not linear, or an argument is not as described.
    """
    check_examples(x, y)
    check_mode(model)
    if threat is not None and attack is not None:
        raise InputError(
            "threat: expected a threat model such as Linf(0.3), or an attack in its place; got both"
        )
    attack = FeatureAttack(threat) if threat is not None else attack
    layers = layer_map(model, x[:1]) if layers is None else layers
    with quiet(model):
        probe(model, x, y)
        head = Head.of(model, layers, x if reference is None else reference)
        if reference is None and bool((y == y[0]).all()):
            raise InputError(
                "y: expected examples of at least two classes, since the features have mean 0 on them and say"
                f" nothing of one class alone; got only class {int(y[0])} (or give a reference of several)"
            )
        return _measured(head.faster(x), head.features(x), x, y, attack, as_seed(seed), progress)


@MEASURES.register("usefulness")
@dataclass(frozen=True)
class FeatureUsefulness(AbstractLayerMeasure):
    """Usefulness and robust usefulness of the inputs of the classifier (:func:`usefulness`), each and on
    average.

    Source: "Lighter robust model", section IV. The perturbations allowed are those of the profile's attack.

    Args:
        steps, step_size, random_start, lift: as in :class:`FeatureAttack`.
    """

    steps: int = 3
    step_size: float | None = 0.01
    random_start: bool = False
    lift: bool = True

    def scores(self, context: MeasureContext) -> list[LayerScores]:
        layers, attack = context.layers, context.attack
        if not isinstance(attack.threat, AbstractBall):
            raise InputError(f"attack: usefulness needs one within a norm ball, got {attack.name}")
        own = FeatureAttack(attack.threat, self.steps, self.step_size, self.random_start, self.lift)
        found = usefulness(
            context.model,
            context.x,
            context.y,
            attack=own,
            layers=layers,
            seed=context.seed,
            progress=context.progress,
        )
        note = (
            f"usefulness: {found.robustly_useful} of {len(found)} features keep a robust usefulness above 0"
            f" ({found.attack}); {int((found.useful > 0).sum())} are useful without an attack"
        )
        by_part = {
            "": (found.useful, found.mean),
            "robust": (found.robust, found.robust_mean),
            "original": (found.original, None),
            "original-robust": (found.original_robust, None),
            "actual": (found.actual, None),
        }
        index = layers.at(len(layers)).before
        scores = []
        for part, (values, mean) in by_part.items():
            ends = mean or (float(values.mean()), math.nan, math.nan)
            middle, low, high = (np.array([end]) for end in ends)
            notes = () if part else (note,)
            scores.append(
                LayerScores(
                    measure="usefulness",
                    part=part,
                    unit="1",
                    indices=(index,),
                    values=middle,
                    low=low,
                    high=high,
                    examples=len(context.x),
                    layers=len(layers),
                    notes=notes,
                    features={index: values},
                )
            )
        return scores


def _measured(
    head: Head, f: Tensor, x: Tensor, y: Tensor, attack: FeatureAttack | None, seed: Seed, progress: Progress
) -> Usefulness:
    t = 2.0 * nn.functional.one_hot(y.cpu(), head.weight.shape[0]).double() - 1  # (N, C)
    # Small arrays, in double precision on the CPU.
    z = (f.cpu().double() - head.mean) / head.deviation
    sums = (t[:, :, None] * z[:, None, :]).mean(0)  # (C, d)
    sign = torch.where(sums >= 0, 1.0, -1.0).double()
    # t w f is minimal at the minimum of f where t w > 0, and at the maximum elsewhere; likewise t f.
    at_minimum = (t[:, :, None] * head.weight) > 0
    original_at_minimum = (t[:, :, None] * sign) > 0
    lower = (at_minimum | original_at_minimum).any(1)
    upper = (~at_minimum | ~original_at_minimum).any(1)
    if attack is None:
        low, high = torch.full_like(f, torch.nan), torch.full_like(f, torch.nan)
    else:
        low, high = extremes(head, x, f, lower, upper, attack, seed, progress)
    low, high = ((v.cpu().double() - head.mean) / head.deviation for v in (low, high))
    useful = _of_classes(t, head.weight, lambda c: z)
    robust = _of_classes(t, head.weight, lambda c: torch.where(at_minimum[:, c], low, high))
    worst = torch.stack(
        [
            torch.where(original_at_minimum[:, c], low, high) * t[:, c, None] * sign[c]
            for c in range(t.shape[1])
        ]
    )
    (u, u_low, u_high), (r, r_low, r_high) = _interval(useful), _interval(robust)
    return Usefulness(
        useful=u,
        robust=r,
        original=sums.abs().mean(0).numpy(),
        original_robust=worst.mean(1).mean(0).numpy(),
        actual=(head.weight * sums).mean(0).numpy(),
        low=u_low,
        high=u_high,
        robust_low=r_low,
        robust_high=r_high,
        active=(f != 0).double().mean(0).cpu().numpy(),
        mean=_over_features(useful),
        robust_mean=_over_features(robust),
        examples=len(x),
        attack="none" if attack is None else attack.words,
    )


def _of_classes(t: Tensor, weight: Tensor, value: Callable[[int], Tensor]) -> Tensor:
    """(N, d): t (2 s(w f) - 1), mean over classes, where 2 s(z) - 1 = tanh(z / 2)."""
    classes = t.shape[1]
    return (
        sum((t[:, c, None] * torch.tanh(weight[c] * value(c) / 2) for c in range(classes)), torch.zeros(()))
        / classes
    )


def _interval(values: Tensor) -> tuple[Floats, Floats, Floats]:
    """Mean over examples with its 95 % interval, by the normal approximation."""
    mean, half = values.mean(0).numpy(), 1.96 * values.std(0, correction=0).numpy() / np.sqrt(len(values))
    return mean, mean - half, mean + half


def _over_features(values: Tensor) -> tuple[float, float, float]:
    middle, low, high = _interval(values.mean(1, keepdim=True))
    return float(middle[0]), float(low[0]), float(high[0])
