"""Keeping a batch to the examples on which an attack still works, and the best point of each."""

from abc import ABC
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import fields
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from semirobust.core.devices import costs_a_wait
from semirobust.threats.base.ball import per_example

__all__ = ["AbstractActive", "Best", "Gone", "all_rows", "looks", "pooled", "runs_per_batch"]

_LOOKS = 5


class AbstractActive(ABC):
    """What an attack holds of the examples that it still attacks: tensors, or tuples of tensors, of n rows.

    A concrete one is a dataclass that declares them as fields, ``rows`` first; :meth:`keep` and :meth:`drop`
    treat all of them alike.

    Attributes:
        rows: (n,) which examples of the batch they are.
    """

    rows: Tensor

    def keep(self, kept: Tensor) -> None:
        """Keep only the rows whose numbers ``kept`` (m,) gives."""
        for field in fields(cast(Any, self)):
            setattr(self, field.name, _part(getattr(self, field.name), kept))

    def drop(self, done: Tensor) -> bool:
        """Drop the rows that ``done`` (n,) marks; True if none is left."""
        if costs_a_wait(done) or bool(done.any()):
            left = (~done).nonzero().flatten()
            if len(left) < len(self):
                self.keep(left)
        return len(self) == 0

    def __len__(self) -> int:
        return len(self.rows)


Active = TypeVar("Active", bound=AbstractActive)


def pooled(parts: Sequence[Active], rows: int) -> Iterator[Active]:
    """What is left of several ``parts``, put together into batches of at most about so many rows."""
    group, count = list[Active](), 0
    for part in parts:
        if len(part) and count and count + len(part) > rows:
            yield _joined(group)
            group, count = [], 0
        if len(part):
            group.append(part)
            count += len(part)
    if group:
        yield _joined(group)


def _joined(parts: Sequence[Active]) -> Active:
    joined = copy(parts[0])
    for field in fields(cast(Any, joined)):
        values = [getattr(part, field.name) for part in parts]
        setattr(joined, field.name, _joined_values(values))
    return joined


def _joined_values(values: Sequence[Any]) -> Any:
    if not isinstance(values[0], tuple):
        return torch.cat(list(values))
    return _like(values[0], list(map(torch.cat, zip(*values))))


class Best:
    """The best point of each example: one that reached the goal, and of highest loss among equals.

    Args:
        x: (N, ...) the examples.
        shared: several points of one example may be handed over at once, row i of example i modulo N.
    """

    def __init__(self, x: Tensor, *, shared: bool = False) -> None:
        self._shared = shared
        self.x_adv = x.clone()
        precise = torch.promote_types(x.dtype, torch.float32)
        self.loss = torch.full((len(x),), -torch.inf, device=x.device, dtype=precise)
        self.reached = torch.zeros(len(x), dtype=torch.bool, device=x.device)

    def open_rows(self, *, early_exit: bool) -> Tensor:
        """The examples still to be attacked: all, or with an early exit those that did not reach the goal."""
        return (~self.reached).nonzero().flatten() if early_exit else all_rows(self.x_adv)

    def keep(
        self,
        rows: Tensor,
        x_adv: Tensor,
        loss: Tensor,
        reached: Tensor | None,
        among: Tensor | None = None,
    ) -> None:
        """Keep what is better of these points of the examples ``rows``; None reaches nothing.

        Only those that ``among`` (n,) marks are looked at, where it is given.
        """
        rows = rows % len(self.x_adv) if self._shared else rows
        loss, before = loss.to(self.loss.dtype), self.reached[rows]
        reached = torch.zeros_like(before) if reached is None else reached
        mask = (reached & ~before) | ((reached == before) & (loss > self.loss[rows]))
        mask = mask if among is None else mask & among
        mask = mask & self._first(rows, loss, reached, mask) if self._shared else mask
        if costs_a_wait(mask):
            if self._shared:  # rows of one example all write the same, since any of them may come last
                source = self._source(rows, mask)
                mask, source = source >= 0, source.clamp_min(0)
                x_adv, loss, reached = x_adv[source], loss[source], reached[source]
            self.x_adv[rows] = torch.where(per_example(mask, x_adv), x_adv, self.x_adv[rows])
            self.loss[rows] = torch.where(mask, loss, self.loss[rows])
            self.reached[rows] = torch.where(mask, reached, before)
            return
        better = mask.nonzero().flatten()
        chosen = rows[better]
        self.x_adv[chosen] = x_adv[better]
        self.loss[chosen], self.reached[chosen] = loss[better], reached[better]

    def _source(self, rows: Tensor, mask: Tensor) -> Tensor:
        """Which row is kept of the example of each row, of which ``mask`` marks one at most; -1 where none
        is: (n,).
        """
        none = torch.full((len(self.x_adv),), -1, device=rows.device)
        return none.scatter_reduce(0, rows, torch.where(mask, all_rows(rows), -1), "amax")[rows]

    def _first(self, rows: Tensor, loss: Tensor, reached: Tensor, among: Tensor) -> Tensor:
        """Which of the points that ``among`` marks is the best of its example: (n,)."""
        order = loss.argsort(stable=True)
        order = order[reached[order].int().argsort(stable=True)]
        rank = torch.empty_like(order).scatter_(0, order, all_rows(order))
        none = torch.full((len(self.x_adv),), -1, device=rank.device)
        highest = none.scatter_reduce(0, rows, torch.where(among, rank, -1), "amax")
        return rank == highest[rows]


def _part(value: Any, kept: Tensor) -> Any:
    if not isinstance(value, tuple):
        return value[kept]
    return _like(value, [tensor[kept] for tensor in value])


def _like(value: Any, parts: list[Tensor]) -> Any:
    return value._make(parts) if hasattr(value, "_make") else tuple(parts)  # a NamedTuple stays one


def all_rows(x: Tensor) -> Tensor:
    """0..N-1 on the device of ``x``."""
    return torch.arange(len(x), device=x.device)


class Gone:
    """Which examples of a batch are done, kept on their device and looked at by schedule.

    Args:
        examples: how many; row i stands for example i modulo that.
        x: a tensor on the device.
    """

    def __init__(self, examples: int, x: Tensor) -> None:
        self._examples = examples
        self._times = torch.zeros(examples, dtype=torch.int32, device=x.device)

    def searched(self, rows: Tensor) -> Tensor:
        """Which of the ``rows`` (n,) stand for an example that is not done: (n,)."""
        return self._times[rows % self._examples] == 0

    def close(self, rows: Tensor, done: Tensor) -> None:
        """The examples of the ``rows`` (n,) that ``done`` (n,) marks are done."""
        self._times.index_add_(0, rows % self._examples, done.to(torch.int32))


def looks(x: Tensor, step: int) -> bool:
    """Whether to look after this step, from 0, which examples are done: always on a CPU, and after every
    fifth where looking makes the host wait.
    """
    return not costs_a_wait(x) or (step + 1) % _LOOKS == 0


def runs_per_batch(batch_rows: int, examples: int, runs: int) -> int:
    """How many of ``runs`` on each of ``examples`` to put into one batch, so that it has about ``batch_rows``
    rows.
    """
    batches = max(1, round(examples * runs / batch_rows))
    return max(1, -(-runs // batches))
