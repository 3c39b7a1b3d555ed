"""Which weights of a model remain, and how the others are held at 0."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils import prune as torch_prune

from semirobust.core.classifiers import unwrapped
from semirobust.core.errors import InputError
from semirobust.core.shown import AbstractResult
from semirobust.core.table import Table
from semirobust.layers.map import Layer, LayerMap

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Masks", "Scope", "prunable_of"]

Scope = Literal["global", "layer", "features"]
_SUFFIX = "_mask"


@dataclass(frozen=True, eq=False, repr=False)
class Masks(AbstractResult):
    """One mask for each of some weights of a model.

    Attributes:
        by_name: parameter name -> boolean tensor of its shape, True where the weight remains.
    """

    by_name: Mapping[str, Tensor]

    def table(self) -> Table:
        rows = [
            (name, mask.numel(), int(mask.sum()), float(mask.float().mean()))
            for name, mask in self.by_name.items()
        ]
        return Table(
            f"{self.density:.1%} of {self.size:,} weights are left",
            {"parameter": "text", "weights": "count", "left": "count", "density": "share"},
            rows,
        )

    @staticmethod
    def drawn(table: Table) -> "Figure":
        from semirobust.figures import Points, points

        return points(
            table.column("parameter"), [Points("left", table.percent("density"))], x_label="left, %"
        )

    @classmethod
    def full(cls, model: nn.Module, layers: LayerMap, *, classifier: bool = True) -> "Masks":
        """Masks under which all weights remain, one for each layer; for the classifier unless ``classifier``
        is False.

        Biases and norms have no mask, nor has a projection of a shortcut, which is no layer. Of a weight that
        is computed from another one whose zeros it has, as under spectral norm, that other one is pruned. Of
        an attention or another layer without a weight of that name, all its matrices are.

        Raises:
            InputError: a layer's weight is computed from others (weight norm, torch's pruning), or nothing
                can be pruned.
        """
        chosen = [layer for layer in layers if classifier or layer.index not in layers.classifier]
        model = unwrapped(model)
        # A weight that several modules share is there under its first name only.
        weights = {name: model.get_parameter(name) for layer in chosen for name in prunable_of(model, layer)}
        if not weights:
            raise InputError("model: expected a layer with weights to prune, found none")
        return cls({name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()})

    def without_zeros(self, model: nn.Module) -> "Masks":
        """These masks without the weights that are 0 in ``model``, which an earlier pruning has removed."""
        model = unwrapped(model)
        return Masks(
            {
                name: mask & (model.get_parameter(name) != 0).to(mask.device)
                for name, mask in self.by_name.items()
            }
        )

    @classmethod
    def from_torch(cls, model: nn.Module) -> "Masks":
        """The masks that ``torch.nn.utils.prune`` stores as buffers of ``model``.

        Raises:
            InputError: nothing in the model is pruned.
        """
        buffers = {name: buffer for name, buffer in model.named_buffers() if name.endswith(_SUFFIX)}
        parameters = {name for name, _ in model.named_parameters()}
        masks = {name.removesuffix(_SUFFIX): buffer.bool() for name, buffer in buffers.items()}
        pruned = {name: mask for name, mask in masks.items() if f"{name}_orig" in parameters}
        if not pruned:
            raise InputError("model: expected weights pruned by torch.nn.utils.prune, found none")
        return cls(pruned)

    def to_torch(self, model: nn.Module) -> nn.Module:
        """Put the masks on ``model`` in the form of ``torch.nn.utils.prune``, and return it."""
        for name, mask in self.by_name.items():
            weight = unwrapped(model).get_parameter(name)
            # Several modules may share the weight; each of them gets the mask.
            owners = [
                (module, attribute)
                for module in model.modules()
                for attribute, p in module._parameters.items()
                if p is weight
            ]
            for module, attribute in owners:
                torch_prune.custom_from_mask(module, attribute, mask.to(weight.device))
        return model

    @property
    def size(self) -> int:
        """The number of weights before pruning."""
        return sum(mask.numel() for mask in self.by_name.values())

    @property
    def remaining(self) -> int:
        """The number of weights that remain."""
        return sum(int(mask.sum()) for mask in self.by_name.values())

    @property
    def density(self) -> float:
        """The fraction of weights that remain."""
        return self.remaining / self.size

    def share(self, model: nn.Module) -> float:
        """The fraction of the model's parameters that have a mask, and so can be pruned at all."""
        return self.size / max(1, sum(parameter.numel() for parameter in model.parameters()))

    @property
    def empty(self) -> tuple[str, ...]:
        """Names of the masks that let nothing through: there the network is cut in two."""
        return tuple(name for name, mask in self.by_name.items() if not mask.any())

    def apply(self, model: nn.Module) -> None:
        """Set the pruned weights of ``model`` to 0."""
        with torch.no_grad():
            for name, mask in self.by_name.items():
                weight = _parameter(model, name)
                weight.masked_fill_(~mask.to(weight.device), 0.0)

    @contextmanager
    def enforced(self, model: nn.Module) -> Iterator[None]:
        """Inside, no step of an optimiser moves a pruned weight away from 0.

        The gradient of such a weight is set to 0, so its momentum and weight decay are 0 too.
        """
        handles = []
        self.apply(model)
        for name, mask in self.by_name.items():
            if mask.all():
                continue
            weight = _parameter(model, name)
            requires_grad, pruned = weight.requires_grad, ~mask.to(weight.device)
            # PyTorch refuses a hook on a frozen weight, which may be trained later.
            weight.requires_grad_(True)
            handles.append(weight.register_hook(lambda gradient, pruned=pruned: _zeroed(gradient, pruned)))
            weight.requires_grad_(requires_grad)
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def pruned(self, scores: Mapping[str, Tensor], fraction: float, scope: Scope = "global") -> "Masks":
        """These masks without the ``fraction`` of the remaining weights that has the lowest scores.

        The number of pruned weights is exactly ``round(fraction * remaining)``. Of equal scores the earlier
        position is pruned first. Nothing that was pruned comes back.

        Args:
            scores: a score for each weight, by name.
            fraction: from 0 to below 1.
            scope: ``global`` compares all weights, ``layer`` those of each layer. ``features`` prunes whole
                columns of the last weight in ``scores`` (C, d) by their mean: the features of a classifier.

        Raises:
            InputError: a fraction that is not from 0 to below 1, another scope, or a weight without scores.
        """
        if not 0 <= fraction < 1:
            raise InputError(f"fraction: expected from 0 to below 1, got {fraction}")
        if scope not in ("global", "layer", "features"):
            raise InputError(f"scope: expected global, layer or features, got {scope!r}")
        if scope == "features":
            return self._prune_features(list(scores)[-1], scores, fraction)
        if missing := self.by_name.keys() - scores.keys():
            raise InputError(f"scope: expected features, since nothing scores {min(missing)}; got {scope}")
        groups = [tuple(self.by_name)] if scope == "global" else [(name,) for name in self.by_name]
        masks: dict[str, Tensor] = {}
        for names in groups:
            masks |= self._prune_group(names, scores, fraction)
        return Masks(masks)

    def _prune_features(self, name: str, scores: Mapping[str, Tensor], fraction: float) -> "Masks":
        mask = self.by_name[name]
        if mask.dim() != 2:
            raise InputError(
                f"scope: features are inputs of a linear layer, and {name} has {mask.dim()} dimensions"
            )
        remaining = mask.any(0).nonzero().flatten()
        values = scores[name].detach().double().mean(0).to(mask.device)
        order = torch.argsort(values[remaining], stable=True)
        mask = mask.clone()
        mask[:, remaining[order[: round(fraction * len(remaining))]]] = False
        return Masks({**self.by_name, name: mask})

    def _prune_group(
        self, names: tuple[str, ...], scores: Mapping[str, Tensor], fraction: float
    ) -> dict[str, Tensor]:
        mask = torch.cat([self.by_name[name].flatten() for name in names])
        values = torch.cat([scores[name].detach().to(mask.device).flatten() for name in names]).double()
        remaining = mask.nonzero().flatten()
        # A sort rather than a threshold, which equal scores would make inexact.
        order = torch.argsort(values[remaining], stable=True)
        mask = mask.clone()
        mask[remaining[order[: round(fraction * len(remaining))]]] = False
        parts = mask.split([self.by_name[name].numel() for name in names])
        return {name: part.view(self.by_name[name].shape) for name, part in zip(names, parts, strict=True)}


def prunable_of(model: nn.Module, layer: Layer) -> tuple[str, ...]:
    """Names of the parameters of a layer whose values are pruned one by one.

    Raises:
        InputError: its weight is computed from others.
    """
    module = dict(model.named_modules()).get(layer.name)
    computed = module is not None and "weight" not in module._parameters
    if not computed or not isinstance(getattr(module, "weight", None), Tensor):
        return layer.weights
    if module is not None and _has_zeros_of_original(module):
        return (f"{layer.name}.parametrizations.weight.original",)
    raise InputError(
        f"model: expected {layer.name}.weight to be a parameter, but it is computed from others; make it"
        " permanent first (torch.nn.utils.prune.remove,"
        " torch.nn.utils.parametrize.remove_parametrizations)"
    )


def _has_zeros_of_original(module: nn.Module) -> bool:
    """Whether the weight of a parametrised module is 0 exactly where the one parameter behind it is."""
    if not parametrize.is_parametrized(module, "weight"):
        return False
    module = copy.deepcopy(module).eval()
    parametrization = module.parametrizations["weight"]  # type: ignore[index]
    original = getattr(parametrization, "original", None)
    if not isinstance(original, nn.Parameter) or original.shape != module.weight.shape:
        return False
    with torch.no_grad():
        # No parameter is 0 or 1, where some parametrisations do nothing; every second value of this one is 0.
        for parameter in module.parameters():
            values = torch.arange(parameter.numel(), device=parameter.device)
            parameter.copy_((0.5 + (values * 0.618) % 1).view_as(parameter))
        zero = (torch.arange(original.numel(), device=original.device) % 2 == 0).view_as(original)
        original.masked_fill_(zero, 0.0)
        weight = module.weight
        return isinstance(weight, Tensor) and torch.equal(weight == 0, zero)


def _parameter(model: nn.Module, name: str) -> nn.Parameter:
    """The parameter called ``name``; of a weight pruned by torch, the parameter it is computed from."""
    model = unwrapped(model)
    parameters = dict(model.named_parameters(remove_duplicate=False))
    return parameters[name] if name in parameters else model.get_parameter(f"{name}_orig")


def _zeroed(gradient: Tensor, pruned: Tensor) -> Tensor:
    """``gradient`` with 0 for the pruned weights."""
    # The memory format stays, because sums over another one would round differently (weight perturbation).
    copy = gradient.clone(memory_format=torch.preserve_format)
    return copy.masked_fill_(pruned.to(gradient.device), 0.0)
