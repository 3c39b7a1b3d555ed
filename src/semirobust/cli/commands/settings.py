"""``semirobust settings``."""

import click

from semirobust.cli import flags
from semirobust.cli.console import print_json, show_table, tell
from semirobust.core.errors import InputError
from semirobust.core.nearest import meant
from semirobust.experiments.listing import setting_rows
from semirobust.experiments.recipe import SECTIONS

__all__ = ["command"]


def settings(prefix: str, as_json: bool) -> None:
    """Every setting of a recipe, with its type, default and meaning.

    PREFIX is the beginning of a path, such as train or harden.options; the options of attacks, methods and
    the like are listed where it names their table. Set one with --set PATH=VALUE, or in a recipe.
    """
    rows = setting_rows(prefix)
    if not rows:
        near = meant(prefix, [*SECTIONS, *(row.path for row in setting_rows())])
        raise InputError(f"settings: expected the beginning of a path such as train, got {prefix!r}{near}")
    if as_json:
        print_json(
            [
                {
                    "path": row.path,
                    **({"of": row.member} if row.member else {}),
                    "type": row.kind,
                    "default": row.default,
                    "meaning": row.meaning,
                    **({"names": row.names} if row.names else {}),
                }
                for row in rows
            ]
        )
        return
    of = [("of", [row.member for row in rows])] if any(row.member for row in rows) else []
    meanings = [f"{row.brief}: {', '.join(row.names)}" if row.names else row.brief for row in rows]
    columns = [
        ("setting", [row.path for row in rows]),
        *of,
        ("type", [row.kind for row in rows]),
        ("default", [row.shown for row in rows]),
        ("meaning", meanings),
    ]
    lines = list(zip(*(column for _, column in columns), strict=True))
    show_table("Settings", [name for name, _ in columns], lines, left=True)
    if not of:
        tell("Options of attacks, methods and the like: semirobust settings harden.options, for example.")


command = flags.command(
    settings,
    click.Argument(["prefix"], required=False, default="", metavar="[PREFIX]"),
    flags.AS_JSON,
)
