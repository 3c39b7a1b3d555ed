"""Public names that are imported when they are first used."""

from collections.abc import Callable
from typing import Any

import lazy_loader  # type: ignore[import-untyped]

from semirobust.core.one_at_a_time import one_at_a_time

__all__ = ["attach_stub"]


def attach_stub(
    package: str, file: str, foreign: Callable[[str], str] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """``__getattr__``, ``__dir__`` and ``__all__`` of a package whose public names stand in its ``.pyi``.

    Threads that use names first take turns: of two that import a package and a module of it at the same
    moment, Python can tell one that it waits for the other for ever.

    Args:
        package: its ``__name__``.
        file: its ``__file__``.
        foreign: what to say of a name that is not there but in other libraries; empty where nothing.
    """
    load, listed, names = lazy_loader.attach_stub(package, file)

    def get(name: str) -> Any:
        with one_at_a_time():
            try:
                return load(name)
            except AttributeError:
                if name not in names and foreign is not None and (said := foreign(name)):
                    raise AttributeError(said) from None
                raise

    return get, listed, names
