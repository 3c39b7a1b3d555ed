"""What is certainly wrong with a command line is said before PyTorch is imported, which takes seconds.

Nothing is refused here that the command itself would take. Where that cannot be said for sure, as with names
that a plug-in may bring, nothing is said, and the command decides.
"""

import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from semirobust.cli.flags import as_typed, entries
from semirobust.cli.known import Known, Named, known
from semirobust.core.dotted import put
from semirobust.core.errors import InputError
from semirobust.core.nearest import meant
from semirobust.core.plugins import VARIABLE, entry_points, is_reference
from semirobust.core.refusals import (
    no_weights,
    unknown_member,
    unknown_option,
    unknown_section,
    unknown_setting,
)
from semirobust.core.text import first_line
from semirobust.core.values import Misfit, checked

__all__ = ["refuse_early"]

_LOG = logging.getLogger("semirobust.cli")
_NOT_RUN = {"-h", "--help", "--print-settings"}


def refuse_early(command: str, words: Sequence[str]) -> None:
    """Refuse a command line that the command would refuse.

    Args:
        command: its name.
        words: what follows it.

    Raises:
        InputError, click.UsageError: an unknown flag or setting, an unknown member of a family, or a value
            that does not fit; said as the command would.
    """
    if "torch" in sys.modules or not _NOT_RUN.isdisjoint(words):
        return
    try:
        table = known()
    except (OSError, ValueError, InputError) as error:
        _LOG.warning("names are looked up in the code, since their table cannot be read: %s", error)
        return
    flags = table.plain["commands"].get(command)
    if flags is None:
        return
    try:
        _Line(table, command, flags, words).check()
    except (InputError, click.UsageError):
        if table.in_step():
            raise
    except Exception as error:  # what is wrong here must stop no command
        _LOG.warning("the early look at the command line failed: %s", first_line(error, with_type=True))


class _Line:
    """One command line."""

    def __init__(self, table: Known, command: str, flags: Mapping[str, Any], words: Sequence[str]) -> None:
        self.table, self.command, self.flags = table, command, flags
        shape = click.Command(command, params=[_parameter(name, each) for name, each in flags.items()])
        context = click.Context(shape, info_name=command)
        found, *_ = shape.make_parser(context).parse_args(list(words))
        # click has an object of its own for arguments that are not there.
        self.values: dict[str, Any] = {
            key: value for key, value in found.items() if isinstance(value, str | bool | list)
        }
        # What else the settings may come from.
        start = self.values.get("target") or self.values.get("robust")
        self.based = bool(self.values.get("recipe")) or (bool(start) and os.path.lexists(str(start)))

    def check(self) -> None:
        """Raise for what is wrong."""
        if "set_" not in self.flags:
            return
        tree: dict[str, Any] = {}
        changes = {**self._typed(), **entries(self.values.get("set_") or ())}
        for key, value in changes.items():
            if value is not None:
                put(tree, key, value)
        several = changes.get("harden.method")
        if self.command == "harden" and (isinstance(several, list) or "," in str(several or "")):
            for key in ("method", "options"):  # which the command takes apart
                tree["harden"].pop(key, None)
        for key in tree:
            if key not in ("seed", *self.table.sections):
                raise InputError(unknown_section(key, ("seed", *self.table.sections)))
        for section in ("seed", *self.table.sections):
            if section in tree:
                self._section(section, tree[section])
        self._network(changes)

    def _typed(self) -> dict[str, Any]:
        """What flags say of settings; those of one fixed value, and of options, are left to the command."""
        return {
            each["path"]: as_typed(self._hint(each["path"]), self.values[name])
            for name, each in self.flags.items()
            if each.get("path", "").count(".") < 2 and each.get("path") and self.values.get(name) is not None
        }

    def _hint(self, path: str) -> Any:
        section, _, key = path.partition(".")
        return self.table.sections[section][key].hint if key else int

    def _section(self, section: str, tree: Any) -> None:
        if section == "seed":
            with _said("recipe: "):
                checked("seed", int, tree)
            return
        settings = self.table.sections[section]
        with _said("recipe: "):
            tree = checked(section, dict[str, Any], tree)
        for key in tree:
            if key not in settings:
                raise InputError(unknown_setting(section, key, list(settings)))
        with _said(f"recipe: {section}."):
            tree = {key: checked(key, settings[key].hint, value) for key, value in tree.items()}
            for key, setting in settings.items():
                if setting.family and (key in tree or setting.options_of):
                    self._members(key, setting, tree, settings)

    def _members(self, key: str, setting: Named, tree: Any, settings: Mapping[str, Named]) -> None:
        """The names of members that one setting has, or their options."""
        if not setting.options_of:
            names = tree[key] if isinstance(tree[key], tuple) else [tree[key]]
            for name in filter(None, names):
                with _as_misfit(key):
                    self._find(setting.family, name)
            return
        if not (given := tree.get(key)):
            return
        naming = setting.options_of
        named = settings.get(naming)
        if setting.member:
            each = {setting.member: given}
        elif named is None:
            return
        elif isinstance(named.default, list):
            each = given
            if unknown := sorted(each.keys() - set(self._named(naming, named, tree) or each)):
                names = ", ".join(self._named(naming, named, tree))
                raise Misfit(key, f"{unknown[0]!r} is not among {names}")
        else:
            each = dict.fromkeys(self._named(naming, named, tree), given)
        for name, options in each.items():
            with _as_misfit(naming):
                self._options(setting.family, name, options)

    def _named(self, key: str, named: Named, tree: Any) -> list[str]:
        """The members that a setting names, as far as that is sure."""
        if key not in tree and self.based:
            return []
        found = tree.get(key, named.default)
        names = list(found) if isinstance(found, list | tuple) else [found]
        return [name for name in names if name and "," not in name]

    def _find(self, family: str, name: str) -> tuple[Mapping[str, Named] | None, dict[str, str]]:
        """The options of a member, as far as they are known here, and those that its name says."""
        members = self.table.families[family]
        if name in members and not members[name].pattern:
            return members[name].options, {}
        for each in members.values():
            if each.pattern and (match := re.fullmatch(each.pattern, name)):
                return each.options, {key: value for key, value in match.groupdict().items() if value}
        if not is_reference(name) and not self._others(family):
            raise InputError(unknown_member(family, name, sorted(members)))
        return None, {}

    def _others(self, family: str) -> bool:
        """Whether other packages, or modules of the user, may bring members."""
        return bool(os.environ.get(VARIABLE) or entry_points().get(f"semirobust.{self.table.group(family)}"))

    def _options(self, family: str, name: str, given: Mapping[str, Any]) -> None:
        options, said = self._find(family, name)
        if options is None:
            return
        for key in given:
            if key not in options or key in said:
                fit = [each for each in options if each not in said]
                raise InputError(unknown_option(family, name, key, fit))
        for key, value in given.items():
            try:
                checked(key, options[key].hint, value)
            except Misfit as error:
                raise InputError(f"{family} {name!r}, option {key!r}: {error.text}") from None

    def _network(self, changes: Mapping[str, Any]) -> None:
        """The architecture, where nothing else can be meant."""
        models = self.table.families["model"]
        if self._others("model"):
            return
        if self.command == "train":
            name = changes.get("model.name") or self.values.get("model")
            if isinstance(name, str) and ":" not in name and not self.values.get("recipe"):
                self._find("model", name)
            return
        name = self.values.get("target")
        if not name or {":", "/", os.sep} & set(name) or os.path.lexists(name):
            return
        other = ("model", "checkpoint", "recipe")
        keyed = changes.get("model.checkpoint_key")
        if not keyed and not any(self.values.get(each) for each in other) and Path(name).name == name:
            raise InputError(no_weights(name, meant(name, sorted(models))))


@contextmanager
def _said(start: str) -> Iterator[None]:
    """A misfit as a sentence with this beginning."""
    try:
        yield
    except Misfit as error:
        raise InputError(f"{start}{error.key}: {error.text}") from None


@contextmanager
def _as_misfit(key: str) -> Iterator[None]:
    """What is wrong with a member as a misfit of the setting that names it."""
    try:
        yield
    except InputError as error:
        raise Misfit(key, str(error)) from None


def _parameter(name: str, plain: Mapping[str, Any]) -> click.Parameter:
    """What the parser must know of a parameter."""
    if "flags" not in plain:
        return click.Argument([name], required=False)
    return click.Option(
        [*plain["flags"], name],
        is_flag=plain.get("switch", False),
        multiple=plain.get("many", False),
        default=None,
    )
