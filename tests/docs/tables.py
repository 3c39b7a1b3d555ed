"""The pages of the documentation that are drawn from the code; ``python -m tests.docs.tables`` rewrites them."""

import inspect
import re
from pathlib import Path

from semirobust.cli.known import TABLE
from semirobust.core.budget import BUDGET, Budget
from semirobust.core.docstrings import meanings
from semirobust.core.registry import Registry
from semirobust.core.settings import settings_of
from semirobust.experiments.families import FAMILIES, RECIPES, brief, members
from semirobust.experiments.listing import shown
from semirobust.experiments.recipe import SECTIONS
from semirobust.models import MODELS
from tests.docs import reference
from tests.docs.known import render_known
from tests.kinds import render_attempts, render_kinds

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE, SETTINGS, KINDS, HOSTILE, LIMITS, ACCELERATORS = (
    DOCS / "reference" / f"{name}.md"
    for name in ("methods", "settings", "kinds", "hostile", "limits", "accelerators")
)


def _row(family: Registry, name: str) -> str:
    first = brief(family.member(name)).replace("|", "\\|")
    options = [option.name for option in family.options_of(name)]
    if family is MODELS:  # functions, whose options are their arguments with a default
        arguments = inspect.signature(family.member(name)).parameters.values()
        options = [each.name for each in arguments if each.default is not each.empty]
    return f"| `{name}` | {first} | {', '.join(f'`{o}`' for o in options)} |"


def render() -> str:
    """The page as it should be."""
    parts = [
        "# Methods by name\n\nDrawn from the code.\nFormulas, units and sources stand in each docstring"
        " ([attacks](api/attacks.md), [training](api/training.md)).\n"
    ]
    for title, family in FAMILIES.values():
        rows = "\n".join(_row(family, name) for name in family.names())
        parts.append(f"## {title}\n\n| name | what it is | options |\n|---|---|---|\n{rows}\n")
    rows = "\n".join(f"| `{name}` | {first} |" for name, first in members(RECIPES).items())
    parts.append(f"## Recipes\n\n`--recipe NAME`.\n\n| name | what it is |\n|---|---|\n{rows}\n")
    return re.sub(r" +\|$", " |", "\n".join(parts), flags=re.M)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def render_settings() -> str:
    """The page of settings as it should be."""
    parts = [
        "# Settings\n\nDrawn from the code, as `semirobust settings` is.\n"
        "A recipe (`--recipe FILE.toml`) has these sections.\n`--set train.epochs=5` sets one, and every setting of a"
        ' command\'s own section is a flag of it.\nNumbers may be fractions, such as `"8/255"`.\n'
    ]
    used: dict[str, Registry] = {}
    for name, section in SECTIONS.items():
        rows = []
        for s in settings_of(section):
            names = f" One of {', '.join(f'`{n}`' for n in s.family.names())}." if s.family else ""
            if s.options_of and s.family:
                used[s.family.family] = s.family
                names = ""
            default = f"`{shown(s.default)}`" if shown(s.default) else ""
            rows.append(f"| `{name}.{s.name}` | {s.kind} | {default} | {_cell(s.meaning)}{names} |")
        first = inspect.getdoc(section).split("\n\n")[0].replace("\n", " ")
        parts.append(
            f"## {name}\n\n{first}\n\n| setting | type | default | meaning |\n|---|---|---|---|\n"
            + "\n".join(rows)
            + "\n"
        )
    for title, family in sorted(used.items()):
        rows = [
            f"| `{member}` | `{s.name}` | {s.kind} | {f'`{shown(s.default)}`' if shown(s.default) else ''} | {_cell(s.meaning)} |"
            for member in family.names()
            for s in family.options_of(member)
        ]
        head = "| member | option | type | default | meaning |\n|---|---|---|---|---|\n"
        parts.append(f"## Options: {title}\n\n{head}" + "\n".join(rows) + "\n")
    return re.sub(r" +\|$", " |", "\n".join(parts), flags=re.M)


def render_limits() -> str:
    """The page of what a file may cost, as it should be."""
    rows = [
        f"| `{name}` | {getattr(BUDGET, name):,} | {_cell(meaning)} |"
        for name, meaning in meanings(Budget).items()
    ]
    return (
        "# What a file may cost\n\n"
        "Drawn from `core/budget.py`, where every limit of every reader stands.\n"
        "They are in bytes where nothing else is said.\n"
        "They are against small and lying files. What a large file holds in truth is read.\n\n"
        "| limit | value | of |\n|---|---|---|\n" + "\n".join(rows) + "\n"
    )


if __name__ == "__main__":
    PAGE.write_text(render())
    SETTINGS.write_text(render_settings())
    KINDS.write_text(render_kinds())
    HOSTILE.write_text(render_attempts())
    LIMITS.write_text(render_limits())
    from tests.accelerator.counts import render as render_counts  # it makes the device that it counts on

    ACCELERATORS.write_text(render_counts())
    TABLE.write_text(render_known())
    for path, text in reference.drawn().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
