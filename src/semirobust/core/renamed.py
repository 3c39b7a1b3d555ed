"""Arguments that had another name."""

import warnings
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar

__all__ = ["renamed"]

P = ParamSpec("P")
R = TypeVar("R")


def renamed(
    old: str, new: str, values: Mapping[Any, Any] | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorates a function whose argument ``new`` was once called ``old``, so that either is taken.

    Args:
        old, new: the names.
        values: what was once given -> what is given now; anything else stays what it is.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            if old in kwargs:
                given = kwargs.pop(old)
                kwargs.setdefault(new, (values or {}).get(given, given))
                text = f"{old}={given!r} is now {new}={kwargs[new]!r}"
                warnings.warn(text, DeprecationWarning, stacklevel=2)
            return function(*args, **kwargs)

        return run

    return decorate
