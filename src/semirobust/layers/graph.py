"""Which weight layer's output reaches which input, and what it does there."""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from semirobust.core.seed import as_seed
from semirobust.core.text import first_line
from semirobust.layers.noise import dependence_by_noise, moved_by_image, moving_logits
from semirobust.layers.sites import Key
from semirobust.layers.trace import Run, Site

__all__ = ["IMAGE", "Graph", "graph_of", "members"]

_SEED = as_seed(0) / "graph"
_LOG = logging.getLogger("semirobust.layers")

IMAGE = 1
"""The bit of the model's input in a set of sites; the k-th site, counted from 1, has bit k."""

_NONLINEAR = (
    "Relu",
    "Elu",
    "Selu",
    "Celu",
    "Gelu",
    "Silu",
    "Mish",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
    "Hardtanh",
    "Hardswish",
    "Hardsigmoid",
    "Threshold",
    "Clamp",
    "Prelu",
)
_POOLS = ("Mean", "AvgPool", "Sum", "MaxPool", "Amax")


@dataclass
class Graph:
    """Dependences between the weight layers of one run, as sets of sites in the bits of whole numbers.

    Attributes:
        arguments: for each site, what each argument of its first call depends on.
        inputs: for each site, what any argument of any call depends on.
        logits: what the logits depend on.
        others: for each other module with tensors, what its arguments depend on.
        belongs: site (from 1) -> the site that it is a part of: the projection of a shortcut to the last one
            of the path to which it is added, a gate to the one whose output it scales.
        projections: those of them that are projections.
        detached: the sites that the logits depend on without a gradient.
        moves: whether a result of a site moves an argument of another by its gradient; None where no gradient
            tells.
    """

    arguments: list[dict[Key, int]]
    inputs: list[int]
    logits: int
    others: dict[str, int]
    belongs: dict[int, int] = field(default_factory=dict)
    projections: set[int] = field(default_factory=set)
    detached: set[int] = field(default_factory=set)
    moves: Callable[[int, int, Key], bool | None] = lambda site, later, key: None

    def input_of(self, site: int) -> int:
        """All that any argument of the first call of a site depends on."""
        union = 0
        for mask in self.arguments[site - 1].values():
            union |= mask
        return union


def members(mask: int) -> Iterator[int]:
    """The sites of a set, ascending."""
    mask &= ~IMAGE
    while mask:
        yield (mask & -mask).bit_length() - 1
        mask &= mask - 1


def graph_of(model: nn.Module, x: Tensor, run: Run) -> Graph:
    """The graph of a run on ``x``, by autograd where it followed the whole pass, else by noise."""
    sites = list(run.sites.values())
    if (
        run.problem
        or run.logits_node is None
        or any(node is None for site in sites for node in site.result_nodes)
    ):
        # Something in the model is not differentiable, such as rounding or a part without a gradient.
        found = dependence_by_noise(model, x, run)
        # Without a graph a norm belongs to the site that ran before it.
        others = {name: (1 << count) & ~IMAGE for name, (count, _) in run.others.items()}
        return Graph(found.arguments, found.inputs, found.logits, others)
    tape = _Tape(run)
    graph = Graph(
        [{key: tape.mask(node) for key, node in site.argument_nodes.items()} for site in sites],
        [tape.union([*site.argument_nodes.values(), *site.later_nodes]) for site in sites],
        tape.mask(run.logits_node),
        {name: tape.union(nodes) for name, (_, nodes) in run.others.items()},
    )
    sizes = [sum(p.numel() for p in site.module.parameters()) if site.module else 0 for site in sites]
    graph.moves = _Gradients(sites).moves
    _find_gates(graph, tape, [0 if s.result is None else s.result.numel() for s in sites])
    _find_projections(graph, tape, sizes)
    _find_detached(graph, model, x, run)
    return graph


def _find_detached(graph: Graph, model: nn.Module, x: Tensor, run: Run) -> None:
    """Where no gradient leads from the image to a site, or from a site to the logits, noise tells whether
    values do, as through ``detach``.
    """
    reached, numbers = set(members(graph.logits)), range(1, len(run.sites) + 1)
    unmoved = {number for number in numbers if not graph.inputs[number - 1] & IMAGE}
    try:
        if unmoved and (found := unmoved & moved_by_image(model, x, run)):
            inputs = dependence_by_noise(model, x, run).inputs
            for number in sorted(unmoved):
                graph.inputs[number - 1] |= inputs[number - 1] if number in found else 0
                # What comes behind it is found by autograd, also where a value moves nothing for now.
                for earlier in list(members(graph.inputs[number - 1])):
                    graph.inputs[number - 1] |= graph.inputs[earlier - 1]
        if ends := [number for number in numbers if number not in reached]:
            graph.detached = moving_logits(model, x, run, ends)
    except Exception as error:  # a model can fail in any way on noise
        _LOG.info("nothing was looked for behind detach because %s", first_line(error))


class _Gradients:
    """Whether one site moves another, which a graph of whole tensors cannot tell.

    A part of a concatenation may be all that goes on.
    """

    def __init__(self, sites: list[Site]) -> None:
        self._sites = sites

    def moves(self, site: int, later: int, key: Key) -> bool | None:
        """Whether the gradient of an argument of a later site in the results of a site is not 0; None where
        there is none to ask.
        """
        feature = self._sites[later - 1].live.get(key)
        results = [tensor for tensor in self._sites[site - 1].results if tensor.requires_grad]
        if feature is None or not feature.requires_grad or not results:
            return None
        cotangent = torch.rand(feature.shape, generator=_SEED.generator()).to(feature)
        try:
            # Handed over as grad_outputs, the cotangent would make PyTorch import sympy, of 35 MB.
            total = (feature * cotangent).sum()
            total = total.real if total.is_complex() else total
            gradients = torch.autograd.grad(total, results, retain_graph=True, allow_unused=True)
        except RuntimeError as error:  # such as an operation in place on what the gradient needs
            _LOG.info("no gradient between layers because %s", first_line(error))
            return None
        return any(gradient is not None and bool((gradient != 0).any()) for gradient in gradients)


class _Tape:
    """The graph of autograd behind the logits of a run."""

    def __init__(self, run: Run) -> None:
        self._marks = {run.x_node: IMAGE}
        for number, site in enumerate(run.sites.values(), 1):
            for node in site.result_nodes:
                self._marks[node] = self._marks.get(node, 0) | 1 << number
        self._masks: dict[Any, int] = {}
        self._inputs = {
            number: list(site.argument_nodes.values()) for number, site in enumerate(run.sites.values(), 1)
        }
        self.consumers: dict[Any, int] = {}
        self.nodes: list[Any] = []
        for node in self._behind(run.logits_node):
            self.nodes.append(node)
            for following in self.next(node):
                self.consumers[following] = self.consumers.get(following, 0) + 1

    def next(self, node: Any) -> list[Any]:
        """What a node was computed from."""
        # Nodes of compiled functions have none.
        edges = getattr(node, "next_functions", ())
        return [following for following, _ in edges if following is not None]

    def _behind(self, node: Any) -> Iterator[Any]:
        seen, open_ = {node}, [node]
        while open_:
            node = open_.pop()
            yield node
            for following in self.next(node):
                if following not in seen:
                    seen.add(following)
                    open_.append(following)

    def mask(self, node: Any) -> int:
        """What a node depends on, itself included."""
        if node is None:
            return 0
        open_ = [node]
        while open_:  # not recursive, since networks are deep
            top = open_[-1]
            if top in self._masks:
                open_.pop()
                continue
            missing = [following for following in self.next(top) if following not in self._masks]
            if missing:
                open_.extend(missing)
                continue
            mask = self._marks.get(top, 0)
            for following in self.next(top):
                mask |= self._masks[following]
            self._masks[top] = mask
            open_.pop()
        return self._masks[node]

    def union(self, nodes: Iterable[Any]) -> int:
        """What any of the nodes depends on."""
        mask = 0
        for node in nodes:
            mask |= self.mask(node)
        return mask

    def operands(self, kind: str) -> Iterator[tuple[Any, Any]]:
        """The operands of all sums ("Add") or products ("Mul") of two values that depend on the image."""
        for node in self.nodes:
            if node.name().startswith(f"{kind}Backward"):
                both = [n for n in self.next(node) if self.mask(n) & IMAGE]
                if len(both) == 2:
                    yield both[0], both[1]

    def pools(self, site: int, owner: int) -> bool:
        """Whether values of ``owner`` are averaged, added up or compared on their way into ``site``."""
        open_, seen = [node for node in self._inputs[site] if node is not None], set[Any]()
        while open_:
            node = open_.pop()
            if node in seen or not self.mask(node) & 1 << owner or self._marks.get(node, 0) & ~IMAGE:
                continue
            seen.add(node)
            if any(word in node.name() for word in _POOLS):
                return True
            open_.extend(self.next(node))
        return False

    def is_linear_chain(self, node: Any, only: int) -> bool:
        """Whether the sites ``only`` behind ``node`` follow one another, feed nothing else, and have no
        activation between or behind them.
        """
        while self.mask(node) & only:
            name = node.name()
            if self.consumers.get(node, 0) != 1 or any(word in name for word in _NONLINEAR):
                return False
            following = [n for n in self.next(node) if self.mask(n) & only]
            if len(following) > 1:
                return False
            if not following:
                return True
            node = following[0]
        return True


def _find_projections(graph: Graph, tape: _Tape, sizes: list[int]) -> None:
    """A projection is a chain without activations that is added to a longer path from the same place.

    It has fewer layers than the path and fewer parameters, which tells it from a layer with a low-rank
    update.
    """
    for one, two in tape.operands("Add"):
        for side, main in ((one, two), (two, one)):
            short = _counted(graph, tape.mask(side) & ~tape.mask(main))
            long = _counted(graph, tape.mask(main) & ~tape.mask(side))
            few, many = list(members(short)), list(members(long))
            smaller = sum(sizes[i - 1] for i in few) <= sum(sizes[i - 1] for i in many)
            if few and len(few) < len(many) and smaller and tape.is_linear_chain(side, short):
                graph.belongs |= dict.fromkeys(few, many[-1])
                graph.projections.update(few)


def _counted(graph: Graph, mask: int) -> int:
    """The set without those that are a part of others."""
    for site in graph.belongs:
        mask &= ~(1 << site)
    return mask


def _find_gates(graph: Graph, tape: _Tape, sizes: list[int]) -> None:
    """A gate is computed from what it scales and has fewer values: squeeze and excitation, or attention over
    positions.
    """
    for one, two in tape.operands("Mul"):
        for scaled, factor in ((one, two), (two, one)):
            base = tape.mask(scaled)
            gate = tape.mask(factor) & ~base
            if not gate & ~IMAGE or base & ~tape.mask(factor) or not base & ~IMAGE:
                continue
            owner = max(members(base))
            smaller = all(sizes[site - 1] < sizes[owner - 1] for site in members(gate))
            # On a map of one pixel the sizes tell nothing.
            if smaller or tape.pools(min(members(gate)), owner):
                graph.belongs |= dict.fromkeys(members(gate), owner)
