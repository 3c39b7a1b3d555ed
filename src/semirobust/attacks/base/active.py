"""Keeping only the examples on which an attack still works, and the batch full."""

from typing import Any

import torch
from torch import Tensor

__all__ = ["Active", "Best", "all_rows", "together"]


class Active:
    """Per-example tensors of the examples still attacked; the others are dropped from all of them at once.

    Attributes:
        rows: (n,) the examples of the batch that are left.
    """

    def __init__(self, rows: Tensor, **state: Any) -> None:
        self.rows = rows
        self.state = state

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["state"][name]
        except KeyError:
            raise AttributeError(name) from None

    def set(self, **state: Any) -> None:
        """Replace some of the tensors, or tuples of tensors."""
        self.state.update(state)

    def drop(self, done: Tensor) -> bool:
        """Drop the examples ``done`` (n,) marks; True if none is left."""
        if bool(done.any()):
            keep = (~done).nonzero().flatten()
            self.rows = self.rows[keep]
            self.state = {name: _kept(value, keep) for name, value in self.state.items()}
        return len(self.rows) == 0

    def put(self, mask: Tensor, **values: Tensor) -> None:
        """Overwrite the tensors at the examples that ``mask`` (n,) marks with theirs from ``values``, which
        are whole.
        """
        where = mask.nonzero().flatten()
        for name, value in values.items():
            self.state[name][where] = value[where].to(self.state[name].dtype)

    def go_back(self, mask: Tensor) -> None:
        """Put the marked examples back to their best point."""
        where = mask.nonzero().flatten()
        x_adv, slope = self.x_adv.clone(), self.slope.clone()
        x_adv[where], slope[where] = self.top[where], self.top_slope[where]
        self.set(x_adv=x_adv, slope=slope)

    def __len__(self) -> int:
        return len(self.rows)


class Best:
    """For each example the point that reached the goal, and the one of highest loss among equals."""

    def __init__(self, x: Tensor) -> None:
        self.x_adv = x.clone()
        self.loss = torch.full((len(x),), -torch.inf, device=x.device)
        self.reached = torch.zeros(len(x), dtype=torch.bool, device=x.device)

    def open_rows(self, *, leave: bool) -> Tensor:
        """The examples still to be attacked: all, unless they may leave."""
        return (~self.reached).nonzero().flatten() if leave else all_rows(self.x_adv)

    def keep(self, rows: Tensor, x_adv: Tensor, loss: Tensor, reached: Tensor) -> None:
        """Take what is better of these points of the examples ``rows``."""
        loss, before = loss.float(), self.reached[rows]
        better = ((reached & ~before) | ((reached == before) & (loss > self.loss[rows]))).nonzero().flatten()
        chosen = rows[better]
        self.x_adv[chosen], self.loss[chosen], self.reached[chosen] = (
            x_adv[better],
            loss[better],
            reached[better],
        )


def _kept(value: Any, keep: Tensor) -> Any:
    return tuple(part[keep] for part in value) if isinstance(value, tuple) else value[keep]


def all_rows(x: Tensor) -> Tensor:
    """0..N-1 on the device of ``x``."""
    return torch.arange(len(x), device=x.device)


def together(enough: int, n: int, runs: int) -> int:
    """How many of ``runs`` on ``n`` examples to do at once, so that the processor has ``enough`` rows each
    time.
    """
    turns = max(1, round(n * runs / enough))
    return max(1, -(-runs // turns))
