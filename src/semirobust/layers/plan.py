"""Which weight layers of a run are numbered, where their features are, and how these divide into examples."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from semirobust.core.errors import InputError
from semirobust.core.seed import as_seed
from semirobust.layers.graph import IMAGE, Graph, members
from semirobust.layers.sites import Key
from semirobust.layers.trace import Run, Site, observed

__all__ = ["FILTERED", "MIXED", "Plan", "Shapes"]

CONSTANT = "the input does not depend on the image"
DEAD_END = "the output does not reach the logits"
DETACHED = "no gradient of the logits reaches it"
FILTERED = "the filter leaves it out"
MIXED = "the feature cannot be divided into examples"


class Plan:
    """Which sites are layers, to which the others belong, and where features are.

    Attributes:
        left_out: site -> why it is no layer.
    """

    def __init__(self, run: Run, graph: Graph, count_projections: bool) -> None:
        self.graph = graph
        self.sites = list(run.sites.values())
        self.left_out: dict[int, str] = {}
        self._moved: dict[tuple[int, int, Key], bool] = {}
        reached = set(members(graph.logits))
        for number in range(1, len(self.sites) + 1):
            if not graph.inputs[number - 1] & IMAGE:
                self.left_out[number] = CONSTANT
            elif number not in reached:
                self.left_out[number] = DETACHED if number in graph.detached else DEAD_END
        self._belongs = {
            part: owner
            for part, owner in graph.belongs.items()
            if not (count_projections and part in graph.projections)
        }

    def leave_out(self, reason: Callable[[Site], str | None]) -> None:
        """Leave out the layers for which there is a reason."""
        for number in self.mains:
            if (why := reason(self.sites[number - 1])) is not None:
                self.left_out[number] = why

    def owner(self, number: int) -> int:
        """The layer that a site is or belongs to."""
        while number in self._belongs and number not in self.left_out:
            number = self._belongs[number]
        return number

    @property
    def mains(self) -> list[int]:
        """The sites that are layers, in order."""
        everything = range(1, len(self.sites) + 1)
        return [n for n in everything if n not in self.left_out and self.owner(n) == n]

    def parts(self, number: int) -> list[int]:
        """The sites that belong to a layer, itself included."""
        return [
            n for n in range(1, len(self.sites) + 1) if n not in self.left_out and self.owner(n) == number
        ]

    def place(self, number: int) -> tuple[int, Key]:
        """Where the feature of a layer is: the site whose argument it is (0 for the logits), and which."""
        first: tuple[int, Key] | None = None
        for later in self.mains:
            for key, mask in self.graph.arguments[later - 1].items() if later > number else ():
                if mask & 1 << number:
                    first = first or (later, key)
                    if self._moves(number, later, key):
                        return later, key
        # A branch of weight 0 moves nothing for now, but may once it is trained.
        return first or (0, 0)

    def _moves(self, number: int, later: int, key: Key) -> bool:
        """Whether a layer moves an argument of a later one, as far as can be told."""
        if (number, later, key) not in self._moved:
            self._moved[number, later, key] = self.graph.moves(number, later, key) is not False
        return self._moved[number, later, key]

    def before(self, number: int) -> int:
        """The last layer that the input of a layer depends on; 0 where there is none."""
        mains, found = set(self.mains), self.graph.input_of(number)
        if not found & IMAGE:
            # It first got a constant, or what has no gradient. What it depends on all the same is before it
            # unless the feature of that depends on it.
            found = self.graph.inputs[number - 1]
            mains -= {n for n in mains if self._input(self.place(n)[0]) & 1 << number}
        return max((n for n in members(found) if n in mains and n < number), default=0)

    def _input(self, place: int) -> int:
        """What the arguments of a site depend on, or (0) the logits."""
        return self.graph.inputs[place - 1] if place else self.graph.logits

    def divides(self, number: int, shapes: "Shapes") -> bool:
        """Whether feature and output of a layer can be divided into examples."""
        place, key = self.place(number)
        return shapes.divides(place, key) and shapes.divides(number, None)


@dataclass
class Shapes:
    """What the sites pass on for one example, and for two where the model takes two.

    Attributes:
        model, x: the model and the one example.
        one, two: the runs; ``two`` is None where the model takes one example alone.
    """

    model: nn.Module
    x: Tensor
    one: Run
    two: Run | None

    @classmethod
    def of(cls, model: nn.Module, x: Tensor, run: Run) -> "Shapes":
        # The second example differs from the first, so that rows that come in another order are seen.
        both = torch.cat([x, 0.5 * x.flip(-1) + 0.25])
        two: Run | None = None
        with suppress(InputError):  # a model for one example at a time
            two = observed(model, both)
        return cls(model, x, run, two)

    @cached_property
    def again(self) -> Run:
        """Another run on the one example, which differs where the model draws numbers of its own."""
        return observed(self.model, self.x, as_seed(0) / "again")

    def values(self, run: Run, site: int, key: Key | None) -> Tensor | None:
        """The logits (site 0), the argument ``key`` of a site, or its result where ``key`` is None."""
        if site == 0:
            return run.logits
        chosen = run.sites.get(list(self.one.sites)[site - 1])  # two examples may take different ways
        if chosen is None:
            return None
        return chosen.result if key is None else chosen.arguments.get(key)

    def batch_dim(self, site: int, key: Key | None) -> tuple[int, tuple[int, ...]]:
        """The dimension that doubles from one example to two, and the shape of one example without it."""
        one = self.values(self.one, site, key)
        assert one is not None
        shape = tuple(one.shape)
        two = None if self.two is None else self.values(self.two, site, key)
        both = shape if two is None else tuple(two.shape)
        doubled = next((d for d, (a, b) in enumerate(zip(shape, both, strict=False)) if b == 2 * a), 0)
        return doubled, shape[:doubled] + shape[doubled + 1 :] if shape[doubled : doubled + 1] == (
            1,
        ) else shape

    def divides(self, site: int, key: Key | None) -> bool:
        """Whether the first half of what two examples give is what the first of them gives alone."""
        one = self.values(self.one, site, key)
        two = None if self.two is None else self.values(self.two, site, key)
        if one is None or two is None:
            return one is not None
        if two.numel() != 2 * one.numel() or one.numel() == 0:
            return False
        dim, _ = self.batch_dim(site, key)
        first, second = two.movedim(dim, 0).reshape(2, -1).double()
        alone = one.movedim(dim, 0).reshape(-1).double()
        error = float((first - alone).abs().mean())
        # Rounding, and quantisation whose steps depend on the batch, make less of a difference than another
        # example does; rows in another order make as much.
        rounding = 1e-3 * float(alone.abs().mean()) + 1e-9
        if not error > max(0.4 * float((second - alone).abs().mean()), rounding):
            return True
        same = self.values(self.again, site, key)
        # Where it comes out otherwise by chance alone, nothing can be told.
        return same is not None and not torch.allclose(same, one, rtol=1e-3, atol=1e-6)
