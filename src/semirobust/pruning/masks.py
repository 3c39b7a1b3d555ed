"""Which weights are left, and holding the others at 0."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

from semirobust.core.errors import InputError
from semirobust.layers.map import LayerMap

__all__ = ["Masks", "Scope"]

Scope = Literal["global", "layer", "features"]
_SUFFIX = "_mask"


@dataclass(frozen=True)
class Masks:
    """For some weights of a model, which of their entries are left.

    Attributes:
        kept: parameter name -> boolean tensor of its shape, True where the weight is left.
    """

    kept: Mapping[str, Tensor] = field(repr=False)

    @classmethod
    def whole(cls, model: nn.Module, layers: LayerMap, *, classifier: bool = True) -> "Masks":
        """All weights of the layers; the last layer's too, unless ``classifier`` is False.

        Biases, norms, and what is no layer of its own, such as a projection of a shortcut, are left aside.

        Raises:
            InputError: a layer's weight is computed from others (weight norm, torch's pruning), or nothing
                can be pruned.
        """
        chosen = [layer for layer in layers if classifier or layer.index != len(layers)]
        parameters = dict(model.named_parameters())  # of weights that modules share, the first name
        shared = dict(model.named_parameters(remove_duplicate=False))
        for layer in chosen:
            name = f"{layer.name}.weight"
            if name not in shared and isinstance(
                getattr(model.get_submodule(layer.name), "weight", None), Tensor
            ):
                raise InputError(
                    f"model: expected {name} to be a parameter, but it is computed from others; make it"
                    " permanent first (torch.nn.utils.prune.remove,"
                    " torch.nn.utils.parametrize.remove_parametrizations)"
                )
        weights = {
            name: parameters[name] for layer in chosen if (name := f"{layer.name}.weight") in parameters
        }
        if not weights:
            raise InputError("model: expected a layer with weights to prune, found none")
        return cls({name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()})

    def of_zeros(self, model: nn.Module) -> "Masks":
        """Less the weights that are 0 in ``model``: what an earlier pruning left."""
        return Masks(
            {
                name: mask & (model.get_parameter(name) != 0).to(mask.device)
                for name, mask in self.kept.items()
            }
        )

    @classmethod
    def of_torch(cls, model: nn.Module) -> "Masks":
        """The masks that ``torch.nn.utils.prune`` keeps as buffers.

        Raises:
            InputError: nothing in the model is pruned.
        """
        buffers = {name: buffer for name, buffer in model.named_buffers() if name.endswith(_SUFFIX)}
        parameters = {name for name, _ in model.named_parameters()}
        found = {name.removesuffix(_SUFFIX): buffer.bool() for name, buffer in buffers.items()}
        pruned = {name: mask for name, mask in found.items() if f"{name}_orig" in parameters}
        if not pruned:
            raise InputError("model: expected weights pruned by torch.nn.utils.prune, found none")
        return cls(pruned)

    def hand_over(self, model: nn.Module) -> nn.Module:
        """Put the masks on ``model`` in the form of ``torch.nn.utils.prune``, whose ``remove`` makes them
        permanent.
        """
        for name, mask in self.kept.items():
            weight = model.get_parameter(name)
            # Modules that share a weight go on sharing it.
            owners = [
                (module, own)
                for module in model.modules()
                for own, p in module._parameters.items()
                if p is weight
            ]
            for module, own in owners:
                torch_prune.custom_from_mask(module, own, mask.to(weight.device))
        return model

    @property
    def size(self) -> int:
        """How many weights there were."""
        return sum(mask.numel() for mask in self.kept.values())

    @property
    def left(self) -> int:
        """How many weights are left."""
        return sum(int(mask.sum()) for mask in self.kept.values())

    @property
    def density(self) -> float:
        """The share of weights that is left."""
        return self.left / self.size

    @property
    def empty(self) -> tuple[str, ...]:
        """Weights of which nothing is left: there the network is cut through."""
        return tuple(name for name, mask in self.kept.items() if not mask.any())

    def cut(self, model: nn.Module) -> None:
        """Set what is not left to 0."""
        with torch.no_grad():
            for name, mask in self.kept.items():
                weight = _parameter(model, name)
                weight.masked_fill_(~mask.to(weight.device), 0.0)

    @contextmanager
    def held(self, model: nn.Module) -> Iterator[None]:
        """Within it no step of an optimiser moves a pruned weight from 0: its gradient is 0, and so are
        momentum and decay.
        """
        handles = []
        self.cut(model)
        for name, mask in self.kept.items():
            if mask.all():
                continue
            weight = _parameter(model, name)
            trains, gone = weight.requires_grad, ~mask.to(weight.device)
            weight.requires_grad_(True)  # a hook cannot be put on a frozen one, which may train later
            handles.append(weight.register_hook(lambda slope, gone=gone: _without(slope, gone)))
            weight.requires_grad_(trains)
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def without(self, scores: Mapping[str, Tensor], fraction: float, scope: Scope = "global") -> "Masks":
        """Less the lowest ``fraction`` of what is left, of all together or of each weight; exactly so many,
        rounded.

        Equal scores go in order of position. Nothing that is gone comes back. With the scope ``features``
        whole columns of the one weight (C, d) that ``scores`` has last go, by their mean: the features that a
        classifier takes.

        Raises:
            InputError: a fraction that is not from 0 to below 1, another scope, or a weight without scores.
        """
        if not 0 <= fraction < 1:
            raise InputError(f"fraction: expected from 0 to below 1, got {fraction}")
        if scope not in ("global", "layer", "features"):
            raise InputError(f"scope: expected global, layer or features, got {scope!r}")
        if scope == "features":
            return self._features(list(scores)[-1], scores, fraction)
        if missing := self.kept.keys() - scores.keys():
            raise InputError(f"scope: expected features, since nothing scores {min(missing)}; got {scope}")
        groups = [tuple(self.kept)] if scope == "global" else [(name,) for name in self.kept]
        found: dict[str, Tensor] = {}
        for names in groups:
            found |= self._group(names, scores, fraction)
        return Masks(found)

    def _features(self, name: str, scores: Mapping[str, Tensor], fraction: float) -> "Masks":
        mask = self.kept[name]
        if mask.dim() != 2:
            raise InputError(
                f"scope: features are inputs of a linear layer, and {name} has {mask.dim()} dimensions"
            )
        left = mask.any(0).nonzero().flatten()
        order = torch.argsort(scores[name].detach().double().mean(0).to(mask.device)[left], stable=True)
        mask = mask.clone()
        mask[:, left[order[: round(fraction * len(left))]]] = False
        return Masks({**self.kept, name: mask})

    def _group(
        self, names: tuple[str, ...], scores: Mapping[str, Tensor], fraction: float
    ) -> dict[str, Tensor]:
        mask = torch.cat([self.kept[name].flatten() for name in names])
        flat = torch.cat([scores[name].detach().to(mask.device).flatten() for name in names]).double()
        places = mask.nonzero().flatten()
        gone = round(fraction * len(places))
        order = torch.argsort(flat[places], stable=True)
        mask = mask.clone()
        mask[places[order[:gone]]] = False
        parts = mask.split([self.kept[name].numel() for name in names])
        return {name: part.view(self.kept[name].shape) for name, part in zip(names, parts, strict=True)}


def _parameter(model: nn.Module, name: str) -> nn.Parameter:
    """The parameter of that name, under ``torch.nn.utils.prune`` what the weight is computed from."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    return parameters[name] if name in parameters else model.get_parameter(f"{name}_orig")


def _without(slope: Tensor, gone: Tensor) -> Tensor:
    """In the memory format of ``slope``: sums over another one, such as those of weight perturbations, would
    round otherwise.
    """
    return slope.clone(memory_format=torch.preserve_format).masked_fill_(gone.to(slope.device), 0.0)
