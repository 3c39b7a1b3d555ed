"""The weight layers of any module, numbered in the order in which they run."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import overload

import torch
from torch import Tensor, nn

from semirobust.core.checks import check_floating
from semirobust.core.errors import InputError
from semirobust.layers.trace import Trace, projections_in, traced

__all__ = ["SHORTCUTS", "Layer", "LayerMap", "layer_map"]

SHORTCUTS = r"downsample|shortcut|convShortcut|skip|conv_skip|skip_conv|conv_sc|projection"
"""Names of modules that are the projection of a shortcut (full match of the last part of the path)."""

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@dataclass(frozen=True)
class Layer:
    """One weight layer: a convolution or linear module, and all that runs before the next one.

    Attributes:
        index: its number, 1 to n in execution order.
        name: the qualified name of its convolution or linear module.
        kind: the class of that module.
        feature_shape: shape of the feature F_i without the batch. F_i is the input of layer i+1; that of the
            last layer is the logits.
        output_shape: shape of the module's raw output without the batch.
        modules: the modules whose direct parameters and buffers belong to the layer, such as its norm.
        parameters: the names of all its parameters.
        block: the smallest enclosing module that has several weight layers and whose class occurs more than
            once, such as a residual block; the layer itself if there is none.
        ends_block: whether it is the last weight layer of its block.
        batch_dim: the dimension of its feature that counts examples; 1 where the sequence comes first.
        output_batch_dim: the same for its raw output.
    """

    index: int
    name: str
    kind: str
    feature_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    modules: tuple[str, ...]
    parameters: tuple[str, ...]
    block: str
    ends_block: bool
    batch_dim: int = 0
    output_batch_dim: int = 0

    def per_example(self, feature: Tensor, n: int, *, raw: bool = False) -> Tensor:
        """A recorded feature (or raw output) of ``n`` examples as a matrix (n, values), one row each."""
        return feature.movedim(self.output_batch_dim if raw else self.batch_dim, 0).reshape(n, -1)

    @property
    def features(self) -> int:
        """The number N_i of values in its feature."""
        return int(torch.Size(self.feature_shape).numel())


@dataclass(frozen=True)
class LayerMap(Sequence[Layer]):
    """The layers of one model in execution order; ``map[0]`` is layer 1.

    Attributes:
        layers: the entries.
        unassigned: parameters of modules that did not run and belong to no layer.
    """

    layers: tuple[Layer, ...]
    unassigned: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    @overload
    def __getitem__(self, position: int) -> Layer: ...
    @overload
    def __getitem__(self, position: slice) -> tuple[Layer, ...]: ...
    def __getitem__(self, position: int | slice) -> Layer | tuple[Layer, ...]:
        return self.layers[position]

    @property
    def indices(self) -> tuple[int, ...]:
        """1 to n."""
        return tuple(layer.index for layer in self.layers)

    @property
    def block_ends(self) -> tuple[int, ...]:
        """Indices of the layers that end a block; the last layer is always among them."""
        return tuple(layer.index for layer in self.layers if layer.ends_block or layer.index == len(self))

    def at(self, index: int) -> Layer:
        """The layer numbered ``index`` (from 1)."""
        if not 1 <= index <= len(self):
            raise InputError(f"layer: expected an index from 1 to {len(self)}, got {index}")
        return self.layers[index - 1]

    def modules(self, indices: Iterable[int]) -> tuple[str, ...]:
        """Names of the modules that belong to the given layers."""
        return tuple(name for index in indices for name in self.at(index).modules)

    def parameters(self, indices: Iterable[int]) -> tuple[str, ...]:
        """Names of the parameters that belong to the given layers."""
        return tuple(name for index in indices for name in self.at(index).parameters)

    def __str__(self) -> str:
        width = max(len(layer.name) for layer in self.layers)
        rows = [
            f"{x.index:>4}  {x.name:<{width}}  {x.kind:<9} {'x'.join(map(str, x.feature_shape))}"
            for x in self.layers
        ]
        return "\n".join(rows)


def layer_map(
    model: nn.Module, x: Tensor, *, shortcuts: str = SHORTCUTS, count_projections: bool = False
) -> LayerMap:
    """Number the weight layers of ``model`` by running it once on the first example of ``x``.

    A weight layer is a convolution, linear or multi-head attention module on the main path. Other modules
    belong to the weight layer before them. The projection of a shortcut belongs to the last weight layer of
    the block to whose output it is added, so a ResNet-18 has 18 layers. A module that runs several times
    counts once, where it first runs. A module with weight layers inside may have parameters of its own, such
    as a class token or a layer scale; they belong to the next weight layer that runs.

    Args:
        model: any module; mode, parameters and buffers stay as they are.
        x: an input batch (N, ...); only its shape, type and device matter.
        shortcuts: pattern of the names of projections, which count as such only beside the main path; ``""``
            for none.
        count_projections: number projections as layers too, as the code of the semirobustness paper does.

    Raises:
        InputError: ``x`` is no floating-point batch, or no weight layer ran.
    """
    check_floating(x)
    projections = projections_in(model, x[:1], "" if count_projections else shortcuts)
    # A second run on two examples shows which dimension of each feature counts examples.
    trace = traced(model, x[:1], projections)
    twice = traced(model, x[:1].repeat(2, *(1,) * (x.dim() - 1)), projections)
    if not trace.order:
        raise InputError(
            f"model: expected a convolution or linear module to run, found none in {type(model).__name__}"
        )
    _assign_projections(trace)
    # The first recorded shape is the input of layer 1; the feature of layer i is the input of layer i+1.
    shapes = [_batch_dim(a, b) for a, b in zip(trace.features[1:], twice.features[1:], strict=True)]
    ends = _block_ends(model, trace.order)
    modules: dict[int, list[str]] = {}
    for name, index in trace.owner.items():
        modules.setdefault(index, []).append(name)
    named = dict(model.named_modules())
    canonical = {id(parameter): name for name, parameter in model.named_parameters()}
    layers = []
    for index, name in enumerate(trace.order, 1):
        output_dim, output_shape = _batch_dim(trace.outputs[name], twice.outputs[name])
        layers.append(
            Layer(
                index=index,
                name=name,
                kind=type(named[name]).__name__,
                feature_shape=shapes[index - 1][1],
                output_shape=output_shape,
                modules=tuple(modules[index]),
                parameters=_direct_parameters(named, modules[index], canonical),
                block=ends[name][0],
                ends_block=ends[name][1],
                batch_dim=shapes[index - 1][0],
                output_batch_dim=output_dim,
            )
        )
    return _with_unassigned(model, tuple(layers))


def _batch_dim(one: tuple[int, ...], two: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """The dimension that doubles from one example to two, and the shape of one example without it."""
    doubled = next((d for d, (a, b) in enumerate(zip(one, two, strict=False)) if b == 2 * a), 0)
    return doubled, one[:doubled] + one[doubled + 1 :] if one[doubled] == 1 else one


def _with_unassigned(model: nn.Module, layers: tuple[Layer, ...]) -> LayerMap:
    """The map of these layers, in which a parameter that several of them share belongs to the first."""
    seen: set[str] = set()
    unique = []
    for layer in layers:
        new = tuple(name for name in layer.parameters if name not in seen)
        seen.update(new)
        unique.append(replace(layer, parameters=new))
    return LayerMap(tuple(unique), tuple(name for name, _ in model.named_parameters() if name not in seen))


def _assign_projections(trace: Trace) -> None:
    """Give each projection to the last weight layer of the block around it, in whatever order they ran."""
    for name in trace.projections:
        for prefix in _enclosing(name):
            inside = [index for index, layer in enumerate(trace.order, 1) if layer.startswith(prefix + ".")]
            if inside:
                trace.owner[name] = inside[-1]
                break


def _block_ends(model: nn.Module, order: Sequence[str]) -> dict[str, tuple[str, bool]]:
    """Layer name -> its block, and whether it is the last layer of the block."""
    # A class that occurs once is the whole network or a stage; containers are stages of blocks.
    named = dict(model.named_modules())
    occurrences = Counter(type(module) for module in named.values())
    result = {}
    for name in order:
        block, last = name, name
        for prefix in _enclosing(name):
            inside = [layer for layer in order if layer.startswith(prefix + ".")]
            repeated = occurrences[type(named[prefix])] > 1
            if len(inside) > 1 and repeated and not isinstance(named[prefix], _CONTAINERS):
                block, last = prefix, inside[-1]
                break
        result[name] = (block, last == name)
    return result


def _enclosing(name: str) -> Iterator[str]:
    """Names of the modules around ``name``, the smallest first, without the model itself."""
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def _direct_parameters(
    named: dict[str, nn.Module], modules: Iterable[str], canonical: dict[int, str]
) -> tuple[str, ...]:
    """Names of the parameters of these modules without their sub-modules, as ``model.named_parameters()``
    gives them.
    """
    names = (canonical[id(p)] for name in modules for p in named[name].parameters(recurse=False))
    return tuple(dict.fromkeys(names))
