"""Which weights are left, and holding the others at 0."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

from semirobust.errors import InputError
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
        """All weights of the layers, biases and norms left aside; the last layer's too, unless ``classifier`` is False."""
        chosen = [layer for layer in layers if classifier or layer.index != len(layers)]
        parameters = dict(model.named_parameters())  # of weights that modules share, the first name
        weights = {name: parameters[name] for layer in chosen if (name := f"{layer.name}.weight") in parameters}
        return cls({name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()})

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
        """Put the masks on ``model`` in the form of ``torch.nn.utils.prune``, whose ``remove`` makes them permanent."""
        for name, mask in self.kept.items():
            module, _, parameter = name.rpartition(".")
            torch_prune.custom_from_mask(model.get_submodule(module), parameter, mask)
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
                weight = model.get_parameter(name)
                weight.masked_fill_(~mask.to(weight.device), 0.0)

    @contextmanager
    def held(self, model: nn.Module) -> Iterator[None]:
        """Within it no step of an optimiser moves a pruned weight from 0: its gradient is 0, and so are momentum and decay."""
        handles = []
        self.cut(model)
        for name, mask in self.kept.items():
            weight = model.get_parameter(name)
            trains, gone = weight.requires_grad, ~mask.to(weight.device)
            weight.requires_grad_(True)  # a hook cannot be put on a frozen one, which may train later
            handles.append(weight.register_hook(lambda slope, gone=gone: slope.masked_fill(gone.to(slope.device), 0.0)))
            weight.requires_grad_(trains)
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def without(self, scores: Mapping[str, Tensor], fraction: float, scope: Scope = "global") -> "Masks":
        """Less the lowest ``fraction`` of what is left, of all together or of each weight; exactly so many, rounded.

        Equal scores go in order of position. Nothing that is gone comes back. With the scope ``features`` whole columns of the
        one weight (C, d) that ``scores`` has last go, by their mean: the features that a classifier takes.

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
            raise InputError(f"scope: features are inputs of a linear layer, and {name} has {mask.dim()} dimensions")
        left = mask.any(0).nonzero().flatten()
        order = torch.argsort(scores[name].detach().double().mean(0).to(mask.device)[left], stable=True)
        mask = mask.clone()
        mask[:, left[order[: round(fraction * len(left))]]] = False
        return Masks({**self.kept, name: mask})

    def _group(self, names: tuple[str, ...], scores: Mapping[str, Tensor], fraction: float) -> dict[str, Tensor]:
        mask = torch.cat([self.kept[name].flatten() for name in names])
        flat = torch.cat([scores[name].detach().to(mask.device).flatten() for name in names]).double()
        places = mask.nonzero().flatten()
        gone = round(fraction * len(places))
        order = torch.argsort(flat[places], stable=True)
        mask = mask.clone()
        mask[places[order[:gone]]] = False
        parts = mask.split([self.kept[name].numel() for name in names])
        return {name: part.view(self.kept[name].shape) for name, part in zip(names, parts, strict=True)}
