"""``semirobust list``."""

import click

from semirobust.cli import flags
from semirobust.cli.console import print_json, show_table, tell
from semirobust.core.errors import InputError
from semirobust.core.nearest import meant
from semirobust.experiments.families import FAMILIES, RECIPES, members

__all__ = ["command"]


def list_(family: str | None, as_json: bool) -> None:
    """Everything that has a name: attacks, methods, measures, models, data, recipes and so on.

    Without FAMILY the families. Options of a member: semirobust settings train.options, for example.
    """
    titles = {name: title for name, (title, _) in FAMILIES.items()} | {RECIPES: "Settings by name"}
    if family is None:
        if as_json:
            print_json({name: list(members(name)) for name in titles})
            return
        rows = [(name, f"{title}: {', '.join(members(name))}") for name, title in titles.items()]
        show_table("Families", ("family", "names"), rows, left=True)
        tell("What each is: semirobust list attacks, for example.")
        return
    if family not in titles:
        raise InputError(f"list: expected one of {', '.join(titles)}; got {family!r}{meant(family, titles)}")
    found = members(family)
    if as_json:
        print_json([{"name": name, "what": what} for name, what in found.items()])
        return
    show_table(titles[family], ("name", "what it is"), list(found.items()), left=True)


command = flags.command(
    list_,
    click.Argument(["family"], required=False, metavar="[FAMILY]"),
    flags.AS_JSON,
)
