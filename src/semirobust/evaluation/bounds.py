"""Bounds on the difference in loss between two networks that differ in some layers only."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semirobust.core.checks import check_examples, check_mode, probe
from semirobust.core.classifiers import on_classifiers
from semirobust.core.errors import InputError
from semirobust.core.plain import anywhere
from semirobust.core.seed import Seed, as_seed
from semirobust.core.shown import AbstractResult
from semirobust.core.table import Table
from semirobust.layers.layer import Layer, LayerMap
from semirobust.layers.map import layer_map
from semirobust.layers.quiet import quiet
from semirobust.layers.sites import first_tensor, watched

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PerformanceBounds", "performance_bounds", "sharpness"]

_BATCH = 128


@dataclass(frozen=True, eq=False, repr=False)
class PerformanceBounds(AbstractResult):
    """Two bounds and the quantities that they bound, on the same examples.

    Attributes:
        loss: mean cross entropy of the other network minus that of the reference, nats.
        gradient_term: g·d, the linear term that bound (a) drops. g is the gradient of the reference's loss,
            d the difference of parameters.
        sharpness: largest eigenvalue of the reference's Hessian in the parameters that differ.
        distance: Euclidean length of d.
        quadratic: bound (a), sharpness / 2 * distance^2, on ``loss``.
        output: root of the mean squared distance of the two networks' logits; it bounds the mean difference
            of a logit.
        peeling: bound (b) as the paper has it, on ``output``.
        telescoped: the same sum without the assumption that the other network's weights are no larger.
        buffers: whether batch statistics differ too. Neither bound takes these into account.
    """

    loss: float
    gradient_term: float
    sharpness: float
    distance: float
    quadratic: float
    output: float
    peeling: float
    telescoped: float
    buffers: bool

    def table(self) -> Table:
        rows = [
            (
                "a, quadratic",
                "difference of the losses (nats)",
                self.loss,
                self.quadratic,
                self.quadratic_holds,
            ),
            ("b, as in the paper", "distance of the logits", self.output, self.peeling, self.peeling_holds),
            (
                "b, without its assumption",
                "distance of the logits",
                self.output,
                self.telescoped,
                self.output <= self.telescoped,
            ),
        ]
        kept = sum(row[-1] for row in rows)
        note = "batch statistics differ too, which neither bound takes into account"
        return Table(
            f"{kept} of {len(rows)} bounds hold",
            {"bound": "text", "of": "text", "value": "number", "at_most": "number", "holds": "flag"},
            rows,
            {"sharpness": self.sharpness, "distance": self.distance, "gradient term": self.gradient_term},
            [note] if self.buffers else [],
        )

    @staticmethod
    def drawn(table: Table) -> "Figure":
        from semirobust.figures import Points, points

        rows = [f"{row['bound']}: {row['of']}" for row in table.dicts()]
        series = [Points("measured", table.column("value")), Points("at most", table.column("at_most"))]
        return points(rows, series, x_label="nats, or distance", percent=False)

    @property
    def quadratic_holds(self) -> bool:
        return self.loss <= self.quadratic

    @property
    def peeling_holds(self) -> bool:
        return self.output <= self.peeling


@anywhere
@on_classifiers("other", "reference", layers=True)
def performance_bounds(
    other: nn.Module,
    reference: nn.Module,
    x: Tensor,
    y: Tensor,
    layers: Iterable[int],
    *,
    lipschitz: float = 1.0,
    curvature: float | None = None,
    seed: int | Seed = 0,
    layer_map_: LayerMap | None = None,
) -> PerformanceBounds:
    """The two bounds on the performance difference of the semirobustness paper (section 2.2), and the
    difference itself.

    (a) l(w') - l(w) <= sharpness / 2 * ||w' - w||^2: a Taylor series at w cut after its second term. It needs
    w to be stationary (``gradient_term`` is then near 0) and w' to be near w.

    (b) ||f'(x) - f(x)|| <= C^(n-1) ||x|| prod_j ||W_j|| sum_j ||W'_j - W_j|| / ||W_j||, Frobenius norms, C
    the Lipschitz constant of the activation. It holds for chains of linear layers without bias or norm whose
    activation keeps 0, and where ||W'_j|| <= ||W_j||. The norm of a convolution's kernel does not bound the
    convolution, so for convolutions (b) is a number to compare and not a bound.

    Args:
        other: the network that differs from ``reference`` in ``layers``, such as a semirobust one.
        reference: the robust network; both give logits (N, C) and are in eval mode. They are left as they
            were.
        x: (N, ...) the inputs of both, such as adversarial examples of the reference.
        y: (N,) labels.
        layers: the layers that differ.
        lipschitz: C; 1 for ReLU.
        curvature: the reference's ``sharpness``, where it is known.
        seed: of the vector from which the eigenvalue is iterated.
        layer_map_: the layer map of both, where another than ``layer_map(reference, x)`` is wanted.
    """
    check_examples(x, y)
    check_mode(other)
    check_mode(reference)
    all_layers = layer_map(reference, x[:1]) if layer_map_ is None else layer_map_
    indices = tuple(sorted({all_layers.at(i).index for i in layers}))
    names = all_layers.parameters(indices)
    old, new = dict(reference.named_parameters()), dict(other.named_parameters())
    _check_alike(old, new, set(names))
    probe(reference, x, y)
    difference = [new[name].detach() - old[name].detach() for name in names]
    distance = math.sqrt(sum(float(d.cpu().double().square().sum()) for d in difference))
    top = sharpness(reference, x, y, names, seed=seed) if curvature is None else curvature
    gradient = _gradient(reference, x, y, names)
    loss, logits = _loss(reference, x, y)
    loss_other, logits_other = _loss(other, x, y)
    peeling, telescoped = _peeling(other, reference, x, all_layers, indices, lipschitz)
    return PerformanceBounds(
        loss=loss_other - loss,
        gradient_term=sum(
            float((g * d).cpu().double().sum()) for g, d in zip(gradient, difference, strict=True)
        ),
        sharpness=top,
        distance=distance,
        quadratic=top / 2 * distance**2,
        output=float((logits_other - logits).cpu().double().square().sum(1).mean().sqrt()),
        peeling=peeling,
        telescoped=telescoped,
        buffers=_buffers_differ(other, reference),
    )


def _check_alike(old: dict[str, nn.Parameter], new: dict[str, nn.Parameter], free: set[str]) -> None:
    """Raise where two networks differ in build, or in other parameters than ``free``."""
    for name, value in old.items():
        if name not in new or new[name].shape != value.shape:
            raise InputError(
                f"other: expected a network of the same build as the reference, but {name} differs in shape"
                " or is missing"
            )
        if name not in free and not torch.equal(value, new[name].to(value)):
            raise InputError(f"layers: expected all that differ, but {name} differs too")


@anywhere
@on_classifiers("model")
def sharpness(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    names: Sequence[str],
    *,
    seed: int | Seed = 0,
    tolerance: float = 1e-3,
) -> float:
    """The algebraically largest eigenvalue of the Hessian of the mean cross entropy in the parameters
    ``names``.

    By Lanczos (ARPACK, through SciPy) on products of the Hessian with vectors. Power iteration would find the
    eigenvalue of largest modulus, which may be negative. In nats per squared unit of weight; NaN where the
    iteration does not converge.

    Args:
        model: gives logits (N, C); in eval mode.
        x: (N, ...) inputs.
        y: (N,) labels.
        names: parameters by name.
        seed: of the vector to begin with.
        tolerance: relative error of the eigenvalue.
    """
    from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, LinearOperator, eigsh

    parameters = _named(model, names)
    n = sum(p.numel() for p in parameters)
    if n < 3:  # ARPACK needs more dimensions than eigenvalues
        columns = [_product(model, x, y, parameters, unit) for unit in torch.eye(n, dtype=torch.float64)]
        return float(torch.linalg.eigvalsh(torch.stack(columns)).max())
    first = torch.randn(n, generator=(as_seed(seed) / "lanczos").generator(), dtype=torch.float64)

    def times(vector: np.ndarray) -> np.ndarray:
        return _product(model, x, y, parameters, torch.from_numpy(np.ravel(vector).copy())).numpy()

    hessian = LinearOperator((n, n), matvec=times, dtype=np.float64)
    try:
        eigenvalues = eigsh(
            hessian, k=1, which="LA", v0=first.numpy(), tol=tolerance, maxiter=50, return_eigenvectors=False
        )
    except ArpackNoConvergence:
        return math.nan
    except ArpackError:  # the first product was 0, or NaN
        return 0.0 if not times(first.numpy()).any() else math.nan
    return float(eigenvalues[0])


def _named(model: nn.Module, names: Sequence[str]) -> list[nn.Parameter]:
    everything = dict(model.named_parameters())
    if not names or (missing := [name for name in names if name not in everything]):
        raise InputError(
            f"parameters: expected names of the model's, got {missing[0]!r}"
            if names
            else "parameters: got none"
        )
    return [everything[name] for name in names]


def _product(
    model: nn.Module, x: Tensor, y: Tensor, parameters: Sequence[nn.Parameter], vector: Tensor
) -> Tensor:
    """Hessian times vector, both flat, in float64."""
    # The derivative of the gradient's product with the vector is the Hessian's product with it.
    parts = vector.split([p.numel() for p in parameters])
    along = [part.view(p.shape).to(p.dtype).to(p.device) for part, p in zip(parts, parameters, strict=True)]
    total = torch.zeros_like(vector)
    with quiet(model), _differentiable(parameters):
        for start in range(0, len(x), _BATCH):
            rows = slice(start, start + _BATCH)
            loss = F.cross_entropy(model(x[rows]), y[rows], reduction="sum") / len(x)
            gradient = torch.autograd.grad(loss, parameters, create_graph=True)
            dot = sum((g * a).sum() for g, a in zip(gradient, along, strict=True))
            assert isinstance(dot, Tensor)
            # The gradient of a purely linear part does not depend on the parameter: its product is 0.
            if dot.requires_grad:
                products = torch.autograd.grad(dot, parameters, materialize_grads=True)
                total += torch.cat([product.reshape(-1).cpu().double() for product in products])
    return total


def _gradient(model: nn.Module, x: Tensor, y: Tensor, names: Sequence[str]) -> list[Tensor]:
    parameters = _named(model, names)
    total = [torch.zeros_like(p) for p in parameters]
    with quiet(model), _differentiable(parameters):
        for start in range(0, len(x), _BATCH):
            rows = slice(start, start + _BATCH)
            loss = F.cross_entropy(model(x[rows]), y[rows], reduction="sum") / len(x)
            for sum_, part in zip(total, torch.autograd.grad(loss, parameters), strict=True):
                sum_ += part
    return total


class _differentiable:
    """Gradients of these parameters inside ``quiet``, which turned them off and restores the flags at its
    end.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = parameters

    def __enter__(self) -> None:
        for parameter in self.parameters:
            parameter.requires_grad_(True)

    def __exit__(self, *error: object) -> None:
        for parameter in self.parameters:
            parameter.requires_grad_(False)


def _loss(model: nn.Module, x: Tensor, y: Tensor) -> tuple[float, Tensor]:
    with quiet(model), torch.no_grad():
        logits = torch.cat([model(part) for part in x.split(_BATCH)])
    return float(F.cross_entropy(logits.cpu().double(), y.cpu())), logits


def _peeling(
    other: nn.Module,
    reference: nn.Module,
    x: Tensor,
    layers: LayerMap,
    changed: Sequence[int],
    lipschitz: float,
) -> tuple[float, float]:
    """Bound (b) in the paper's form, and its telescoping sum with each network's own norms."""
    old = {layer.index: _weight(reference, layer) for layer in layers}
    new = {layer.index: _weight(other, layer) for layer in layers}
    scale = lipschitz ** (len(layers) - 1) * _input_norm(reference, layers, x)
    norms = {i: float(w.cpu().double().norm()) for i, w in old.items()}
    norms_new = {i: float(w.cpu().double().norm()) for i, w in new.items()}
    distances = {j: float((new[j].cpu().double() - old[j].cpu().double()).norm()) for j in changed}
    # The paper's form divides the product of all norms by that of each changed layer.
    product = math.prod(norms.values())
    ratios = sum(distances[j] / norms[j] for j in changed if norms[j])
    # Layer by layer: old weights before j, new weights behind it.
    before = {j: math.prod(norms[i] for i in norms if i < j) for j in changed}
    behind = {j: math.prod(norms_new[i] for i in norms_new if i > j) for j in changed}
    return scale * product * ratios, scale * sum(before[j] * distances[j] * behind[j] for j in changed)


def _input_norm(model: nn.Module, layers: LayerMap, x: Tensor) -> float:
    """Root of the mean squared norm of the first layer's input, after the model's own normalisation."""
    inputs: list[Tensor] = []

    def keep(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        inputs.append(first_tensor((*args, *kwargs.values())))

    with quiet(model), torch.no_grad(), watched(model, {layers.at(1).name: keep}, None, layers.functions):
        model(x)
    return float(inputs[0].flatten(1).cpu().double().square().sum(1).mean().sqrt())


def _weight(model: nn.Module, layer: Layer) -> Tensor:
    if layer.functional:
        return torch.cat([model.get_parameter(name).detach().flatten() for name in layer.functional])
    module = model.get_submodule(layer.name)
    weight = getattr(module, "weight", None)
    return (
        weight.detach()
        if isinstance(weight, Tensor)
        else torch.cat([p.detach().flatten() for p in module.parameters()])
    )


def _buffers_differ(other: nn.Module, reference: nn.Module) -> bool:
    old = dict(reference.named_buffers())
    return any(
        not torch.equal(value, old[name])
        for name, value in other.named_buffers()
        if value.is_floating_point()
    )
