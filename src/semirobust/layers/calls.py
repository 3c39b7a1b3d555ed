"""The calls of functions and modules in one pass, and what they gave."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any
from weakref import ReferenceType, ref

from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from semirobust.layers.sites import tensors_in

__all__ = ["Calls", "Event", "Recorded", "cloned"]


@dataclass
class Event:
    """What a function or a module got and returned, as numbers of tensors; of a module, also its record."""

    given: list[int]
    returned: list[int]
    recorded: "Recorded | None" = None


class Calls(TorchFunctionMode):
    """Numbers the calls of functions.

    Attributes:
        results: the module that ran, by the number of its call, and what a function returned.
        events: what every function and every finished module got and returned, in order.
        running: the numbers of the calls of modules that have not finished, the outermost first.
        paused: whether calls are not counted.
        replace: number of a call -> what it returns instead.
    """

    def __init__(self, replace: Mapping[int, Tensor] | None = None) -> None:
        super().__init__()
        self.results: list[tuple[int, list[ReferenceType[Tensor]]]] = []
        self.events: list[Event] = []
        self._numbers = WeakIdKeyDictionary()
        self._fresh = count()
        self.running: list[int] = []
        self.paused = False
        self.replace = replace or {}
        self._modules = self._count = 0

    def begin(self) -> None:
        """A module begins."""
        self._modules += 1
        self.running.append(self._modules)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if self.paused:
            return result
        number, self._count = self._count, self._count + 1
        if number in self.replace:
            return self.replace[number]
        if not self.replace:
            tensors = [ref(tensor) for _, tensor in tensors_in([(0, result)])]
            self.results.append((self.running[-1] if self.running else 0, tensors))
            given = [*enumerate(args), *(kwargs or {}).items()]
            self.events.append(Event(self.numbers(given), self.numbers([(0, result)])))
        return result

    def numbers(self, values: Any) -> list[int]:
        """The numbers of the tensors in (key, value) pairs: each has its own, and no other gets it later."""
        tensors = [tensor for _, tensor in tensors_in(values)]
        return [self._numbers.setdefault(tensor, next(self._fresh)) for tensor in tensors]

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        """Inside, calls are not counted."""
        before, self.paused = self.paused, True
        try:
            yield
        finally:
            self.paused = before

    def maker_of(self, feature: Tensor) -> int | None:
        """Which call gave ``feature``, counted among those of modules that have not finished."""
        unfinished = {0, *self.running}
        calls = [tensors for module, tensors in self.results if module in unfinished]
        made = [
            number for number, tensors in enumerate(calls) if len(tensors) == 1 and tensors[0]() is feature
        ]
        return made[-1] if made else None


@dataclass
class Recorded:
    """What a module returned: a copy of that moment, whether the tensor itself became F_j, and whether it
    came from F_j, as a projection does that runs before the layer beside it.
    """

    value: Any
    original: Any
    version: int
    is_feature: bool = False
    from_feature: bool = False

    @classmethod
    def of(cls, output: Any) -> "Recorded":
        return cls(cloned(output), output, output._version if isinstance(output, Tensor) else 0)


def cloned(value: Any) -> Any:
    """A copy, because functional code behind a module may add to its output in place."""
    if isinstance(value, Tensor):
        return value.clone()
    return type(value)(cloned(v) for v in value) if type(value) in (tuple, list) else value
