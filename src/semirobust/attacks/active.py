"""Keeping only the examples on which an attack still works."""

from typing import TypeVar

import torch
from torch import Tensor

__all__ = ["Active"]

Value = TypeVar("Value", bound=Tensor)


class Active:
    """Per-example tensors of the examples still attacked; the others are dropped from all of them at once.

    Attributes:
        rows: (n,) the examples of the batch that are left.
    """

    def __init__(self, rows: Tensor, **state: Tensor) -> None:
        self.rows = rows
        self.state = state

    def __getattr__(self, name: str) -> Tensor:
        try:
            return self.__dict__["state"][name]
        except KeyError:
            raise AttributeError(name) from None

    def set(self, **state: Tensor) -> None:
        """Replace some of the tensors."""
        self.state.update(state)

    def drop(self, done: Tensor) -> bool:
        """Drop the examples ``done`` (n,) marks; True if none is left."""
        if bool(done.any()):
            keep = (~done).nonzero().flatten()
            self.rows = self.rows[keep]
            self.state = {name: value[keep] for name, value in self.state.items()}
        return len(self.rows) == 0

    def put(self, mask: Tensor, **values: Tensor) -> None:
        """Overwrite the tensors at the examples that ``mask`` (n,) marks with theirs from ``values``, which are whole."""
        where = mask.nonzero().flatten()
        for name, value in values.items():
            self.state[name][where] = value[where].to(self.state[name].dtype)

    def __len__(self) -> int:
        return len(self.rows)


def all_rows(x: Tensor) -> Tensor:
    """0..N-1 on the device of ``x``."""
    return torch.arange(len(x), device=x.device)
