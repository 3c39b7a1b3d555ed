"""Every setting of a recipe, as rows."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from semirobust.core.errors import InputError
from semirobust.core.settings import Setting, settings_of
from semirobust.experiments.recipe import SECTIONS

__all__ = ["Row", "rows_of", "setting_rows", "shown"]


@dataclass(frozen=True)
class Row:
    """One setting.

    Attributes:
        path: where it stands in a recipe, such as ``train.epochs``.
        member: the member of a family whose option it is; empty for a setting of its own.
        kind: its type in words.
        default: in plain form.
        meaning: what it is.
        brief: the first sentence of that.
        names: the names that it takes, where it names members of a family.
    """

    path: str
    member: str
    kind: str
    default: Any
    meaning: str
    brief: str
    names: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """The default in a table."""
        return shown(self.default)


def shown(default: Any) -> str:
    """A default as TOML would have it; nothing where there is none."""
    if default is None or default is dataclasses.MISSING:
        return ""
    if isinstance(default, list):
        return f"[{', '.join(map(shown, default))}]"
    if isinstance(default, Mapping):
        return "{}"
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:.4g}" if isinstance(default, float) else str(default)


def setting_rows(prefix: str = "") -> list[Row]:
    """The settings whose path begins with ``prefix``; of members' options where it names those, or one."""
    own = [Row("seed", "", "int", 0, "Seed of all randomness.", "Seed of all randomness")]
    own += [row for section in SECTIONS for row in rows_of(section)]
    found = [row for row in own if row.path.startswith(prefix)]
    options = [row for section in SECTIONS for row in _option_rows(section)]
    return found + [
        row for row in options if prefix and _within(".".join(row.path.split(".")[:2]), prefix, row.path)
    ]


def _within(table: str, prefix: str, path: str) -> bool:
    """Whether an option is asked for: by its table or by itself."""
    return prefix.rstrip(".") == table or (path.startswith(prefix) and len(prefix) > len(table))


def rows_of(section: str) -> list[Row]:
    """The settings of a section."""
    return [_row(f"{section}.{s.name}", s, "") for s in settings_of(SECTIONS[section])]


def _option_rows(section: str) -> Iterator[Row]:
    for setting in settings_of(SECTIONS[section]):
        if setting.options_of and setting.family is not None:
            for member in [setting.member] if setting.member else setting.family.names():
                try:
                    options = setting.family.options_of(member)
                except InputError:  # another package's, which the list of members says
                    continue
                # Of several members each has its options below the name by which it was asked for.
                place = setting.name if setting.hint == dict[str, Any] else f"{setting.name}.NAME"
                for option in options:
                    yield _row(f"{section}.{place}.{option.name}", option, member)


def _row(path: str, setting: Setting, member: str) -> Row:
    names = setting.family.names() if setting.family is not None and not setting.options_of else ()
    return Row(path, member, setting.kind, setting.default, setting.meaning, setting.brief, names)
