"""Whether all examples have the same features."""

import torch
from torch import Tensor

__all__ = ["Alike"]


class Alike:
    """Whether the rows seen so far differ by rounding alone, such as those of a token that no image reaches.

    A matrix product rounds the same numbers in another way for another number of examples.
    """

    def __init__(self) -> None:
        self.so_far, self._first, self._least = True, torch.zeros(0), 0.0

    def see(self, rows: Tensor) -> None:
        if not self.so_far:
            return
        if not len(self._first):
            self._first = rows[:1].clone()
            self._least = 16 * torch.finfo(rows.dtype).eps * float(self._first.abs().max())
        self.so_far = bool((rows - self._first).abs().max() <= self._least)
