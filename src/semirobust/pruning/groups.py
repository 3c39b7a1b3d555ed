"""Which channels of a network go together: a channel, its norm, the shortcut beside it, the next input."""

import logging
import math
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from semirobust.core.errors import InputError
from semirobust.core.outputs import logits_of
from semirobust.pruning.removal import Part, Removal, own_tensors

__all__ = ["Group", "dependencies_of", "group_of", "groups_of", "kind_of"]

_LOG = logging.getLogger("semirobust.pruning")
_MOST = 200_000  # indices that one group may reach; more are channels that go round in circles


_ENDLESS = "what goes with its channels has no end"

# What torch-pruning's mappings of channels raise where a view or a concatenation is not as they expect.
_LOST = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)


class _NotRemovable(Exception):
    """Channels must stay; the text says of which module and why."""


@dataclass(frozen=True)
class Group:
    """Channels that depend on each other: whatever of them is removed, is removed from all these tensors.

    Attributes:
        name: the first layer that computes them.
        units: what can be removed by itself: part -> indices. Mostly it is one channel of each layer; of
            grouped convolutions and norms, one of each of their groups.
        outputs: weights that compute the channels: name -> (units, k), the rows of each unit.
        problem: why they must stay; empty where nothing is known.
    """

    name: str
    units: tuple[Mapping[Part, frozenset[int]], ...] = field(default=(), repr=False)
    outputs: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    problem: str = ""

    def removal(self, units: Iterable[int]) -> dict[Part, frozenset[int]]:
        """What goes with some of the units."""
        gone: dict[Part, set[int]] = {}
        for unit in units:
            for part, indices in self.units[unit].items():
                gone.setdefault(part, set()).update(indices)
        return {part: frozenset(indices) for part, indices in gone.items()}

    def left(self, removal: Removal) -> list[int]:
        """The units that a removal leaves."""
        name, rows = next(iter(self.outputs.items()))
        stays = torch.zeros(removal.size((name, 0)), dtype=torch.bool)
        stays[removal.kept((name, 0))] = True
        return [int(i) for i in stays[rows[:, 0]].nonzero().flatten()]


def dependencies_of(torch_pruning: Any, model: nn.Module, x: Tensor, *, train: bool = False) -> Any:
    """torch-pruning's graph of ``model``, whose parameters must take gradients.

    Where it cannot say how a view maps channels, it takes them as they are; what follows is tried out later.

    Args:
        train: follow what runs in train mode, and all that it returns; norms stay in eval mode.
    """

    def run(model: nn.Module, x: tuple[Tensor]) -> Any:
        for module in model.modules():
            module.training = train and not isinstance(module, _NormBase)
        # The hooks of the network itself may leave out what is no logits.
        return model.forward(*x) if train else model(*x)

    graph = torch_pruning.DependencyGraph()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it says of unknown parameters is found out by trying
        try:
            return graph.build_dependency(
                model,
                (x,),
                forward_fn=run,
                output_transform=_tensors if train else logits_of,
                verbose=False,
            )
        except _LOST:
            if not getattr(graph, "module2node", None):
                raise
            _LOG.info("torch-pruning cannot follow the channels everywhere", exc_info=True)
        mapping = torch_pruning.dependency.index_mapping
        for node in graph.module2node.values():
            update = getattr(mapping, f"update_{node.type.name.lower()}_index_mapping", None)
            try:
                if update is not None:
                    update(graph, node)
            except _LOST:
                _LOG.info("torch-pruning cannot follow the channels through %s", node)
    return graph


def _tensors(output: Any) -> list[Tensor]:
    """All tensors that a network returned."""
    if isinstance(output, Tensor):
        return [output]
    parts = output.values() if isinstance(output, Mapping) else output
    return [t for part in parts if isinstance(part, Tensor | tuple | list | Mapping) for t in _tensors(part)]


def groups_of(graph: Any, last: nn.Module | None, scored: Iterable[str]) -> list[Group]:
    """All groups of channels of the convolutions and linear modules, but for those of the ``last`` one.

    Args:
        graph: as :func:`dependencies_of` gives it.
        scored: names of the weights of layers.
    """
    scored, seen = frozenset(scored), set[nn.Module]()
    found, endless = list[Group](), set[str]()
    for module in [m for m in graph.module2node if isinstance(m, _ConvNd | nn.Linear)]:
        size = module.out_channels if isinstance(module, _ConvNd) else module.out_features
        if module in seen or module is last or size < 2:
            continue
        name, handler = graph._module2name[module], graph.get_pruner_of_module(module).prune_out_channels
        try:
            if kind_of(name) in endless:
                raise _NotRemovable(_ENDLESS)
            reached = _reached(graph, module, handler, range(size))
        except _NotRemovable as error:
            if str(error) == _ENDLESS:
                endless.add(kind_of(name))  # in other blocks it takes as long to find out
            found.append(Group(name, problem=str(error)))
            continue
        except _LOST:
            _LOG.info("torch-pruning cannot follow the channels of %s", name, exc_info=True)
            found.append(Group(name, problem="torch-pruning cannot follow its channels"))
            continue
        out = {one.node.module for one in reached if one.outputs}
        seen |= out
        returned = any(one.outputs and not one.node.outputs for one in reached)
        if last not in out and not returned:
            found.append(_group(graph, name, reached, size, scored))
    return found


def kind_of(name: str) -> str:
    """The name of a layer without the numbers of the blocks that it stands in."""
    return re.sub(r"(^|\.)\d+(?=\.)", r"\1#", name)


def group_of(graph: Any, module: nn.Linear, inputs: Sequence[int]) -> dict[Part, frozenset[int]]:
    """What must go with some inputs of a linear module.

    Raises:
        InputError: they cannot go.
    """
    handler = graph.get_pruner_of_module(module).prune_in_channels
    try:
        cuts = _cuts(graph, _reached(graph, module, handler, inputs))
    except _NotRemovable as error:
        raise InputError(f"model: its features cannot be removed ({error})") from None
    return {part: frozenset(cut) for part, cut in cuts.items()}


class _Index(NamedTuple):
    """An index of a module's channels, and the channel of the first module that it goes with.

    The mappings of torch-pruning ask for these two names.
    """

    idx: int
    root_idx: int


@dataclass
class _Reached:
    """A module or parameter that channels reach, whether its outputs go, and which with which channel."""

    node: Any
    outputs: bool
    indices: dict[int, list[int]] = field(default_factory=dict)


def _reached(graph: Any, module: nn.Module, handler: Any, channels: Iterable[int]) -> list[_Reached]:
    """All that channels of ``module`` reach.

    It walks as ``DependencyGraph.get_pruning_group`` does, but that updates its whole graph for each group.
    """
    found: dict[tuple[int, Any], _Reached] = {}
    steps = 0

    def new(node: Any, handler: Any, indices: Iterable[_Index]) -> list[_Index]:
        """Those of the indices that had not been reached there with the same channel."""
        entry = found.setdefault(
            (id(node), handler), _Reached(node, handler.__name__.startswith("prune_out"))
        )
        fresh = []
        for one in indices:
            channels = entry.indices.setdefault(one.idx, [])
            if one.root_idx is None:
                raise _NotRemovable("heads of its attention share keys and values")
            if one.root_idx not in channels:
                channels.append(one.root_idx)
                fresh.append(one)
        return fresh

    root = graph.module2node[module]
    stack = [(root, handler, new(root, handler, [_Index(i, i) for i in channels]))]
    while stack:
        node, trigger, indices = stack.pop()
        for dependency in node.dependencies:
            if not dependency.is_triggered_by(trigger):
                continue
            mapped = indices
            for mapping in dependency.index_mapping:
                mapped = mapped if mapping is None else mapping(mapped)
            steps += len(mapped)
            if steps > _MOST:
                raise _NotRemovable(_ENDLESS)
            if mapped and (fresh := new(dependency.target, dependency.handler, mapped)):
                stack.append((dependency.target, dependency.handler, fresh))
    return list(found.values())


def _cuts(graph: Any, reached: Iterable[_Reached]) -> dict[Part, dict[int, list[int]]]:
    """What goes of which tensors: part -> index -> the channels that it goes with."""
    cuts: dict[Part, dict[int, list[int]]] = {}
    own, shared = own_tensors(graph.model)
    tensors = graph.model.state_dict()
    for entry in reached:
        module, node = entry.node.module, entry.node
        if isinstance(module, nn.Parameter):
            name = graph._param_to_name[module]
            if isinstance(graph.model.get_submodule(name.rpartition(".")[0]), _ConvNd | nn.Linear):
                continue  # a gain of its weights, which goes with its outputs
            parts = [(name, node.pruning_dim % module.dim(), 0)]
        elif (name := graph._module2name.get(module)) is None:
            continue  # an operation
        else:
            parts = list(_parts(name, module, outputs=entry.outputs))
        for tensor, dim, width in parts:
            if tensor in shared:
                raise _NotRemovable(shared[tensor])
            if tensor not in own and tensor not in tensors:
                raise _NotRemovable(f"{tensor} is no parameter of its own")
            cut, size = cuts.setdefault((tensor, dim), {}), tensors[tensor].shape[dim]
            for index, channels in entry.indices.items():
                if not 0 <= index < size and not width:
                    raise _NotRemovable("torch-pruning cannot follow its channels")
                cut.setdefault(index % width if width else index, []).extend(channels)
    return cuts


def _parts(name: str, module: nn.Module, *, outputs: bool) -> Iterator[tuple[str, int, int]]:
    """The tensors of a module that channels go through, the dimension, and the width of a group, where each
    group counts from 0.
    """
    if isinstance(module, _ConvTransposeNd):
        if outputs or module.groups > 1:
            raise _NotRemovable(f"{name} is a transposed convolution")
        yield f"{name}.weight", 0, 0
    elif isinstance(module, _ConvNd | nn.Linear):
        depthwise = isinstance(module, _ConvNd) and module.groups == module.out_channels > 1
        if outputs or depthwise:
            yield f"{name}.weight", 0, 0
            for attribute, parameter in module.named_parameters(recurse=False):
                if attribute != "weight" and parameter.numel() == len(parameter) == len(module.weight):
                    yield f"{name}.{attribute}", 0, 0
        else:
            grouped = isinstance(module, _ConvNd) and module.groups > 1
            yield f"{name}.weight", 1, module.weight.shape[1] if grouped else 0
    elif isinstance(module, _NormBase | nn.LayerNorm | nn.GroupNorm | nn.PReLU):
        if isinstance(module, nn.LayerNorm) and len(module.normalized_shape) > 1:
            raise _NotRemovable(f"{name} is a norm over places, too")
        if not isinstance(module, nn.PReLU) or module.num_parameters > 1:
            tensors = ("weight", "bias", "running_mean", "running_var")
            yield from ((f"{name}.{k}", 0, 0) for k in tensors if getattr(module, k, None) is not None)
    elif isinstance(module, nn.LSTM) and not outputs:
        yield f"{name}.weight_ih_l0", 1, 0
        if module.bidirectional:
            yield f"{name}.weight_ih_l0_reverse", 1, 0
    elif isinstance(module, nn.Embedding):
        yield f"{name}.weight", 1, 0
    elif isinstance(module, nn.LSTM | nn.MultiheadAttention):
        raise _NotRemovable(f"{name} is of the class {type(module).__name__}")


def _group(graph: Any, name: str, reached: Sequence[_Reached], size: int, scored: frozenset[str]) -> Group:
    """The group of all ``size`` channels of the module ``name``."""
    try:
        cuts, parts = _cuts(graph, reached), _n_parts(reached)
    except _NotRemovable as error:
        return Group(name, problem=str(error))
    if size % parts:
        return Group(name, problem=f"its {size} channels go into {parts} groups")
    # Channels go together where groups of a convolution or norm must stay alike, or an index needs both.
    roots = list(range(size))

    def root(i: int) -> int:
        while roots[i] != i:
            i = roots[i]
        return i

    for i in range(size):
        roots[root(i)] = root(i % (size // parts))
    for cut in cuts.values():
        for channels in cut.values():
            for channel in channels[1:]:
                low, high = sorted((root(channels[0]), root(channel)))
                roots[high] = low
    units: dict[int, dict[Part, set[int]]] = {}
    for part, cut in cuts.items():
        for index, channels in cut.items():
            units.setdefault(root(channels[0]), {}).setdefault(part, set()).add(index)
    frozen = tuple({k: frozenset(v) for k, v in units[i].items()} for i in sorted(units))
    computing = {}
    for entry in reached:
        tensor = f"{graph._module2name.get(entry.node.module, '')}.weight"
        rows = [sorted(unit.get((tensor, 0), ())) for unit in frozen]
        layer = entry.outputs and isinstance(entry.node.module, _ConvNd | nn.Linear)
        if layer and len({len(row) for row in rows}) == 1 and rows[0]:
            computing[tensor] = torch.tensor(rows)
    # Layers judge their channels; gates and projections only where no layer does.
    outputs = {tensor: rows for tensor, rows in computing.items() if tensor in scored} or computing
    if not outputs:
        return Group(name, problem="no layer computes all of its channels")
    if len(units) < 2:
        return Group(name, problem="its channels all go together")
    return Group(name, frozen, outputs)


def _n_parts(reached: Iterable[_Reached]) -> int:
    """Of how many groups channels go at a time, because convolutions and norms have groups of one size."""
    parts = 1
    for entry in reached:
        module = entry.node.module
        if isinstance(module, _ConvNd) and module.groups != module.out_channels:
            parts = math.lcm(parts, module.groups)
        elif isinstance(module, nn.GroupNorm):
            parts = math.lcm(parts, module.num_groups)
    return parts
