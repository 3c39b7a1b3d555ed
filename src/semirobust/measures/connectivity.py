"""Dependence between consecutive layers, within each class."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from semirobust.attacks.pgd import PGD
from semirobust.core.checks import (
    check_counts,
    check_examples,
    check_floating,
    check_labels,
    check_mode,
    probe,
)
from semirobust.core.classifiers import on_classifiers
from semirobust.core.errors import InputError
from semirobust.core.plain import anywhere
from semirobust.core.progress import Progress, silent
from semirobust.core.seed import Seed, as_seed
from semirobust.core.text import listed
from semirobust.dependence import DEPENDENCES, AbstractDependence
from semirobust.dependence.base.alike import Alike
from semirobust.dependence.base.dependence import Sample
from semirobust.dependence.base.estimate import Estimate, Raw, combine
from semirobust.dependence.base.reduction import Moments, flat
from semirobust.dependence.edge import EDGE
from semirobust.layers.features import Place, check_place, features, indices_at
from semirobust.layers.map import LayerMap, layer_map
from semirobust.layers.quiet import quiet
from semirobust.layers.scores import LayerScores
from semirobust.measures import MEASURES
from semirobust.measures.base.measure import AbstractLayerMeasure, MeasureContext
from semirobust.measures.base.results import ConnectivityResult
from semirobust.threats import AbstractBall

__all__ = ["Connectivity", "ConnectivityResult", "connectivity"]


@MEASURES.register("connectivity")
@dataclass(frozen=True)
class Connectivity(AbstractLayerMeasure):
    """rho_j = sum_c pi(c) I(F_{j-1}; F_j | Y = c), beside the value of the estimator on permuted examples.

    Source: the semirobustness paper, assumption A1. It estimates rho_j by EDGE on adversarial test images and
    the raw outputs of convolutions and linear modules; those are the defaults. Classes are measured one after
    the other. Their features come in batches, of which only what the estimator needs is stored. That takes
    two forward passes for EDGE and one for the others.

    Args:
        dependence: the name of the estimator.
        settings: its fields; ``version = "paper"`` is the default for EDGE.
        at: where features are taken: ``conv``, ``input`` of the next layer, or ends of a ``block``.
        inputs: ``adversarial`` or ``clean``.
        batch_size: examples in a forward pass.
        against: a layer that each later one is measured against, such as the last of a prefix; where None
            each is measured against the one before it, which it depends on in any network.
    """

    dependence: str = "edge"
    settings: Mapping[str, Any] = field(default_factory=dict)
    at: Place = "conv"
    inputs: Literal["adversarial", "clean"] = "adversarial"
    batch_size: int = 64
    against: int | None = None

    def __post_init__(self) -> None:
        check_counts(1, **({} if self.against is None else {"against": self.against}))
        _Spots(LayerMap(()), self.at, self.batch_size)
        self.estimator()

    def estimator(self) -> AbstractDependence:
        """The measure of dependence with its settings."""
        default = {"version": "paper"} if self.dependence == "edge" else {}
        return DEPENDENCES.make(self.dependence, default | dict(self.settings))

    def scores(self, context: MeasureContext) -> list[LayerScores]:
        inputs = context.x_adv if self.inputs == "adversarial" else context.x
        spots = _Spots(context.layers, self.at, self.batch_size, self.against)
        estimator = self.estimator()
        return _measured(
            context.model, spots, inputs, context.y, estimator, context.seed, context.progress
        ).scores()


@dataclass(frozen=True)
class _Spots:
    """The features that are measured, and how many examples are passed at a time."""

    layers: LayerMap
    at: Place
    batch_size: int
    against: int | None = None

    def __post_init__(self) -> None:
        check_place(self.at)
        check_counts(1, batch_size=self.batch_size)

    @property
    def indices(self) -> tuple[int, ...]:
        return indices_at(self.layers, self.at)

    @property
    def pairs(self) -> dict[int, int]:
        """Layer -> the layer that it is measured against: the last one before it that it depends on, or the
        same one for all behind that.
        """
        if self.against is not None:
            if self.against not in self.indices or self.against == self.indices[-1]:
                raise InputError(
                    f"against: expected a layer that is measured and has one behind it, such as"
                    f" {self.indices[0]}; got {self.against}"
                )
            return {j: self.against for j in self.indices if j > self.against}
        before = {j: self.layers.before(j, self.indices) for j in self.indices}
        return {j: i for j, i in before.items() if i}

    def each(self, model: nn.Module, x: Tensor, see: Callable[[int, Tensor], None]) -> None:
        """Run the model over ``x`` and give the (n, D) feature of every layer to ``see``; none is stored."""
        with torch.no_grad():
            for batch in x.split(self.batch_size):

                def show(index: int, feature: Tensor, n: int = len(batch)) -> Tensor:
                    rows = self.layers.at(index).per_example(feature, n, raw=self.at == "conv")
                    see(index, flat(rows, f"layer {index}"))
                    return feature.new_empty(0)  # what the tape would store

                with features(model, self.layers, self.indices, at=self.at, transform=show):
                    model(batch)


def _measured(
    model: nn.Module,
    spots: _Spots,
    x: Tensor,
    y: Tensor,
    estimator: AbstractDependence,
    seed: Seed,
    progress: Progress,
) -> ConnectivityResult:
    labels, counts = torch.unique(y, return_counts=True)
    measured: dict[int, dict[int, tuple[Raw, int]]] = {j: {} for j in spots.pairs}
    left_out: dict[int, dict[int, str]] = {j: {} for j in spots.pairs}
    done = 0
    with quiet(model):
        for label, n in zip(labels.tolist(), counts.tolist(), strict=True):
            done += n
            results: Mapping[int, Raw | str]
            if n < estimator.min_examples:
                reason = f"fewer than the {estimator.min_examples} examples that {estimator.name} needs"
                results = dict.fromkeys(measured, reason)
            else:
                results = _within(model, spots, x[(y == label).to(x.device)], estimator, seed / label)
            for j, result in results.items():
                if isinstance(result, str):
                    left_out[j][label] = result
                else:
                    measured[j][label] = result, n
            progress("connectivity", done, len(y))
    indices = tuple(j for j in measured if measured[j])
    estimates = tuple(
        combine(estimator.name, estimator.unit, measured[j], left_out[j], conditional=True) for j in indices
    )
    notes = tuple(_notes(tuple(measured), indices, estimates, left_out))
    # The first has none before it in any network.
    alone = [j for j in spots.indices[1:] if j not in spots.pairs] if spots.against is None else []
    if alone:
        depend = "depends" if len(alone) == 1 else "depend"
        notes += (f"connectivity: {listed(alone, 'layer')} {depend} on no layer before it",)
    return ConnectivityResult(
        indices,
        tuple(spots.pairs[j] for j in indices),
        estimates,
        notes,
        len(x),
        len(spots.layers),
        spots.layers.names(indices),
    )


def _within(
    model: nn.Module, spots: _Spots, x: Tensor, estimator: AbstractDependence, seed: Seed
) -> Mapping[int, Raw | str]:
    """The result in one class for each layer but the first, or the reason why there is none."""
    moments = {index: Moments() for index in spots.indices}
    alike = {index: Alike() for index in spots.indices}
    first = x if estimator.moments else x[:1]  # one example tells the widths, which reductions need
    spots.each(model, first, lambda index, rows: moments[index].see(rows, spread=estimator.moments))
    # All pairs have the same seed, so that equal layers have equal reductions.
    samples = {
        j: Sample(estimator, seed / "reduce", (moments[i], moments[j])) for j, i in spots.pairs.items()
    }
    following: dict[int, list[int]] = {}
    for j, i in spots.pairs.items():
        following.setdefault(i, []).append(j)

    def store(index: int, rows: Tensor) -> None:
        alike[index].see(rows)
        if not estimator.moments:
            moments[index].see(rows, spread=False)
        # A layer is the second side of its own pair and the first side of those behind it.
        for j in following.get(index, ()):
            samples[j].add(0, rows)
        if index in samples:
            samples[index].add(1, rows)

    spots.each(model, x, store)
    result: dict[int, Raw | str] = {}
    for j in spots.pairs:
        sample, before = samples.pop(j), alike[spots.pairs[j]].so_far
        if before or alike[j].so_far:
            result[j] = f"the layer {'before ' if before else ''}is the same for all images"
            continue
        try:
            result[j] = sample.measured(seed / j)
        except InputError as error:
            result[j] = str(error)
    return result


def _notes(
    asked: tuple[int, ...],
    measured: tuple[int, ...],
    estimates: tuple[Estimate, ...],
    left_out: Mapping[int, Mapping[int, str]],
) -> Iterator[str]:
    """Sentences on what was left out, and on estimates that say little."""
    # One sentence for all classes that are left out of the same layers for the same reason.
    where: dict[tuple[int, str], list[int]] = {}
    for j, reasons in left_out.items():
        for label, text in reasons.items():
            where.setdefault((label, text), []).append(j)
    groups: dict[tuple[str, tuple[int, ...]], list[int]] = {}
    for (label, text), spots in where.items():
        groups.setdefault((text, tuple(spots)), []).append(label)
    for (text, layers), classes in groups.items():
        in_layers = "" if layers == asked else f" in {listed(layers, 'layer')}"
        yield f"connectivity: {listed(classes, 'class')} left out{in_layers} ({text})"
    if missing := [j for j in asked if j not in measured]:
        yield f"connectivity: nothing could be measured in {listed(missing, 'layer')}"
    for verdict, meaning in (
        ("indistinguishable from independence", "the same data with its rows permuted reads as much"),
        (
            "saturated",
            (
                "independent data would already read half of the ceiling, or the estimate is at it: compare"
                " the excess"
            ),
        ),
        ("not tested", "that takes 19 permutations or more"),
    ):
        if concerned := [j for j, e in zip(measured, estimates, strict=True) if e.verdict == verdict]:
            layers_ = listed(concerned, "layer")
            yield f"connectivity: {estimates[0].measure} is {verdict} in {layers_}; {meaning}"


@anywhere
@on_classifiers("model", layers=True)
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
    against: int | None = None,
    progress: Progress = silent,
) -> ConnectivityResult:
    """Class-conditional dependence between every pair of consecutive layers of ``model``
    (:class:`Connectivity`).

    Args:
        model: gives logits (N, C); in eval mode. It is left as it was.
        x: (N, ...) pixels in [0, 1].
        y: (N,) true labels.
        dependence: any measure of dependence; EDGE as the semirobustness paper runs it where None.
        threat: with it, measured on adversarial examples by PGD-10; without it on ``x``. Not together with
            ``x_adv``.
        seed: of the attack, the permutations and the estimator.
        x_adv: perturbed inputs to use in place of ``x``.
        layers: a layer map, where another than ``layer_map(model, x)`` is wanted.
        at, batch_size, against: as in :class:`Connectivity`.
        progress: told after each class.

    Raises:
        InputError: one of the arguments is not as described. Classes of too few examples are left out with a
            note.
    """
    seed, estimator = as_seed(seed), EDGE(version="paper") if dependence is None else dependence
    if not isinstance(estimator, AbstractDependence):
        raise InputError(f"dependence: expected a measure of dependence such as CKA(), got {estimator!r}")
    check_mode(model)
    if x_adv is None:
        check_examples(x, y)
    else:
        if threat is not None:
            raise InputError("threat: expected none beside x_adv, whose perturbations are given")
        check_floating(x_adv, "x_adv")
        check_labels(y, len(x_adv))
        x = x_adv
    y = y.to(x.device)
    probe(model, x, y)
    if threat is not None:
        x = PGD(threat, steps=10)(model, x, y, seed=seed / "attack")
    spots = _Spots(layer_map(model, x) if layers is None else layers, at, batch_size, against)
    return _measured(model, spots, x, y, estimator, seed, progress)
