"""Everything that has a name on the command line, family by family."""

import inspect
from collections.abc import Mapping
from typing import Any

from semirobust.attacks import ATTACKS
from semirobust.augment import AUGMENTATIONS
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

__all__ = ["FAMILIES", "RECIPES", "brief", "members"]

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
    return {name: brief(registry.member(name)) for name in registry.names()}


def brief(member: object) -> str:
    """The first paragraph of a docstring, in one line."""
    return (inspect.getdoc(member) or "").split("\n\n")[0].replace("\n", " ")
