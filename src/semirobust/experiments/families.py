"""Everything that has a name on the command line, family by family."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from semirobust.attacks import ATTACKS
from semirobust.augment import AUGMENTATIONS
from semirobust.core.errors import InputError
from semirobust.core.files import read_text
from semirobust.core.links import given_file
from semirobust.core.registry import Registry
from semirobust.data import SOURCES
from semirobust.dependence import DEPENDENCES
from semirobust.experiments.recipe import shipped
from semirobust.measures import MEASURES
from semirobust.methods import METHODS
from semirobust.models import MODELS
from semirobust.objectives import OBJECTIVES
from semirobust.pruning.saliencies import SALIENCIES
from semirobust.selection import SELECTIONS
from semirobust.threats import NORMS, THREATS
from semirobust.training.hooks import HOOKS
from semirobust.zoo import ZOO

__all__ = ["FAMILIES", "RECIPES", "brief", "members", "register"]

Member = TypeVar("Member", bound=Callable[..., Any])

FAMILIES: Mapping[str, tuple[str, Registry[Any]]] = {
    "norms": ("Threat models: norms", NORMS),
    "threats": ("Threat models of one attack", THREATS),
    "attacks": ("Attacks", ATTACKS),
    "objectives": ("Training objectives", OBJECTIVES),
    "hooks": ("Training hooks", HOOKS),
    "methods": ("Ways to harden", METHODS),
    "measures": ("Measures by layer", MEASURES),
    "dependences": ("Measures of dependence", DEPENDENCES),
    "selections": ("Selections of layers", SELECTIONS),
    "saliencies": ("Saliencies of weights", SALIENCIES),
    "models": ("Architectures", MODELS),
    "networks": ("Networks of others, as SOURCE:NAME", ZOO),
    "data": ("Data", SOURCES),
    "augmentations": ("Augmentations", AUGMENTATIONS),
}
"""Family -> its title and its registry."""

RECIPES = "recipes"
"""The family of settings by name, which are files and no classes."""


def members(family: str) -> dict[str, str]:
    """The names in a family, and what each is."""
    if family == RECIPES:
        return {
            name: read_text(given_file(path)).splitlines()[0].removeprefix("# ")
            for name, path in shipped().items()
        }
    registry = FAMILIES[family][1]
    return {name: _described(registry, name) for name in registry.names()}


def _described(registry: Registry[Any], name: str) -> str:
    """What a member is, and the package that brings it where that is another one."""
    try:
        package = registry.origin(name)
        what = brief(registry.member(name)) or "no docstring"
    except InputError as error:  # a package that is broken must not hide the others
        return f"cannot be used: {error}"
    if other := registry.left_out(name):
        what += f" (not that of another package of this name, which is {other})"
    return f"{what} (from {package})" if package else what


def register(family: str, name: str, *, pattern: str | None = None) -> Callable[[Member], Member]:
    """Decorator that gives a class of yours a name in a family, on the command line and in recipes too.

    Args:
        family: one of ``attacks``, ``objectives``, ``hooks``, ``methods``, ``measures``, ``dependences``,
            ``selections``, ``saliencies``, ``models``, ``networks``, ``data``, ``augmentations``, ``norms``
            and ``threats``; ``semirobust list`` shows them.
        name: how it is called there.
        pattern: a regular expression of names; its named groups become keyword arguments, integers where
            they are digits.

    Raises:
        InputError: there is no such family.
        RuntimeError: another member has that name.

    Example:
        >>> import semirobust as sr
        >>> @sr.register("selections", "odd-layers")
        ... class OddLayers(sr.selection.AbstractSelection): ...
    """
    if family not in FAMILIES:
        raise InputError(f"register: expected one of {', '.join(FAMILIES)}; got {family!r}")
    return FAMILIES[family][1].register(name, pattern=pattern)


def brief(member: object) -> str:
    """The first paragraph of a docstring, in one line."""
    return (inspect.getdoc(member) or "").split("\n\n")[0].replace("\n", " ")
