"""The only source of randomness: a path of names, hashed to a generator."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from semirobust.core.errors import InputError
from semirobust.core.numerals import as_whole
from semirobust.core.one_at_a_time import one_at_a_time

__all__ = ["Seed", "as_seed"]


@dataclass(frozen=True)
class Seed:
    """A path such as ``0/attack/epoch/3``; equal paths give equal numbers, whatever ran before.

    ``seed / "attack" / 3`` is a stream of its own, so a result does not depend on the order of calls.

    Attributes:
        path: the names from the first seed on.
    """

    path: tuple[str, ...]

    def __truediv__(self, name: str | int) -> "Seed":
        return Seed((*self.path, str(name)))

    def __str__(self) -> str:
        return "/".join(self.path)

    @property
    def integer(self) -> int:
        """63 bits of the BLAKE2b hash of the path, because generators of PyTorch take signed integers."""
        digest = hashlib.blake2b("\0".join(self.path).encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") >> 1

    def generator(self, device: torch.device | str = "cpu") -> torch.Generator:
        """A new generator on ``device``; each call starts the same stream again."""
        return torch.Generator(device=device).manual_seed(self.integer)

    @contextmanager
    def globally(self) -> Iterator[None]:
        """Inside, the global generators of PyTorch, NumPy and Python are seeded; then they are restored.

        For code that takes no generator, such as weight initialisers, dropout and other libraries. All other
        code uses :meth:`generator`. Other threads that want the generators wait.
        """
        with one_at_a_time(), torch.random.fork_rng(devices=[]), _accelerators_kept():
            numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002
            torch.manual_seed(self.integer)
            np.random.seed(self.integer % 2**32)  # noqa: NPY002
            random.seed(self.integer)
            try:
                yield
            finally:
                np.random.set_state(numpy_state)  # noqa: NPY002
                random.setstate(python_state)


@contextmanager
def _accelerators_kept() -> Iterator[None]:
    """The generators of all devices of the accelerator are put back; one that has not been started is not."""
    kind = torch.accelerator.current_accelerator()
    module = None if kind is None else torch.get_device_module(kind)
    started = getattr(module, "is_initialized", lambda: True)
    if kind is None or module is None or not module.is_available() or not started():
        yield
        return
    one = kind.type == "mps"  # which has a single device, and takes no number of it
    places: list[tuple[int, ...]] = [()] if one else [(i,) for i in range(module.device_count())]
    states = [module.get_rng_state(*place) for place in places]
    try:
        yield
    finally:
        for place, state in zip(places, states, strict=True):
            module.set_rng_state(state, *place)


def as_seed(seed: "int | Seed") -> Seed:
    """The ``Seed`` of an integer; a ``Seed`` is returned unchanged.

    Raises:
        InputError: it is neither.
    """
    if isinstance(seed, Seed):
        return seed
    if (number := as_whole(seed)) is None:
        raise InputError(f"seed: expected a whole number, got {seed!r}")
    return Seed((str(number),))
