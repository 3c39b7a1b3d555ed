"""The calls of functions and modules in one pass, and what they gave."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from semirobust.layers.sites import tensors_in

__all__ = ["Calls", "Event", "Recorded", "cloned"]


@dataclass
class Event:
    """What a function or a module got and returned, as numbers of tensors.

    Attributes:
        given, returned: the numbers.
        within: the number of the module in which a function was called; 0 for none.
        recorded: of a module, its record; None for a function.
    """

    given: list[int]
    returned: list[int]
    within: int = 0
    recorded: "Recorded | None" = None


class Calls(TorchFunctionMode):
    """Numbers the calls of functions.

    Attributes:
        events: what every function and every finished module got and returned, in order.
        running: the numbers of the calls of modules that have not finished, the outermost first.
        paused: whether calls are not counted.
        replace: number of a call -> what gives another result in place of its own.
    """

    def __init__(self, replace: Mapping[int, Callable[[Any], Tensor]] | None = None) -> None:
        super().__init__()
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
            return self.replace[number](result)
        if not self.replace:
            given = self.numbers([*enumerate(args), *(kwargs or {}).items()])
            within = self.running[-1] if self.running else 0
            self.events.append(Event(given, self.numbers([(0, result)]), within))
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
        functions = (event for event in self.events if event.recorded is None)
        calls = (event.returned for event in functions if event.within in unfinished)
        wanted = self.numbers([(0, feature)])
        made = [number for number, returned in enumerate(calls) if returned == wanted]
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
