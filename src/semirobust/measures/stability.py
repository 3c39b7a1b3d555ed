"""Stability of the choice of critical layers over batches and over seeds of the attack."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from semirobust.attacks import AbstractAttack
from semirobust.attacks.pgd import PGD
from semirobust.core.checks import check_examples, check_mode
from semirobust.core.classifiers import on_classifiers
from semirobust.core.errors import InputError
from semirobust.core.interval import proportion_interval
from semirobust.core.plain import anywhere
from semirobust.core.progress import Progress, silent
from semirobust.core.seed import Seed, as_seed
from semirobust.core.shown import AbstractResult
from semirobust.core.table import Cell, Kind, Table
from semirobust.layers.features import Place, indices_at
from semirobust.layers.map import LayerMap, layer_map
from semirobust.layers.reach import without_effect
from semirobust.layers.scores import Floats, LayerScores, layer_rows
from semirobust.measures import MEASURES
from semirobust.measures.base.measure import AbstractLayerMeasure, MeasureContext
from semirobust.measures.criticality import Criticality, First, Form, Scale
from semirobust.selection.base.selection import usual_count
from semirobust.threats import AbstractBall

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Stability", "StabilityResult", "stability"]


@dataclass(frozen=True, eq=False, repr=False)
class StabilityResult(AbstractResult):
    """How often small batches choose the layers that all examples choose.

    Attributes:
        indices: (L,) the layers that can be chosen, from 1; the classifier is not among them.
        chosen: the k most critical layers by all examples and attacks together.
        fractions: batch size -> (L,) fraction of batches in which the layer is among the k.
        agreement: batch size -> mean fraction of ``chosen`` that a batch chooses.
        same: batch size -> fraction of batches that choose exactly these.
        chance: the agreement of layers chosen at random, k / L: the null.
        between_seeds: the agreement of the choices on all examples under attacks of different seeds; NaN for
            one attack, which has nothing to agree with.
        draws: number of batches of each size.
        examples: how many examples it was measured on.
        names: (L,) of these layers in the model.
    """

    indices: tuple[int, ...]
    chosen: tuple[int, ...]
    fractions: dict[int, Floats]
    agreement: dict[int, float]
    same: dict[int, float]
    chance: float
    between_seeds: float
    draws: int
    examples: int
    names: tuple[str, ...] = ()

    def table(self) -> Table:
        sizes = list(self.fractions)
        chosen = [index in self.chosen for index in self.indices]
        rows = layer_rows(self.indices, self.names, chosen, *(self.fractions[size] for size in sizes))
        columns: dict[str, Kind] = {
            "layer": "count",
            **({"name": "text"} if self.names else {}),
            "chosen": "flag",
        }
        columns |= {f"batches of {size}": "share" for size in sizes}
        facts: dict[str, Cell] = {f"agreement of batches of {size}": self.agreement[size] for size in sizes}
        facts |= {f"same in batches of {size}": self.same[size] for size in sizes}
        facts |= {"chance": self.chance, "between seeds": self.between_seeds, "draws": self.draws}
        first, *notes = self.sentences()
        return Table(first, columns, rows, {**facts, "examples": self.examples}, notes)

    @staticmethod
    def drawn(table: Table) -> "Figure":
        from semirobust.figures import matrix

        sizes = [name for name in table.columns if name.startswith("batches of ")]
        layers = [f"{row['layer']}{' *' * row['chosen']}" for row in table.dicts()]
        return matrix(
            [table.percent(size) for size in sizes],
            sizes,
            layers,
            x_label="layer (* chosen by all images); % of batches that choose it",
        )

    def sentences(self) -> tuple[str, ...]:
        """The result in sentences, for notes."""
        layers, k = ", ".join(map(str, self.chosen)), len(self.chosen)
        by_size = [
            f"{size} images {self.agreement[size]:.0%} ({self.same[size]:.0%} just the same)"
            for size in self.agreement
        ]
        found = (
            f"top {k} by all {self.examples} images: {layers}; "
            f"found by batches of {', '.join(by_size)}; by chance {self.chance:.0%}"
        )
        if math.isnan(self.between_seeds):
            return (found, "how far attacks of different seeds agree is not known from one attack")
        return (found, f"attacks of different seeds agree on {self.between_seeds:.0%} of the top {k}")


@MEASURES.register("stability")
@dataclass(frozen=True)
class Stability(AbstractLayerMeasure):
    """Fraction of small batches in which a layer is among the k most critical (CLAT, section 4.4, table 10).

    All examples are attacked and measured once for each seed of the attack. A batch is drawn from these
    without replacement, so that hundreds of batches cost no more than one pass.

    Args:
        batches: sizes of batches; table 10 of the paper has 10, 30, 50 and 100.
        draws: number of batches of each size.
        k: how many layers; None for 5 % of all, rounded up.
        attacks: number of attacks, each with another seed.
        scale, at, form, first: as in :class:`semirobust.measures.criticality.Criticality`.
    """

    batches: Sequence[int] = (10, 30, 50, 100)
    draws: int = 200
    k: int | None = None
    attacks: int = 3
    scale: Scale = "paper"
    at: Place = "input"
    form: Form = "distance"
    first: First = "weakness"

    def __post_init__(self) -> None:
        if not self.batches or min(self.batches) < 1 or self.draws < 1 or self.attacks < 1:
            given = (list(self.batches), self.draws, self.attacks)
            raise InputError(
                "batches, draws and attacks: expected at least one size and numbers of at least 1, got"
                f" {given}"
            )
        _ = self._criticality  # checks scale, at and form

    @property
    def min_examples(self) -> int:
        return max(self.batches)

    @property
    def _criticality(self) -> Criticality:
        return Criticality(self.scale, self.at, self.form, first=self.first)

    def scores(self, context: MeasureContext) -> list[LayerScores]:
        found = self.measure(
            context.model,
            context.layers,
            context.x,
            context.y,
            attack=context.attack,
            seed=context.seed,
            x_adv=context.x_adv,
            progress=context.progress,
        )
        scores = []
        for size, fractions in found.fractions.items():
            ends = np.array(
                [proportion_interval(round(fraction * found.draws), found.draws) for fraction in fractions]
            )
            notes = found.sentences() if size == min(found.fractions) else ()
            scores.append(
                LayerScores(
                    measure="stability",
                    part=str(size),
                    unit="1",
                    indices=found.indices,
                    values=fractions,
                    low=ends[:, 0],
                    high=ends[:, 1],
                    examples=len(context.x),
                    layers=len(context.layers),
                    notes=notes,
                )
            )
        return scores

    def measure(
        self,
        model: nn.Module,
        layers: LayerMap,
        x: Tensor,
        y: Tensor,
        *,
        attack: AbstractAttack,
        seed: Seed,
        x_adv: Tensor | None = None,
        progress: Progress = silent,
    ) -> StabilityResult:
        """The stability on ``x`` (N, ...) with labels ``y``; a given ``x_adv`` is the result of the first
        attack.
        """
        if max(self.batches) > len(x):
            raise InputError(
                f"batches: expected sizes up to the {len(x)} examples there are, got {max(self.batches)}"
            )
        changes, sizes = [], []
        for number in range(self.attacks):
            perturbed = x_adv if number == 0 else None
            if perturbed is None:
                perturbed = attack.in_batches(model, x, y, seed=seed / "attack" / number)
            change, size = self._criticality.per_example(model, layers, x, perturbed, progress)
            changes.append(change)
            sizes.append(size)
        # What has no number in criticality is chosen by no batch either.
        still = () if self.at == "conv" else without_effect(model, layers, x, indices_at(layers, self.at))

        def top(change: Floats, size: Floats, k: int | None = None) -> tuple[int, ...]:
            scores = self._criticality.index(layers, change, size, x.dtype)
            ranking = [i for i in scores.measured() if i not in (*layers.classifier, *still)]
            return tuple(ranking[:k]) if k else self._most(ranking, len(layers))

        whole = top(np.concatenate(changes), np.concatenate(sizes))
        each = [set(top(a, b, len(whole))) for a, b in zip(changes, sizes, strict=True)]
        pairs = [len(a & b) / len(whole) for i, a in enumerate(each) for b in each[:i]]
        # Each draw takes its rows from one of the attacks in turn.
        rng, drawn = np.random.default_rng(seed.integer), dict[int, list[tuple[int, ...]]]()
        for count in sorted(set(self.batches)):
            drawn[count] = []
            for draw in range(self.draws):
                rows, which = rng.choice(len(x), count, replace=False), draw % self.attacks
                drawn[count].append(top(changes[which][rows], sizes[which][rows], len(whole)))
        # The classifier is measured but never chosen, as in CLAT.
        candidates = tuple(i for i in indices_at(layers, self.at) if i not in layers.classifier)
        return StabilityResult(
            indices=candidates,
            chosen=whole,
            fractions={n: _fractions(tops, candidates) for n, tops in drawn.items()},
            agreement={
                n: float(np.mean([len({*top} & {*whole}) / len(whole) for top in tops]))
                for n, tops in drawn.items()
            },
            same={n: float(np.mean([set(top) == set(whole) for top in tops])) for n, tops in drawn.items()},
            chance=len(whole) / len(candidates),
            between_seeds=float(np.mean(pairs)) if pairs else math.nan,
            draws=self.draws,
            examples=len(x),
            names=layers.names(candidates),
        )

    def _most(self, ranking: Sequence[int], n: int) -> tuple[int, ...]:
        """The k most critical layers, most critical first."""
        k = usual_count(n) if self.k is None else self.k
        if not 1 <= k <= len(ranking):
            raise InputError(f"k: expected 1 to {len(ranking)} layers, got {k}")
        return tuple(ranking[:k])


def _fractions(tops: Sequence[tuple[int, ...]], candidates: Sequence[int]) -> NDArray[np.float64]:
    return np.array([np.mean([index in top for top in tops]) for index in candidates])


@anywhere
@on_classifiers("model", layers=True)
def stability(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    threat: AbstractBall | None = None,
    attack: AbstractAttack | None = None,
    batches: Sequence[int] = (10, 30, 50, 100),
    draws: int = 200,
    k: int | None = None,
    attacks: int = 3,
    scale: Scale = "paper",
    at: Place = "input",
    form: Form = "distance",
    first: First = "weakness",
    seed: int | Seed = 0,
) -> StabilityResult:
    """How often small batches choose the layers that all examples choose (:class:`Stability`).

    Args:
        model: gives logits (N, C); in eval mode. It is left as it was.
        x, y: (N, ...) pixels in [0, 1] and (N,) labels.
        threat: the perturbations allowed; PGD-10 attacks.
        attack: another attack, in place of ``threat``.
        batches: sizes of batches.
        draws: number of batches of each size.
        k: how many layers; None for 5 % of all, rounded up.
        attacks: number of attacks, each with another seed.
        scale, at, form, first: as in :func:`semirobust.criticality`.
        seed: of attacks and draws.

    Raises:
        InputError: one of the arguments is not as described, or a batch is larger than there are examples.
    """
    check_mode(model)
    check_examples(x, y)
    if attack is None:
        if not isinstance(threat, AbstractBall):
            raise InputError(f"threat: expected a threat model such as Linf(8/255), got {threat!r}")
        attack = PGD(threat, steps=10)
    elif threat is not None:
        raise InputError("threat: expected a threat model such as Linf(8/255), or an attack; got both")
    measure = Stability(batches, draws, k, attacks, scale, at, form, first)
    return measure.measure(model, layer_map(model, x), x, y, attack=attack, seed=as_seed(seed))
