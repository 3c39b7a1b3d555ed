"""Dependence between consecutive layers, within each class."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from semirobust.attacks.pgd import PGD
from semirobust.checks import check_dtype, check_examples, check_floating, check_labels, check_mode, probe
from semirobust.dependence import DEPENDENCES, AbstractDependence
from semirobust.dependence.base import Shapes
from semirobust.dependence.edge import EDGE
from semirobust.dependence.estimate import Estimate, Raw, combine
from semirobust.dependence.reduction import Moments, Reduction, Rows, flat
from semirobust.errors import InputError
from semirobust.layers.features import Place, features
from semirobust.layers.map import LayerMap, layer_map
from semirobust.layers.mode import quiet
from semirobust.layers.scores import LayerScores
from semirobust.measures import MEASURES
from semirobust.measures.base import AbstractLayerMeasure
from semirobust.progress import Progress, silent
from semirobust.seed import Seed, as_seed
from semirobust.threats import AbstractBall

__all__ = ["Connectivity", "ConnectivityResult", "connectivity"]


@dataclass(frozen=True)
class ConnectivityResult:
    """Dependence between each layer and the one before it.

    Attributes:
        indices: layers j, ascending, each measured against layer j - 1.
        estimates: of each, class by class inside.
        notes: what the reader must know: classes and layers left out, estimates that say little.
        examples: how many examples it was measured on.
        layers: how many layers the model has.
    """

    indices: tuple[int, ...]
    estimates: tuple[Estimate, ...]
    notes: tuple[str, ...]
    examples: int
    layers: int

    def scores(self) -> list[LayerScores]:
        """The dependence, its excess over the null, and the null, as scores by layer."""
        found = self.estimates
        value, excess = np.array([e.interval for e in found]).reshape(-1, 2), np.array([e.excess_interval for e in found])
        null, spread = np.array([e.null_mean for e in found]), 1.96 * np.array([e.null_sd for e in found])
        columns = (
            ("connectivity", np.array([e.value for e in found]), value),
            ("connectivity.null", null, np.stack([null - spread, null + spread], 1)),
            ("connectivity.excess", np.array([e.excess for e in found]), excess.reshape(-1, 2)),
        )
        unit = found[0].unit if found else "1"
        by = found[0].measure if found else ""
        return [
            LayerScores(
                measure=name,
                unit=unit,
                indices=self.indices,
                values=values,
                low=ends[:, 0],
                high=ends[:, 1],
                examples=self.examples,
                layers=self.layers,
                notes=self.notes if name == "connectivity" else (),
                by=by,
            )
            for name, values, ends in columns
        ]


@MEASURES.register("connectivity")
@dataclass(frozen=True)
class Connectivity(AbstractLayerMeasure):
    """rho_j = sum_c pi(c) I(F_{j-1}; F_j | Y = c), with what the estimator reads when the examples are permuted.

    Source: the semirobustness paper, assumption A1, which estimates it by EDGE on adversarial test images and the raw
    outputs of convolutions and linear modules; those are the defaults. Classes are gone through one after the other and
    features in batches, of which only what the estimator needs is kept: two forward passes for EDGE, one for the others.

    Args:
        dependence: the estimator's name.
        settings: its own arguments; of EDGE, ``version = "paper"`` where none is given.
        at: where features are taken, ``conv``, ``input`` of the next layer, or ends of a ``block``.
        inputs: ``adversarial``, or ``clean``.
        batch_size: examples in a forward pass.
    """

    dependence: str = "edge"
    settings: Mapping[str, Any] = field(default_factory=dict)
    at: Place = "conv"
    inputs: Literal["adversarial", "clean"] = "adversarial"
    batch_size: int = 64

    def __post_init__(self) -> None:
        if self.at not in ("input", "conv", "block"):
            raise InputError(f"at: expected input, conv or block; got {self.at!r}")
        if self.inputs not in ("adversarial", "clean"):
            raise InputError(f"inputs: expected adversarial or clean; got {self.inputs!r}")
        if self.batch_size < 1:
            raise InputError(f"batch_size: expected at least 1, got {self.batch_size}")
        self.estimator()

    def estimator(self) -> AbstractDependence:
        """The measure of dependence with its settings."""
        default = {"version": "paper"} if self.dependence == "edge" else {}
        return DEPENDENCES.make(self.dependence, default | dict(self.settings))

    def scores(
        self,
        model: nn.Module,
        layers: LayerMap,
        x: Tensor,
        y: Tensor,
        x_adv: Tensor,
        *,
        seed: Seed,
        progress: Progress = silent,
    ) -> list[LayerScores]:
        chosen = x_adv if self.inputs == "adversarial" else x
        place = _Place(layers, self.at, self.batch_size)
        return _measured(model, place, chosen, y, self.estimator(), seed, progress).scores()


@dataclass(frozen=True)
class _Place:
    """Which features, and how many examples at a time."""

    layers: LayerMap
    at: Place
    batch_size: int

    @property
    def indices(self) -> tuple[int, ...]:
        return self.layers.block_ends if self.at == "block" else self.layers.indices

    def each(self, model: nn.Module, x: Tensor, see: Callable[[int, Tensor], None]) -> None:
        """Run the model over ``x`` and show ``see`` the (n, D) feature of every layer, of which nothing is kept."""
        with torch.no_grad():
            for batch in x.split(self.batch_size):

                def show(index: int, feature: Tensor, n: int = len(batch)) -> Tensor:
                    rows = self.layers.at(index).by_example(feature, n, raw=self.at == "conv")
                    see(index, flat(rows, f"layer {index}"))
                    return feature.new_empty(0)

                with features(model, self.layers, self.indices, at=self.at, transform=show):
                    model(batch)


def _measured(
    model: nn.Module, place: _Place, x: Tensor, y: Tensor, estimator: AbstractDependence, seed: Seed, progress: Progress
) -> ConnectivityResult:
    labels, counts = torch.unique(y, return_counts=True)
    found: dict[int, dict[int, tuple[Raw, int]]] = {j: {} for j in place.indices[1:]}
    left_out: dict[int, dict[int, str]] = {j: {} for j in place.indices[1:]}
    done = 0
    with quiet(model):
        for label, n in zip(labels.tolist(), counts.tolist(), strict=True):
            done += n
            if n < estimator.fewest:
                for part in left_out.values():
                    part[label] = f"{n} examples, and {estimator.name} needs {estimator.fewest}"
                continue
            for j, raw in _within(model, place, x[(y == label).to(x.device)], estimator, seed / label).items():
                if isinstance(raw, str):
                    left_out[j][label] = raw
                else:
                    found[j][label] = raw, n
            progress("connectivity", done, len(y))
    kept = tuple(j for j in found if found[j])
    estimates = tuple(combine(estimator.name, estimator.unit, found[j], left_out[j], conditional=True) for j in kept)
    notes = tuple(_notes(place.indices[1:], kept, estimates, left_out))
    return ConnectivityResult(kept, estimates, notes, len(x), len(place.layers))


def _within(model: nn.Module, place: _Place, x: Tensor, estimator: AbstractDependence, seed: Seed) -> dict[int, Raw | str]:
    """What was found in one class for each layer but the first, or why nothing was."""
    moments = {index: Moments() for index in place.indices}
    if estimator.moments:
        place.each(model, x, lambda index, rows: moments[index].see(rows))
    else:
        place.each(model, x[:1], lambda index, rows: moments[index].see(rows, spread=False))
    pairs = dict(zip(place.indices[1:], place.indices, strict=False))  # layer -> the one before it
    shapes: dict[int, Shapes] = {j: (moments[i], moments[j]) for j, i in pairs.items()}
    # All pairs share one seed, so that equal layers are reduced alike.
    reductions: dict[int, tuple[Reduction, Reduction]] = {j: estimator.reductions(s, seed / "reduce") for j, s in shapes.items()}
    kept = {j: (Rows(), Rows()) for j in pairs}
    behind = {i: j for j, i in pairs.items()}

    def keep(index: int, rows: Tensor) -> None:
        if index in behind:
            kept[behind[index]][0].add(reductions[behind[index]][0](rows), len(x))
        if index in pairs:
            kept[index][1].add(reductions[index][1](rows), len(x))

    place.each(model, x, keep)
    result: dict[int, Raw | str] = {}
    for j in pairs:
        a, b = (rows.columns() for rows in kept.pop(j))
        try:
            result[j] = estimator.within(a, b, shapes[j], seed / j)
        except InputError as error:
            result[j] = str(error)
    return result


def _notes(
    asked: tuple[int, ...], kept: tuple[int, ...], estimates: tuple[Estimate, ...], left_out: Mapping[int, Mapping[int, str]]
) -> Iterable[str]:
    """Sentences on what was left out and on estimates that say little."""
    for text, where in _grouped(left_out).items():
        classes = {label for label, _ in where}
        spots = sorted({j for _, j in where})
        there = "" if spots == list(asked) else f" in layer{'s' * (len(spots) > 1)} {_list(spots)}"
        yield f"connectivity: class{'es' * (len(classes) > 1)} {_list(classes)} left out{there} ({text})"
    if missing := [j for j in asked if j not in kept]:
        yield f"connectivity: nothing could be measured in layer{'s' * (len(missing) > 1)} {_list(missing)}"
    for verdict, meaning in (
        ("indistinguishable from independence", "the same data with its rows permuted reads as much"),
        ("saturated", "independent data would already read half of the ceiling, or the estimate is at it: compare the excess"),
    ):
        spots = [j for j, e in zip(kept, estimates, strict=True) if e.verdict == verdict]
        if spots:
            yield f"connectivity: {estimates[0].measure} is {verdict} in layer{'s' * (len(spots) > 1)} {_list(spots)}; {meaning}"


def _grouped(left_out: Mapping[int, Mapping[int, str]]) -> dict[str, list[tuple[int, int]]]:
    groups: dict[str, list[tuple[int, int]]] = {}
    for j, reasons in left_out.items():
        for label, text in reasons.items():
            groups.setdefault(text, []).append((label, j))
    return groups


def _list(numbers: Iterable[int]) -> str:
    """1, 2, 3, 7 as "1–3, 7"."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}–{b}" for a, b in runs)


def connectivity(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    dependence: AbstractDependence | None = None,
    threat: AbstractBall | None = None,
    seed: int | Seed = 0,
    x_adv: Tensor | None = None,
    layers: LayerMap | None = None,
    at: Place = "conv",
    batch_size: int = 64,
    progress: Progress = silent,
) -> ConnectivityResult:
    """Class-conditional dependence between every pair of consecutive layers of ``model`` (:class:`Connectivity`).

    Args:
        model: gives logits (N, C); in eval mode. It is left as it was.
        x: (N, ...) pixels in [0, 1].
        y: (N,) true labels.
        dependence: any measure of dependence; EDGE as the semirobustness paper runs it where None.
        threat: with it, measured on the adversarial examples that PGD-10 finds; on ``x`` itself without.
        seed: of the attack, the permutations and the estimator.
        x_adv: perturbed inputs to use instead.
        layers: a layer map, where another than ``layer_map(model, x)`` is wanted.
        at, batch_size: as in :class:`Connectivity`.
        progress: told after each class.

    Raises:
        InputError: one of the arguments is not as described. Classes of too few examples are left out with a note.
    """
    seed = as_seed(seed)
    check_mode(model)
    if x_adv is None:
        check_examples(x, y)
        probe(model, x, y)
        if threat is not None:
            x = PGD(threat, steps=10)(model, x, y, seed=seed / "attack")
    else:
        check_floating(x_adv, "x_adv")
        check_labels(y, len(x_adv))
        check_dtype(model, x_adv, "x_adv")
        x = x_adv
    place = _Place(layer_map(model, x) if layers is None else layers, at, batch_size)
    return _measured(model, place, x, y, dependence or EDGE(version="paper"), seed, progress)
