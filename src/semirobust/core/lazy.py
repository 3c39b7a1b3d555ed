"""Public names that are imported when they are first used."""

import ast
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from semirobust.core.files import read_text
from semirobust.core.links import given_file
from semirobust.core.one_at_a_time import one_at_a_time

__all__ = ["attach_stub"]


def attach_stub(
    package: str, file: str, foreign: Callable[[str], str] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """``__getattr__``, ``__dir__`` and ``__all__`` of a package whose public names stand in its ``.pyi``, as
    ``from .module import name`` or ``from . import module``.

    Threads that use names first take turns: of two that import a package and a module of it at the same
    moment, Python can tell one that it waits for the other for ever.

    Args:
        package: its ``__name__``.
        file: its ``__file__``.
        foreign: what to say of a name that is not there but in other libraries; empty where nothing.
    """
    homes = _homes(Path(file).with_suffix(".pyi"))
    names, own = sorted(homes), sys.modules[package]
    if any(home == name for name, home in homes.items()):
        own.__class__ = _Package  # importing such a module must not hide the name

    def get(name: str) -> Any:
        with one_at_a_time():
            if name not in homes:
                said = foreign(name) if foreign is not None else ""
                raise AttributeError(said or f"No {package} attribute {name}")
            home = homes[name]
            module = importlib.import_module(f"{package}.{home or name}")
            found = module if home is None else getattr(module, name)
            own.__dict__[name] = found
            return found

    return get, lambda: list(names), names


def _homes(stub: Path) -> dict[str, str | None]:
    """Public name -> the module that has it; None for a module itself."""
    homes: dict[str, str | None] = {}
    for node in ast.parse(read_text(given_file(stub))).body:
        if isinstance(node, ast.ImportFrom):
            if node.level != 1:
                raise ValueError(f"{stub}: expected names of the package itself, got line {node.lineno}")
            homes |= {alias.name: node.module for alias in node.names}
    return homes


class _Package(ModuleType):
    """A package of which a public name is also that of the module that has it."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Leave out what Python sets when it imports that module."""
        own = isinstance(value, ModuleType) and value.__name__ == f"{self.__name__}.{name}"
        if not (own and name in self.__dict__.get("__all__", ())):
            super().__setattr__(name, value)
