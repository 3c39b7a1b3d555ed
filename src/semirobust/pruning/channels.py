"""Removing whole channels and neurons, so that the network becomes smaller and faster."""

import copy
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from semirobust.attacks import AbstractAttack
from semirobust.core.checks import probe
from semirobust.core.classifiers import on_classifiers
from semirobust.core.errors import InputError
from semirobust.core.outputs import logits_of
from semirobust.core.plain import anywhere
from semirobust.core.seed import Seed, as_seed
from semirobust.core.text import first_line
from semirobust.core.typed import Typed
from semirobust.data.base.images import Images
from semirobust.layers.macs import macs_by_module
from semirobust.layers.map import LayerMap, layer_map
from semirobust.layers.quiet import device_of, quiet
from semirobust.pruning.groups import Group, dependencies_of, group_of, groups_of
from semirobust.pruning.removable import removable
from semirobust.pruning.removal import Check, Removal, own_tensors
from semirobust.pruning.resize import resized
from semirobust.pruning.saliencies.base.saliency import AbstractSaliency
from semirobust.pruning.saliencies.magnitude import Magnitude

__all__ = ["Channels", "listed", "without_features"]

_MAGNITUDE = Magnitude()
_LOG = logging.getLogger("semirobust.pruning")


@dataclass(frozen=True)
class Channels(Typed):
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
        self,
        model: nn.Module,
        images: Images,
        attack: AbstractAttack | None = None,
        *,
        seed: int | Seed = 0,
        on_kept: Callable[[Mapping[str, str]], None] | None = None,
    ) -> nn.Module:
        """A smaller copy of ``model``, not yet trained again.

        Where channels cannot be removed (a view that assumes a width, the heads of an attention, a weight
        that two modules share), the layers that compute them keep their widths, and the others lose more.
        Which ones these are is found by trying: without some channels, a copy whose weights are moved at
        random must give the logits that it gives with zeros in their place. The result is checked so, too.

        Args:
            model: gives logits (N, C); it is left as it was.
            images, attack: what the saliency looks at.
            seed: of the saliency.
            on_kept: told of the layers that keep their widths, and why, where there are any.

        Raises:
            InputError: torch-pruning is missing or cannot follow the model, no channels can be removed, or it
                cannot be made so small.
        """
        images = images.fitting(model)
        x, y = images.batch(torch.tensor([0]), device_of(model, torch.device("cpu")))
        with quiet(model):
            probe(model, x, y)
        layers, seed = layer_map(model, x), as_seed(seed)
        macs = macs_by_module(model, x)
        enough = self.macs * sum(macs.values())
        try:
            groups, kept, check = self._removable(model, layers, x, seed, idle=_idle(model, macs))
            if not groups:
                raise InputError(f"model: its channels cannot be removed ({listed(kept)}); {_INSTEAD}")
            removal = self._shrink(model, _scored(model, layers), groups, (x, images, attack), enough, seed)
            small = resized(model, removal.sliced(model.state_dict())).eval()
            after, problem = sum(macs_by_module(small, x).values()), check.problem(removal)
        except InputError:
            raise
        except Exception as error:  # torch-pruning fails in as many ways as there are models
            raise _not_removable("channels", error) from None
        if after > enough:
            because = f", because {listed(kept)} keep their widths" if kept else ""
            raise InputError(
                f"macs: {self.macs:.0%} of them cannot be reached; {after / sum(macs.values()):.0%} are left"
                f" with {self.min_fraction:.0%} of each layer, in multiples of {self.multiple}{because};"
                f" ask for that much, or {_INSTEAD}"
            )
        if problem:
            raise InputError(f"model: its channels cannot be removed ({problem}); {_INSTEAD}")
        if kept and on_kept is not None:
            on_kept(kept)
        return small

    def _removable(
        self, model: nn.Module, layers: LayerMap, x: Tensor, seed: Seed, *, idle: bool
    ) -> tuple[list[Group], dict[str, str], Check]:
        """The groups of channels that can be removed, why others cannot, and the check that found it."""
        traced = _traceable(model)
        named = dict(traced.named_modules())
        graph = dependencies_of(_torch_pruning(), traced, x, train=idle)
        groups = groups_of(graph, named.get(layers.at(len(layers)).name), _scored(traced, layers))
        # Heads that run in train mode alone must fit afterwards, too.
        check = Check.of(model, x, seed / "check", train=idle)
        accepted, kept = removable(groups, check, (seed / "half").generator())
        return accepted, kept, check

    def _shrink(
        self,
        model: nn.Module,
        names: Sequence[str],
        groups: Sequence[Group],
        examples: tuple[Tensor, Images, AbstractAttack | None],
        enough: float,
        seed: Seed,
    ) -> Removal:
        """What is removed until there are few enough MACs."""
        x, images, attack = examples
        state, removal, total = model.state_dict(), Removal.none(model), 0
        # The classifier's is the last, as saliencies have it.
        names = [n for n in dict.fromkeys(n for g in groups for n in g.outputs) if n not in names] + [*names]
        for step in range(self.steps):
            small = resized(model, removal.sliced(state)).eval()
            if sum(macs_by_module(small, x).values()) <= enough:
                break
            weights = {name: small.get_parameter(name) for name in names}
            scores = self.saliency.scored(small, weights, images, attack, seed / step)
            if weights.keys() - scores.keys():
                raise InputError("saliency: expected one of all weights, not of features alone")
            open_groups = [group for group in groups if self._may_lose(group, removal)]
            found = [
                (g, left, self._importance(g, left, scores, removal))
                for g in open_groups
                if (left := g.left(removal))
            ]
            if not found:
                break
            values = torch.cat([importance for *_, importance in found])
            total = total or len(values)
            count = len(values) - int(total * (1 - (step + 1) / self.steps * (1 - self.min_fraction)))
            if count < 1:
                continue
            threshold = torch.topk(values, count, largest=False)[0][-1]
            for group, left, importance in found:
                removal = self._remove(group, left, importance, threshold, removal)
        return removal

    def _may_lose(self, group: Group, removal: Removal) -> bool:
        """Whether no tensor of the group is as narrow as it may become."""
        sizes = [(removal.left(part), removal.size(part)) for part in group.units[0]]
        return all(left > 1 and left >= size * (1 - (1 - self.min_fraction)) for left, size in sizes)

    def _importance(
        self, group: Group, left: Sequence[int], scores: Mapping[str, Tensor], removal: Removal
    ) -> Tensor:
        """The importance of the units that are left, (units,): the mean over the layers of the group."""
        by_layer = []
        for name, rows in group.outputs.items():
            position = torch.zeros(removal.size((name, 0)), dtype=torch.long)
            position[removal.kept((name, 0))] = torch.arange(removal.left((name, 0)))
            values = scores[name].flatten(1).mean(1).cpu()[position[rows[left]]].mean(1)
            typical = 1.0 if self.saliency.comparable else scores[name].mean().cpu().clamp_min(1e-30)
            by_layer.append(values / typical)
        return torch.stack(by_layer).mean(0)

    def _remove(
        self, group: Group, left: Sequence[int], importance: Tensor, threshold: Tensor, removal: Removal
    ) -> Removal:
        """``removal`` and the units of a group up to a threshold, but for the minimum of its first layer."""
        part = (f"{group.name}.weight", 0)
        width = len(group.units[left[0]][part])  # channels of a unit
        chosen = (importance <= threshold).nonzero().flatten().tolist()
        if chosen and self.multiple > 1:
            stay = (len(left) - len(chosen)) * width
            chosen = torch.argsort(importance)[
                : len(left) - stay // self.multiple * self.multiple // width
            ].tolist()
        gone = group.removal([left[i] for i in chosen])
        if any(len(indices) >= removal.left(p) for p, indices in gone.items()):
            return removal
        removable = len(left) * width - max(1, math.ceil(self.min_fraction * removal.size(part)))
        if len(chosen) * width > removable:
            removable -= removable % math.lcm(self.multiple, width)  # what stays must remain a multiple
            lowest = torch.argsort(importance[sorted(chosen)], stable=True)[: max(0, removable // width)]
            gone = group.removal([left[sorted(chosen)[i]] for i in lowest.tolist()])
        return removal | gone


_INSTEAD = "prune single weights instead"


def _not_removable(what: str, error: Exception) -> InputError:
    _LOG.info("%s of the model cannot be removed", what, exc_info=error)
    reason = f"they cannot be followed through it: {first_line(error, with_type=True)}"
    return InputError(f"model: its {what} cannot be removed ({reason}); {_INSTEAD}")


def listed(kept: Mapping[str, str]) -> str:
    """The first of the layers that keep their widths with the reasons, and how many others do."""
    first = ", ".join(f"{name} ({reason})" for name, reason in list(kept.items())[:2])
    more = len(kept) - 2
    return (first or "no group of them has layers to judge it by") + (f" and {more} more" if more > 0 else "")


def _idle(model: nn.Module, macs: Mapping[str, float]) -> bool:
    """Whether some convolution or linear module did not run."""
    named = model.named_modules()
    return any(isinstance(module, _ConvNd | nn.Linear) and name not in macs for name, module in named)


def _scored(model: nn.Module, layers: LayerMap) -> list[str]:
    """The weights by which a saliency judges channels."""
    own, _ = own_tensors(model)
    named = dict(model.named_modules())
    modules = {f"{layer.name}.weight": named[layer.name] for layer in layers if layer.name in named}
    return [
        name
        for name, module in modules.items()
        # The output channels of a transposed convolution are another dimension of the weight.
        if name in own
        and isinstance(module, _ConvNd | nn.Linear)
        and not getattr(module, "transposed", False)
    ]


def _traceable(model: nn.Module) -> nn.Module:
    """A copy in eval mode, whose parameters take the gradients that torch-pruning follows."""
    traced = copy.deepcopy(model).eval()
    for parameter in traced.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    return traced


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
    torch_pruning, name = _torch_pruning(), layers.at(len(layers)).name
    try:
        traced = _traceable(model)
        classifier = dict(traced.named_modules()).get(name)
        if (
            not isinstance(classifier, nn.Linear)
            or bool(removed.all())
            or len(removed) != classifier.in_features
        ):
            raise InputError("features: expected some of those of a linear classifier to stay")
        graph = dependencies_of(torch_pruning, traced, x[:1])
        gone = group_of(graph, classifier, removed.nonzero().flatten().tolist())
        small = resized(model, (Removal.none(model) | gone).sliced(model.state_dict())).eval()
        # torch-pruning also removes what depends on the features; equal logits show that it was right.
        with quiet(model), torch.no_grad():
            same = torch.allclose(logits_of(small(x)), logits_of(model(x)), rtol=1e-4, atol=1e-5)
    except InputError:
        raise
    except Exception as error:  # torch-pruning fails in as many ways as there are models
        raise _not_removable("features", error) from None
    if not same:
        raise InputError("model: its features cannot be removed without others (they share what makes them)")
    return small
