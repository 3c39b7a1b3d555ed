"""Flags drawn from the sections of a recipe."""

from collections.abc import Iterator, Sequence

import click

from semirobust.cli.flags import SettingFlag
from semirobust.core.settings import Setting, settings_of
from semirobust.core.values import words
from semirobust.experiments.recipe import SECTIONS

__all__ = ["SHARED", "section"]


def section(name: str, *, only: Sequence[str] = (), without: Sequence[str] = ()) -> list[click.Parameter]:
    """The flags of a section, whose names are those of its settings; tables have none."""
    return [
        SettingFlag(setting.flag or f"--{setting.name.replace('_', '-')}", f"{name}.{setting.name}", setting)
        for setting in _settable(name, only, without)
    ]


def _shared(name: str) -> list[click.Parameter]:
    """The flags of a section that many commands have; those that say nothing else begin with its name."""
    return [
        SettingFlag(
            setting.flag or f"--{name}-{setting.name.replace('_', '-')}", f"{name}.{setting.name}", setting
        )
        for setting in _settable(name, (), ("name",) if name == "model" else ())
    ]


def _settable(name: str, only: Sequence[str], without: Sequence[str]) -> Iterator[Setting]:
    for setting in settings_of(SECTIONS[name]):
        if (
            setting.name not in without
            and (not only or setting.name in only)
            and words(setting.hint) != "table"
        ):
            yield setting


SHARED: tuple[click.Parameter, ...] = (*_shared("data"), *_shared("model"), *_shared("threat"))
"""Data, build of the model and threat model."""
