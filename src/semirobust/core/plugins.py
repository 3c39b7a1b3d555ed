"""Code of other packages that the user asks for.

A member of a family comes from outside in three ways. An installed package has an entry point for it in the
group ``semirobust.FAMILY``, such as ``semirobust.attacks``. A module that is named with ``--plugin``, with
:func:`load_plugin` or in the environment variable ``SEMIROBUST_PLUGINS`` registers its members when it is
imported. A class is named by itself, as ``package.module:Class``.

Naming code runs it, so the name must come from the user: from the command line, from Python or from the
environment. A recipe or the records of a run may repeat ``package.module:Class`` only where the user has
named that class or its module too.
"""

import functools
import importlib
import importlib.metadata
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from semirobust.core.errors import InputError
from semirobust.core.one_at_a_time import one_at_a_time
from semirobust.core.text import first_line

__all__ = [
    "VARIABLE",
    "allow",
    "entry_points",
    "import_named",
    "is_reference",
    "load_named",
    "load_plugin",
    "object_at",
    "references_in",
]

_LOG = logging.getLogger("semirobust.core")
VARIABLE = "SEMIROBUST_PLUGINS"
"""Names modules, and classes as ``module:Class``, with commas; processes that this one starts read it too."""

_REFERENCE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def is_reference(name: object) -> bool:
    """Whether a name is written as ``package.module:Class``."""
    return isinstance(name, str) and _REFERENCE.fullmatch(name) is not None


def references_in(settings: Any) -> Iterator[str]:
    """The names ``package.module:Class`` anywhere in tables and lists of settings."""
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            yield from references_in(key)
            yield from references_in(value)
    elif isinstance(settings, list):
        for value in settings:
            yield from references_in(value)
    elif is_reference(settings):
        yield settings


def load_plugin(module: str) -> ModuleType:
    """Import a module whose members then have names, in this process and in those that it starts.

    Args:
        module: such as ``"mypackage.attacks"``. The working directory is searched first, as by ``python -m``.

    Raises:
        InputError: it cannot be imported.

    Example:
        >>> import semirobust as sr
        >>> sr.load_plugin("json").__name__  # a module of yours
        'json'
    """
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", module):
        raise InputError(f"plugin: expected the name of a module, such as mypackage.attacks; got {module!r}")
    with one_at_a_time():
        found = import_named(module, "plugin")
        allow([module])
    return found


def allow(names: Iterable[str]) -> None:
    """Let modules, and classes as ``module:Class``, be named from now on, by whatever reads a recipe."""
    kept = _allowed()
    if new := [name for name in dict.fromkeys(names) if name not in kept]:
        os.environ[VARIABLE] = ",".join([*kept, *new])


def load_named() -> None:
    """Import the modules that the environment names, once.

    Raises:
        InputError: one cannot be imported.
    """
    for name in _allowed():
        if ":" not in name:
            import_named(name, f"{VARIABLE}")


def object_at(reference: str, what: str) -> Any:
    """What ``package.module:Class`` names.

    Args:
        reference: that name.
        what: what it is to be, for the message.

    Raises:
        InputError: the user has not named it, or it is not there.
    """
    module, _, attribute = reference.partition(":")
    allowed = _allowed()
    if reference not in allowed and not any(
        module == each or module.startswith(f"{each}.") for each in allowed
    ):
        raise InputError(
            f"{what}: {reference} is code, which runs only where you name it yourself; add --plugin {module}"
            f" (in Python sr.load_plugin({module!r}))"
        )
    found = getattr(import_named(module, what), attribute, None)
    if found is None:
        raise InputError(f"{what}: expected {attribute} in {module}, found none")
    return found


def import_named(module: str, what: str) -> ModuleType:
    """A module that the user has named; the working directory is searched first.

    Raises:
        InputError: it cannot be imported.
    """
    if module in sys.modules:
        return sys.modules[module]
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        importlib.invalidate_caches()  # a file may be younger than the last look at its folder
        return importlib.import_module(module)
    except (Exception, SystemExit) as error:  # a user's module can fail in any way
        reason = first_line(error, with_type=True)
        raise InputError(f"{what}: cannot import {module} ({reason}); is it on PYTHONPATH?") from error
    finally:
        sys.path.remove(here)


@functools.cache  # reads a file of every installed package
def entry_points() -> dict[str, dict[str, importlib.metadata.EntryPoint]]:
    """Group -> name -> the entry point, for the groups of this library."""
    installed = importlib.metadata.entry_points()
    ours = [group for group in installed.groups if group.startswith("semirobust.")]
    found: dict[str, dict[str, importlib.metadata.EntryPoint]] = {group: {} for group in ours}
    for group, points in found.items():
        for point in sorted(installed.select(group=group), key=_package):
            if (first := points.setdefault(point.name, point)) is not point:
                _LOG.warning(
                    "%s of two packages: that of %s counts, and that of %s is left out",
                    point.name,
                    _package(first),
                    _package(point),
                )
    return found


def _package(point: importlib.metadata.EntryPoint) -> str:
    return point.dist.name if point.dist else ""


def _allowed() -> list[str]:
    return [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
