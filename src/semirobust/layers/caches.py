"""What a forward pass of other people's modules leaves behind in their attributes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

__all__ = ["foreign", "refill", "without_traces"]

_OWN = frozenset(nn.Module().__dict__)  # what every module has, such as its parameters and hooks


def foreign(model: nn.Module) -> Iterator[nn.Module]:
    """The modules that are not PyTorch's own layers."""
    return (m for m in model.modules() if not type(m).__module__.startswith("torch.nn.modules"))


@contextmanager
def without_traces(model: nn.Module) -> Iterator[None]:
    """Inside, modules may keep tensors and containers in their attributes; afterwards these are as before.

    Some networks keep what they computed in eval mode, such as a table of positions. Computed for one pass,
    it has the gradients and weights of that pass, and would be wrong in the next.
    """
    before = [(module, _attributes(module)) for module in foreign(model)]
    try:
        yield
    finally:
        for module, attributes in before:
            _put_back(module, attributes)


def _attributes(module: nn.Module) -> dict[str, tuple[Any, Any]]:
    """Attribute -> its value, and a copy of what is in a container."""
    return {
        name: (value, value.copy() if isinstance(value, dict | list | set) else None)
        for name, value in module.__dict__.items()
        if name not in _OWN
    }


def _put_back(module: nn.Module, before: dict[str, tuple[Any, Any]]) -> None:
    for name, value in list(module.__dict__.items()):
        if name in _OWN:
            continue
        old, inside = before.get(name, (None, None))
        if inside is not None and value is old:
            refill(value, inside)
        elif value is not old and isinstance(value, Tensor | dict | list | set):
            if name in before:
                module.__dict__[name] = old
            else:
                del module.__dict__[name]


def refill(container: Any, inside: Any) -> None:
    """Give a container its elements back, where other ones are in it."""
    # Identity, since tensors compare element by element.
    now, then = (c.items() if isinstance(c, dict) else ((i, i) for i in c) for c in (container, inside))
    if [(id(a), id(b)) for a, b in now] != [(id(a), id(b)) for a, b in then]:
        container.clear()
        (container.extend if isinstance(container, list) else container.update)(inside)
