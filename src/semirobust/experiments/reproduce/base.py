"""The form of every reproduction."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

from semirobust.core.errors import InputError
from semirobust.core.progress import Progress
from semirobust.experiments.recipe import Recipe, read_recipe
from semirobust.records.store import AnyRecord
from semirobust.reports.source import Source

__all__ = ["AbstractReproduction", "Unit", "Work"]

Work = Callable[[Path, Path, Progress], Sequence[AnyRecord]]
"""Does one unit: the folder of all units, its own folder, progress; gives its records."""


@dataclass(frozen=True)
class Unit:
    """One run of a reproduction, done once.

    Attributes:
        name: its folder among the others: network, seed, run.
        seed: units of one seed run one after the other in one process.
        items: the tables and figures that need it.
        key: hash of all settings that it depends on; another key makes it run again.
        work: does it.
        needs: units whose files it reads.
        leaves: files in its folder that others read; what is done is done again where they are gone and still
            needed.
    """

    name: str
    seed: int
    items: tuple[str, ...]
    key: str
    work: Work = field(repr=False)
    needs: tuple[str, ...] = ()
    leaves: tuple[str, ...] = ("model.safetensors", "settings.json")


@dataclass(frozen=True)
class AbstractReproduction(ABC):
    """All runs behind the tables and figures of one paper.

    Attributes:
        paper: its title and authors.
        scales: name -> what it is, for the list.
        left_out: names of records that no table needs.
    """

    paper: ClassVar[str]
    scales: ClassVar[dict[str, str]]
    left_out: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def units(self, scale: str, seeds: int | None, changes: dict[str, Any]) -> list[Unit]:
        """All units at a scale, those that others need first; None seeds for as many as the scale asks
        for.
        """

    @abstractmethod
    def page(self, source: Source, scale: str) -> str:
        """The paper's tables with ours beside them, in Markdown."""

    def recipe(self, name: str, scale: str, changes: dict[str, Any]) -> Recipe:
        """The recipe of that name, which lies beside the code."""
        if scale not in self.scales:
            raise InputError(f"scale: expected one of {', '.join(self.scales)}; got {scale!r}")
        return read_recipe(
            Path(str(files("semirobust.experiments.reproduce") / f"{name}-{scale}.toml")), changes
        )
