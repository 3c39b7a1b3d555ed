"""Removing whole channels and neurons, so that the network becomes smaller and faster."""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from semirobust.attacks import AbstractAttack
from semirobust.core.checks import probe
from semirobust.core.classifiers import on_classifiers
from semirobust.core.errors import InputError
from semirobust.core.plain import anywhere
from semirobust.core.seed import Seed, as_seed
from semirobust.core.text import first_line
from semirobust.data.base.images import Images
from semirobust.layers.macs import macs_by_module
from semirobust.layers.map import LayerMap, layer_map
from semirobust.layers.quiet import quiet
from semirobust.pruning.saliencies.base.saliency import AbstractSaliency
from semirobust.pruning.saliencies.magnitude import Magnitude

__all__ = ["Channels"]

_MAGNITUDE = Magnitude()


@dataclass(frozen=True)
class Channels:
    """Removes the least important channels until the network is small enough.

    What must be removed together (a channel, its batch norm, the shortcut beside it, the input of the next
    layer) is worked out by torch-pruning (Fang et al. 2023, "DepGraph"). The importance of a channel is the
    mean saliency of the weights that compute it, relative to the mean of its layer, so that layers can be
    compared (ours). It is averaged over all layers that must lose the channel together. The saliency
    ``layered`` compares layers in its own way. The classifier keeps its outputs.

    Args:
        macs: the fraction of multiply-accumulate operations that remains, above 0 and at most 1.
        saliency: scores the weights; it is asked again after each step.
        steps: in how many steps all channels would be removed; removal stops at the first that is enough.
        min_fraction: the fraction of each layer's channels that remains in any case.
        multiple: numbers of channels are rounded to multiples of this; 8 or 16 suit processors, which pad to
            that anyway.
    """

    macs: float = 0.5
    saliency: AbstractSaliency = _MAGNITUDE
    steps: int = 40
    min_fraction: float = 0.1
    multiple: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.macs <= 1 or not 0 < self.min_fraction <= 1 or min(self.steps, self.multiple) < 1:
            raise InputError(
                "macs, min_fraction, steps and multiple: expected fractions above 0, and at least 1; got"
                f" {self.macs}, {self.min_fraction}, {self.steps} and {self.multiple}"
            )

    @anywhere
    @on_classifiers("model", layers=True)
    def __call__(
        self, model: nn.Module, images: Images, attack: AbstractAttack | None = None, *, seed: int | Seed = 0
    ) -> nn.Module:
        """A smaller copy of ``model``, not yet trained again.

        Args:
            model: gives logits (N, C); it is left as it was.
            images, attack: what the saliency looks at.
            seed: of the saliency.

        Raises:
            InputError: torch-pruning is missing or cannot follow the model, or it cannot be made so small.
        """
        images = images.fitting(model)
        x, y = images.batch(torch.tensor([0]), next(model.parameters()).device)
        with quiet(model):
            probe(model, x, y)
        layers, seed = layer_map(model, x), as_seed(seed)
        _check_removable(model, layers)
        torch_pruning, small = _torch_pruning(), copy.deepcopy(model).eval()
        before = sum(macs_by_module(model, x).values())
        modules = {f"{layer.name}.weight": small.get_submodule(layer.name) for layer in layers}
        importance = _Importance({id(m): name for name, m in modules.items()}, self.saliency.comparable)
        # A group of torch-pruning may have more channels than a layer can lose, so `_remove` enforces this.
        min_channels = {
            module: max(1, math.ceil(self.min_fraction * model.get_parameter(name).shape[0]))
            for name, module in modules.items()
        }
        try:
            pruner = torch_pruning.pruner.BasePruner(
                small,
                x,
                importance=importance,
                global_pruning=True,
                pruning_ratio=1 - self.min_fraction,
                max_pruning_ratio=1 - self.min_fraction,
                iterative_steps=self.steps,
                ignored_layers=[small.get_submodule(layers.at(len(layers)).name)],
                round_to=self.multiple if self.multiple > 1 else None,
            )
            for step in range(self.steps):
                if sum(macs_by_module(small, x).values()) <= self.macs * before:
                    break
                weights = {name: small.get_parameter(name) for name in modules}
                importance.scores = self.saliency(small, weights, images, attack, seed / step)
                if weights.keys() - importance.scores.keys():
                    raise InputError("saliency: expected one of all weights, not of features alone")
                for group in pruner.step(interactive=True):
                    self._remove(pruner, group, importance, min_channels)
            after = sum(macs_by_module(small, x).values())
        except InputError:
            raise
        except _FAILURES as error:
            raise _not_removable("channels", error) from None
        if after > self.macs * before:
            raise InputError(
                f"macs: {self.macs:.0%} of them cannot be reached; {after / before:.0%} are left with"
                f" {self.min_fraction:.0%} of each layer, in multiples of {self.multiple}"
            )
        return small

    def _remove(
        self, pruner: Any, group: Any, importance: "_Importance", min_channels: Mapping[nn.Module, int]
    ) -> None:
        """Prune a group of channels that depend on each other, but leave the layer its minimum.

        Where the group has too many channels, the least important of them are removed.
        """
        dependency, channels = group[0]
        module = dependency.target.module
        removable = len(module.weight) - min_channels.get(module, 1)
        if len(channels) > removable:
            scores = importance(group)
            removable -= removable % self.multiple  # what stays must remain a multiple
            if removable <= 0 or scores is None:
                return
            lowest = torch.argsort(scores, stable=True)[:removable].tolist()
            group = pruner.DG.get_pruning_group(module, dependency.handler, [channels[i] for i in lowest])
        group.prune()


@dataclass
class _Importance:
    """The importance of the channels of a group of layers that depend on each other, for torch-pruning.

    Attributes:
        names: identity of a module -> name of its weight.
        comparable: whether the scores of different layers are on one scale already.
        scores: the saliency of each weight, by name.
    """

    names: Mapping[int, str]
    comparable: bool
    scores: Mapping[str, Tensor] = field(default_factory=dict)

    def __call__(self, group: "Sequence[tuple[Any, Sequence[int]]]") -> Tensor | None:
        by_layer = []
        for dependency, channels in group:
            # Only removals of outputs count: the next layer's inputs are removed with them.
            name = self.names.get(id(dependency.target.module))
            if name is None or not dependency.handler.__name__.startswith("prune_out"):
                continue
            scores = self.scores[name].flatten(1).mean(1)[list(channels)]
            by_layer.append(scores if self.comparable else scores / self.scores[name].mean().clamp_min(1e-30))
        sizes = {len(scores) for scores in by_layer}
        # Layers that lose different numbers of channels have no common average.
        return torch.stack(by_layer).mean(0) if len(sizes) == 1 else None


# What torch-pruning raises on models that it cannot follow.
_FAILURES = (RuntimeError, AssertionError, AttributeError, IndexError, ValueError)


def _not_removable(what: str, error: Exception) -> InputError:
    return InputError(f"model: its {what} cannot be removed ({first_line(error)})")


def _check_removable(model: nn.Module, layers: LayerMap) -> None:
    """Raise ``InputError`` where weights are shared by modules or computed from others, and for transposed
    convolutions, whose output channels are another dimension of the weight.
    """
    owners: dict[int, str] = {}
    for module_name, module in model.named_modules():
        for attribute, parameter in module._parameters.items():
            name = f"{module_name}.{attribute}"
            if parameter is not None and owners.setdefault(id(parameter), name) != name:
                raise InputError(
                    f"model: its channels cannot be removed ({owners[id(parameter)]} and {name} are one"
                    " tensor)"
                )
    for layer in layers:
        module = model.get_submodule(layer.name)
        if not isinstance(module._parameters.get("weight"), nn.Parameter):
            raise InputError(
                f"model: its channels cannot be removed ({layer.name}.weight is no parameter of its own)"
            )
        if isinstance(module, _ConvTransposeNd):
            raise InputError(
                f"model: its channels cannot be removed ({layer.name} is a transposed convolution)"
            )


def _torch_pruning() -> Any:
    try:
        import torch_pruning  # type: ignore[import-untyped]
    except ImportError:
        raise InputError(
            'channels: removing them needs torch-pruning: pip install "semirobust[prune]"'
        ) from None
    return torch_pruning


@anywhere
@on_classifiers("model", layers=True)
def without_features(model: nn.Module, removed: Tensor, x: Tensor) -> nn.Module:
    """A smaller copy of ``model`` without some inputs of its classifier, and without what computes them.

    The classifier's weights of these features must be 0. Then the logits stay as they were.

    Args:
        model: gives logits (N, C); it is left as it was.
        removed: (d,), True for each feature to remove.
        x: one image or more.

    Raises:
        InputError: torch-pruning is missing or cannot follow the model, or nothing would be left.
    """
    layers = layer_map(model, x[:1])
    _check_removable(model, layers)
    torch_pruning, small = _torch_pruning(), copy.deepcopy(model).eval()
    classifier = small.get_submodule(layers.at(len(layers)).name)
    if not isinstance(classifier, nn.Linear) or bool(removed.all()) or len(removed) != classifier.in_features:
        raise InputError("features: expected some of those of a linear classifier to stay")
    try:
        graph = torch_pruning.DependencyGraph().build_dependency(small, example_inputs=x[:1])
        indices = removed.nonzero().flatten().tolist()
        graph.get_pruning_group(classifier, torch_pruning.prune_linear_in_channels, indices).prune()
        # torch-pruning also removes what depends on the features; equal logits show that it was right.
        with quiet(model), torch.no_grad():
            same = torch.allclose(small(x), model(x), rtol=1e-4, atol=1e-5)
    except _FAILURES as error:
        raise _not_removable("features", error) from None
    if not same:
        raise InputError("model: its features cannot be removed without others (they share what makes them)")
    return small
