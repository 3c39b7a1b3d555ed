"""The only source of randomness: a path of names, hashed to a generator."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

__all__ = ["Seed", "as_seed"]


@dataclass(frozen=True)
class Seed:
    """A path such as ``0/attack/epoch/3``; equal paths give equal numbers whatever ran before.

    ``seed / "attack" / 3`` names a sub-stream, so a result does not depend on the order of calls.
    """

    path: tuple[str, ...]

    def __truediv__(self, name: str | int) -> "Seed":
        return Seed((*self.path, str(name)))

    def __str__(self) -> str:
        return "/".join(self.path)

    @property
    def integer(self) -> int:
        """63 bits of the BLAKE2b hash of the path."""
        digest = hashlib.blake2b("\0".join(self.path).encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") >> 1

    def generator(self, device: torch.device | str = "cpu") -> torch.Generator:
        """A fresh generator on ``device``; calling twice gives the same stream twice."""
        return torch.Generator(device=device).manual_seed(self.integer)

    @contextmanager
    def globally(self) -> Iterator[None]:
        """Seed the global generators of PyTorch, NumPy and Python inside the block and put their states back
        afterwards.

        For code that takes no generator: weight initialisers, dropout, other libraries. Everything else uses
        :meth:`generator`.
        """
        devices = (
            [torch.cuda.current_device()] if torch.cuda.is_available() and torch.cuda.is_initialized() else []
        )
        arrays, plain = np.random.get_state(), random.getstate()  # noqa: NPY002
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(self.integer)
            np.random.seed(self.integer % 2**32)  # noqa: NPY002
            random.seed(self.integer)
            try:
                yield
            finally:
                np.random.set_state(arrays)  # noqa: NPY002
                random.setstate(plain)


def as_seed(seed: "int | Seed") -> Seed:
    """``Seed`` of an integer; a ``Seed`` is returned as it is."""
    return seed if isinstance(seed, Seed) else Seed((str(int(seed)),))
