"""Whole channels and neurons away: a network that is really smaller."""

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
from semirobust.core.errors import InputError
from semirobust.core.seed import Seed, as_seed
from semirobust.core.text import first_line
from semirobust.data.base.images import Images
from semirobust.layers.macs import multiplications
from semirobust.layers.map import LayerMap, layer_map
from semirobust.layers.quiet import quiet
from semirobust.pruning.saliencies.base.saliency import AbstractSaliency
from semirobust.pruning.saliencies.magnitude import Magnitude

__all__ = ["Channels"]

_MAGNITUDE = Magnitude()


@dataclass(frozen=True)
class Channels:
    """Removes the channels that are worth least until the network is as small as asked.

    What depends on what (a channel and its batch norm, the shortcut beside it, the next layer's input) is
    found by torch-pruning (Fang et al. 2023, "DepGraph"). A channel is worth the mean saliency of the weights
    that make it, over all layers that must lose it together, relative to the mean of its layer, so that
    layers of other sizes can be compared (ours); the saliency ``layered`` has its own way to compare them.
    The classifier keeps its outputs.

    Args:
        operations: the share of multiplications that is to be left, from above 0 to 1.
        saliency: what a weight is worth; it is asked again after each step.
        steps: how many steps the way to nothing is cut into; the network stops at the first that is small
            enough.
        least: the share of each layer's channels that stays in any case.
        multiple: numbers of channels are rounded to multiples of this; 8 or 16 suit processors, which pad to
            that anyway.
    """

    operations: float = 0.5
    saliency: AbstractSaliency = _MAGNITUDE
    steps: int = 40
    least: float = 0.1
    multiple: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.operations <= 1 or not 0 < self.least <= 1 or min(self.steps, self.multiple) < 1:
            found = f"{self.operations}, {self.least}, {self.steps} and {self.multiple}"
            raise InputError(
                f"operations, least, steps and multiple: expected shares above 0, and at least 1; got {found}"
            )

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
        x, y = images.batch(torch.tensor([0]), next(model.parameters()).device)
        with quiet(model):
            probe(model, x, y)
        layers, seed = layer_map(model, x), as_seed(seed)
        _check_removable(model, layers)
        tools, small = _tools(), copy.deepcopy(model).eval()
        whole = sum(multiplications(model, x).values())
        aim = self.operations * whole
        names = {id(small.get_submodule(layer.name)): f"{layer.name}.weight" for layer in layers}
        worth = _Worth(names, self.saliency.comparable)
        classifier = small.get_submodule(layers.at(len(layers)).name)
        sizes = {
            small.get_submodule(layer.name): model.get_parameter(f"{layer.name}.weight").shape[0]
            for layer in layers
        }
        floors = {module: max(1, math.ceil(self.least * size)) for module, size in sizes.items()}
        try:
            pruner = tools.pruner.BasePruner(
                small,
                x,
                importance=worth,
                global_pruning=True,
                pruning_ratio=1 - self.least,
                max_pruning_ratio=1 - self.least,
                iterative_steps=self.steps,
                ignored_layers=[classifier],
                round_to=self.multiple if self.multiple > 1 else None,
            )
            for step in range(self.steps):
                if sum(multiplications(small, x).values()) <= aim:
                    break
                weights = {name: small.get_parameter(name) for name in names.values()}
                worth.scores = self.saliency(small, weights, images, attack, seed / step)
                if weights.keys() - worth.scores.keys():
                    raise InputError("saliency: expected one of all weights, not of features alone")
                for group in pruner.step(interactive=True):
                    self._remove(pruner, group, worth, floors)
            left = sum(multiplications(small, x).values())
        except InputError:
            raise
        except _FAILURES as error:
            raise _refused("channels", error) from None
        if left > aim:
            least = (
                f"{left / whole:.0%} are left with {self.least:.0%} of each layer, in multiples of"
                f" {self.multiple}"
            )
            raise InputError(f"operations: {self.operations:.0%} of them cannot be reached; {least}")
        return small

    def _remove(self, pruner: Any, group: Any, worth: "_Worth", floors: Mapping[nn.Module, int]) -> None:
        """Prune a group, but of no layer more than it may lose; of more channels at once those of least worth
        go.
        """
        dependency, channels = group[0]
        module = dependency.target.module
        now = len(module.weight)
        spare = now - floors.get(module, 1)
        if len(channels) > spare:
            scores = worth(group)
            spare -= spare % self.multiple
            if spare <= 0 or scores is None:
                return
            chosen = [channels[i] for i in torch.argsort(scores, stable=True)[:spare].tolist()]
            group = pruner.DG.get_pruning_group(module, dependency.handler, chosen)
        group.prune()


@dataclass
class _Worth:
    """What each channel of a group of layers that depend on each other is worth, as torch-pruning asks for
    it.
    """

    names: Mapping[int, str]
    comparable: bool
    scores: Mapping[str, Tensor] = field(default_factory=dict)

    def __call__(self, group: "Sequence[tuple[Any, Sequence[int]]]") -> Tensor | None:
        found = []
        for dependency, channels in group:
            name = self.names.get(id(dependency.target.module))
            if name is None or not dependency.handler.__name__.startswith("prune_out"):
                continue
            own = self.scores[name].flatten(1).mean(1)[list(channels)]
            found.append(own if self.comparable else own / self.scores[name].mean().clamp_min(1e-30))
        sizes = {len(one) for one in found}
        return torch.stack(found).mean(0) if len(sizes) == 1 else None


_FAILURES = (
    RuntimeError,
    AssertionError,
    AttributeError,
    IndexError,
    ValueError,
)  # of torch-pruning, on what it cannot follow


def _refused(what: str, error: Exception) -> InputError:
    return InputError(f"model: its {what} cannot be removed ({first_line(error)})")


def _check_removable(model: nn.Module, layers: LayerMap) -> None:
    """No weight that two modules share, none that is computed from others, and no layer that gives its
    channels otherwise.
    """
    owners: dict[int, str] = {}
    for place, module in model.named_modules():
        for own, parameter in module._parameters.items():
            name = f"{place}.{own}"
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


def _tools() -> Any:
    try:
        import torch_pruning  # type: ignore[import-untyped]
    except ImportError:
        raise InputError(
            'channels: removing them needs torch-pruning: pip install "semirobust[prune]"'
        ) from None
    return torch_pruning


def without_features(model: nn.Module, gone: Tensor, x: Tensor) -> nn.Module:
    """A smaller copy of ``model`` without the features (d,) that are ``gone`` from its classifier, and what
    made them.

    The classifier's weights of these must be 0; then the logits stay as they were.

    Args:
        model: gives logits (N, C); it is left as it was.
        gone: True for each feature to take away.
        x: an image or more.

    Raises:
        InputError: torch-pruning is missing or cannot follow the model, or nothing would be left.
    """
    layers = layer_map(model, x[:1])
    _check_removable(model, layers)
    tools, small = _tools(), copy.deepcopy(model).eval()
    classifier = small.get_submodule(layers.at(len(layers)).name)
    if not isinstance(classifier, nn.Linear) or bool(gone.all()) or len(gone) != classifier.in_features:
        raise InputError("features: expected some of those of a linear classifier to stay")
    try:
        graph = tools.DependencyGraph().build_dependency(small, example_inputs=x[:1])
        graph.get_pruning_group(
            classifier, tools.prune_linear_in_channels, gone.nonzero().flatten().tolist()
        ).prune()
        with quiet(model), torch.no_grad():
            same = torch.allclose(small(x), model(x), rtol=1e-4, atol=1e-5)
    except _FAILURES as error:
        raise _refused("features", error) from None
    if not same:
        raise InputError("model: its features cannot be removed without others (they share what makes them)")
    return small
