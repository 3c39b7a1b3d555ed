"""Layer criticality: by which factor a layer changes the weakness of the feature before it."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from semirobust.attacks.pgd import PGD
from semirobust.core.checks import (
    check_dtype,
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
from semirobust.layers.features import Place, check_place, features, indices_at
from semirobust.layers.layer import Layer, LayerMap
from semirobust.layers.map import layer_map
from semirobust.layers.quiet import quiet
from semirobust.layers.reach import without_effect
from semirobust.layers.scores import Floats, LayerScores
from semirobust.measures import MEASURES
from semirobust.measures.base.bootstrap import bootstrap_means
from semirobust.measures.base.measure import AbstractLayerMeasure, MeasureContext
from semirobust.measures.base.results import CriticalityResult
from semirobust.threats import AbstractBall

__all__ = ["Criticality", "CriticalityResult", "First", "Form", "Scale", "criticality"]

Scale = Literal["paper", "rms", "relative"]
Form = Literal["distance", "curvature"]
First = Literal["weakness", "input"]
_ULPS = 16  # what moves by fewer units in the last place moves by rounding alone


@MEASURES.register("criticality")
@dataclass(frozen=True)
class Criticality(AbstractLayerMeasure):
    """C_1 = W(F_1), C_i = W(F_i) / W(F_b(i)), W(F_i) = 1/N_i E_x ||F_i(x + delta) - F_i(x)||_2.

    Source: CLAT (Gopal et al.), equations 2 and 3, with one delta for all layers: the perturbation of an
    attack on the model's output. It takes two forward passes.

    b(i) is the layer before, i-1 in the paper's chains. Where layers run beside each other it is the last one
    that the input of layer i depends on (ours), and layers that all take the image are C_i = W(F_i). Layers
    whose outputs meet at one place have one feature, and so one weakness. There is no number (NaN) where the
    feature before moves by rounding at most, since x / 0 says nothing, and where the feature does not depend
    on what the layer computes, as in a branch behind a norm of weight 0.

    With ``first = "input"`` C_1 = W(F_1) / W(x), where W(x) is that of the image as its own feature F_0, and
    the product of all C is W(F_i) / W(x). The paper prints C_1 = W(F_1), which on images of many values makes
    the first layer score low for its size alone.

    The form ``curvature`` (equation 9) has ||J_i(x')^T (F_i(x') - F_i(x))||_2 / ||x' - x||_2 in place of the
    distance, J_i the Jacobian of F_i. It is computed exactly, by one vector-Jacobian product for each layer.
    The paper derives the distance from it and leaves its use in networks of mixed layers, such as
    transformers, to future work. It grows with N_i and not with its root.

    Args:
        form: ``distance`` or ``curvature``.
        scale: ``paper`` divides by N_i, the size of the feature. A 2-norm grows with the root of N_i, so a
            layer with a smaller feature than the one before scores high for that alone. ``rms`` divides by
            the root of N_i and ``relative`` by E ||F_i(x)||_2 instead (ours). For the curvature ``paper`` and
            ``rms`` divide by N_i, ``relative`` by E ||F_i(x)||_2^2.
        at: where the feature of layer i is taken: the ``input`` of layer i+1, the raw ``conv`` output, or the
            ``input`` behind the ends of a ``block`` only; b(i) is then the end of the block before.
        first: what C is of a layer that takes the image: its ``weakness`` as printed, or that relative to the
            ``input`` (ours).
        batch_size: examples in a forward pass, and the unit that the bootstrap draws; with fewer than eight
            batches it draws single examples.
        resamples: of the bootstrap.
    """

    scale: Scale = "paper"
    at: Place = "input"
    form: Form = "distance"
    batch_size: int = 64
    resamples: int = 1000
    first: First = "weakness"

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.resamples < 1:
            given = f"{self.batch_size} and {self.resamples}"
            raise InputError(f"batch_size and resamples: expected at least 1, got {given}")
        check_place(self.at)

    def scores(self, context: MeasureContext) -> list[LayerScores]:
        result = self.measure(
            context.model,
            context.layers,
            context.x,
            context.x_adv,
            seed=context.seed,
            progress=context.progress,
        )
        weakness = LayerScores.without_interval(
            "weakness",
            result.weakness,
            indices=result.indices,
            examples=result.examples,
            layers=result.layers,
        )
        return [result.scores(), weakness]

    def measure(
        self,
        model: nn.Module,
        layers: LayerMap,
        x: Tensor,
        x_adv: Tensor,
        *,
        seed: Seed,
        progress: Progress = silent,
    ) -> CriticalityResult:
        """Criticality from clean ``x`` and perturbed ``x_adv`` (N, ...)."""
        changes, size = self.per_example(model, layers, x, x_adv, progress)
        indices = indices_at(layers, self.at)
        divisor = self._divisors(layers, indices)
        # With few batches a bootstrap over them would be too coarse.
        unit = self.batch_size if len(x) >= 8 * self.batch_size else 1
        draws = bootstrap_means(np.stack([changes, size]), unit, self.resamples, seed)
        before = _before(layers, indices)
        boot = _ratio(self._weakness(draws[0], draws[1], divisor, 1), before)
        whole = self._weakness(changes.sum(0), size.sum(0), divisor, len(x))
        moved = self._moved(changes.sum(0), size.sum(0), x.dtype)
        still = () if self.at == "conv" else without_effect(model, layers, x, indices)
        # The feature may move all the same, which counts for the layers behind it.
        values = _ratio(np.where(moved, whole, 0.0), before)
        weakness, image_moves = whole[: len(indices)], bool(moved[len(indices) :].all())
        moved = moved[: len(indices)]
        unknown = np.isin(indices, still) | (np.isnan(values) & ~moved) | ~np.isfinite(weakness)
        values[unknown] = weakness[unknown] = np.nan
        missing = np.isnan(values)
        low, high = (np.where(missing, np.nan, np.quantile(boot, q, axis=0)) for q in (0.025, 0.975))
        return CriticalityResult(
            indices=indices,
            values=values,
            low=low,
            high=high,
            weakness=weakness,
            examples=len(x),
            layers=len(layers),
            notes=tuple(_notes(still, indices, missing, np.append(moved, image_moves)[before])),
            names=layers.names(indices),
        )

    def index(
        self, layers: LayerMap, changes: Floats, size: Floats, dtype: torch.dtype = torch.float64
    ) -> LayerScores:
        """The criticality, without an interval, from some rows of what :meth:`per_example` gives of images of
        this ``dtype``.
        """
        indices = indices_at(layers, self.at)
        divisor = self._divisors(layers, indices)
        weakness = self._weakness(changes.sum(0), size.sum(0), divisor, len(changes))
        moved = self._moved(changes.sum(0), size.sum(0), dtype)
        values = _ratio(np.where(moved, weakness, 0.0), _before(layers, indices))
        return LayerScores.without_interval(
            "criticality", values, indices=indices, examples=len(changes), layers=len(layers)
        )

    def per_example(
        self, model: nn.Module, layers: LayerMap, x: Tensor, x_adv: Tensor, progress: Progress = silent
    ) -> tuple[Floats, Floats]:
        """Change and size of the feature for each example and layer: (N, L) each.

        The change is the numerator of the weakness: the distance, or the curvature. Relative to the input
        there is one more column, that of the image, whose change is divided as its weakness is.
        """
        changes, sizes, indices = [], [], indices_at(layers, self.at)
        with quiet(model), features(model, layers, at=self.at) as tape:
            for start in range(0, len(x), self.batch_size):
                rows = slice(start, start + self.batch_size)
                with torch.no_grad():
                    model(x[rows])
                # By index, since where layers meet features are recorded in another order.
                clean = {i: tape[i] for i in indices}
                change = self._changes(model, layers, tape, clean, x[rows], x_adv[rows])
                changes.append(torch.stack(change, 1))
                lengths = torch.stack([self._length(layers.at(i), clean[i], len(x[rows])) for i in clean], 1)
                sizes.append(lengths if self.form == "distance" else lengths.square())
                progress("criticality", min(start + self.batch_size, len(x)), len(x))
        found = torch.cat(changes).cpu().numpy(), torch.cat(sizes).cpu().numpy()
        if self.first == "weakness":
            return found
        image = self.of_image(x, x_adv)
        return np.column_stack([found[0], image[0]]), np.column_stack([found[1], image[1]])

    def of_image(self, x: Tensor, x_adv: Tensor) -> tuple[Floats, Floats]:
        """Change, divided as its weakness is, and size of each image as the feature before the first layer:
        (N,) each.
        """
        n = x[0].numel()
        distance, size = ((t.flatten(1).double()).norm(dim=1).cpu().numpy() for t in (x_adv - x, x))
        if self.form == "curvature":  # the Jacobian of the image is the identity
            return (distance > 0) / (1 if self.scale == "relative" else n), np.square(size)
        return distance / {"paper": n, "rms": np.sqrt(n), "relative": 1}[self.scale], size

    def _changes(
        self,
        model: nn.Module,
        layers: LayerMap,
        tape: dict[int, Tensor],
        clean: dict[int, Tensor],
        x: Tensor,
        x_adv: Tensor,
    ) -> list[Tensor]:
        """For each layer the distance between the features of each example, or the curvature: (n,)."""
        if self.form == "distance":
            with torch.no_grad():
                model(x_adv)
            return [self._length(layers.at(i), tape[i] - clean[i], len(x)) for i in clean]
        inputs = x_adv.detach().requires_grad_()
        with torch.enable_grad():
            model(inputs)
        distance = torch.linalg.vector_norm((x_adv - x).flatten(1).double(), dim=1)
        curvatures = []
        found = {i: tape[i] for i in clean}
        for i, feature in found.items():
            difference = (feature - clean[i]).detach()
            if not feature.requires_grad:
                raise InputError(
                    f"form: expected distance, because the feature of layer {i} has no gradient in the image"
                )
            (product,) = torch.autograd.grad(feature, inputs, difference, retain_graph=True)
            length = torch.linalg.vector_norm(product.flatten(1).double(), dim=1)
            # An example that the attack did not change has no direction, and counts 0.
            curvatures.append(torch.where(distance > 0, length / distance, 0.0))
        return curvatures

    def _length(self, layer: Layer, feature: Tensor, n: int) -> Tensor:
        return torch.linalg.vector_norm(layer.per_example(feature, n, raw=self.at == "conv").double(), dim=1)

    def _divisors(self, layers: LayerMap, indices: Sequence[int]) -> Floats:
        # A distance grows with the root of the number of values, a curvature with the number itself.
        counts = np.array([_size(layers.at(index), self.at) for index in indices], dtype=np.float64)
        divisors = counts if self.scale == "paper" or self.form == "curvature" else np.sqrt(counts)
        return divisors if self.first == "weakness" else np.append(divisors, 1.0)

    def _weakness(self, changes: Floats, size: Floats, divisor: Floats, n: int) -> Floats:
        """W (..., L) of each layer from sums (..., L) over ``n`` examples."""
        if self.scale != "relative":
            return changes / n / divisor
        return np.divide(changes, size, out=np.full_like(changes, np.nan), where=size > 0)

    def _moved(self, changes: Floats, size: Floats, dtype: torch.dtype) -> NDArray[np.bool_]:
        """Which features move by more than rounding, (L,), from sums over examples."""
        least = _ULPS * torch.finfo(dtype).eps if self.form == "distance" else 0.0
        return changes > least * size


def _notes(
    still: Collection[int], indices: Sequence[int], missing: NDArray[np.bool_], moved: NDArray[np.bool_]
) -> Iterator[str]:
    """Why layers have no number; ``moved`` is of the feature before each."""
    others = [(i, k) for i, none, k in zip(indices, missing, moved, strict=True) if none and i not in still]
    reasons = (
        (still, "with the weights of now what such a layer computes does not reach its feature"),
        ([i for i, k in others if not k], "the attack does not move the feature before such a layer"),
        ([i for i, k in others if k], "its feature, or the one before, is 0 or not finite"),
    )
    for layers, text in reasons:
        if layers:
            yield f"criticality: no number in {listed(layers, 'layer')}, because {text}"


def _size(layer: Layer, at: Place) -> int:
    return int(np.prod(layer.output_shape)) if at == "conv" else layer.features


def _before(layers: LayerMap, indices: tuple[int, ...]) -> list[int]:
    """For each layer the position of the one before it; -1 where there is none."""
    return [indices.index(b) if (b := layers.before(i, indices)) else -1 for i in indices]


def _ratio(weakness: Floats, before: list[int]) -> Floats:
    """C from W along the last dimension; NaN where the weakness before is 0.

    Behind the layers W may have one more column, which is that before the first ones; else it is 1.
    """
    ones = np.ones_like(weakness[..., :1])
    weakness, image = weakness[..., : len(before)], weakness[..., len(before) :]
    previous = np.concatenate([weakness, image, ones], -1)[..., : len(before) + 1][..., before]
    return np.divide(weakness, previous, out=np.full_like(weakness, np.nan), where=previous > 0)


@anywhere
@on_classifiers("model", layers=True)
def criticality(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    threat: AbstractBall | None = None,
    seed: int | Seed = 0,
    x_adv: Tensor | None = None,
    layers: LayerMap | None = None,
    scale: Scale = "paper",
    at: Place = "input",
    form: Form = "distance",
    batch_size: int = 64,
    first: First = "weakness",
) -> CriticalityResult:
    """Criticality of every layer of ``model`` (:class:`Criticality`).

    Args:
        model: gives logits (N, C); in eval mode. It is left as it was.
        x: (N, ...) pixels in [0, 1] (any finite values where ``x_adv`` is given).
        y: (N,) true labels.
        threat: the perturbations allowed; PGD-10 with a random start attacks. Not needed with ``x_adv``.
        seed: of the attack and the bootstrap.
        x_adv: perturbed inputs to use in place of an attack.
        layers: a layer map, where another than ``layer_map(model, x)`` is wanted.
        scale, at, form, batch_size, first: as in :class:`Criticality`.

    Raises:
        InputError: one of the arguments is not as described, or neither ``threat`` nor ``x_adv`` is given.
    """
    measure, seed = Criticality(scale, at, form, batch_size, first=first), as_seed(seed)
    check_mode(model)
    if x_adv is not None:
        check_floating(x)
        check_floating(x_adv, "x_adv")
        check_labels(y, len(x))
        check_dtype(model, x)
        check_dtype(model, x_adv, "x_adv")
        if layers is None:
            with quiet(model):
                probe(model, x, y)
        if x_adv.shape != x.shape:
            raise InputError(f"x_adv: expected the shape of x {tuple(x.shape)}, got {tuple(x_adv.shape)}")
    else:
        check_examples(x, y)
        if not isinstance(threat, AbstractBall):
            raise InputError(f"threat: expected a threat model such as Linf(8/255), or x_adv; got {threat!r}")
        attack = PGD(threat, steps=10)
        x_adv = attack.in_batches(model, x, y, seed=seed / "attack", batch_size=batch_size)
    return measure.measure(model, layers or layer_map(model, x), x, x_adv, seed=seed / "bootstrap")
