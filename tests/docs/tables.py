"""The tables of methods in the documentation, drawn from the registries; ``python -m tests.docs.tables``
rewrites them.
"""

import inspect
import re
from pathlib import Path

from semirobust.attacks import ATTACKS
from semirobust.augment import AUGMENTATIONS
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

PAGE = Path(__file__).resolve().parents[2] / "docs" / "methods.md"
FAMILIES = {
    "Threat models: norms": NORMS,
    "Threat models of one attack": THREATS,
    "Attacks": ATTACKS,
    "Training objectives": OBJECTIVES,
    "Ways to harden": METHODS,
    "Measures by layer": MEASURES,
    "Measures of dependence": DEPENDENCES,
    "Selections of layers": SELECTIONS,
    "Saliencies of weights": SALIENCIES,
    "Architectures": MODELS,
    "Data": SOURCES,
    "Augmentations": AUGMENTATIONS,
}


def _row(family: Registry, name: str) -> str:
    member = family._members[name]
    first = inspect.getdoc(member).split("\n\n")[0].replace("\n", " ").replace("|", "\\|")
    options = [option.name for option in family.options_of(name)]
    return f"| `{name}` | {first} | {', '.join(f'`{o}`' for o in options)} |"


def render() -> str:
    """The page as it should be."""
    parts = [
        "# Methods by name\n\nDrawn from the code; formulas, units and sources stand in each docstring.\n"
    ]
    for title, family in FAMILIES.items():
        rows = "\n".join(_row(family, name) for name in family.names())
        parts.append(f"## {title}\n\n| name | what it is | options |\n|---|---|---|\n{rows}\n")
    rows = "\n".join(
        f"| `{name}` | {path.read_text().splitlines()[0].removeprefix('# ')} |"
        for name, path in shipped().items()
    )
    parts.append(f"## Recipes\n\n`--recipe NAME`.\n\n| name | what it is |\n|---|---|\n{rows}\n")
    return re.sub(r" +\|$", " |", "\n".join(parts), flags=re.M)


if __name__ == "__main__":
    PAGE.write_text(render())
