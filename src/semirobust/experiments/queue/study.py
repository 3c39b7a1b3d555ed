"""The form of every study: all runs behind the tables of one paper, and the page that shows them."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from semirobust.core.errors import InputError
from semirobust.core.nearest import meant
from semirobust.core.progress import Progress
from semirobust.experiments.recipe import Recipe, read_recipe
from semirobust.experiments.run_files import MODEL_FILE, SETTINGS_FILE
from semirobust.records.schema import About, Finding, Number, Quantity, Topic
from semirobust.records.store import AnyRecord
from semirobust.reports.claims import Claim
from semirobust.reports.source import Source

__all__ = ["AbstractStudy", "LeftOut", "Row", "Unit", "Work"]

Work = Callable[[Path, Path, Progress], Sequence[AnyRecord]]
"""Does one unit: the folder of all units, its own folder, progress; returns its records."""


@dataclass(frozen=True)
class LeftOut:
    """Records that stay in the folder of their unit, since no table needs them.

    Attributes:
        quantities: of numbers.
        measures: of the numbers of layers, each with its part.
        validated: of the numbers of layers on held-out images, each with its part.
        topics: of findings.
    """

    quantities: frozenset[Quantity] = frozenset()
    measures: frozenset[tuple[str, str | None]] = frozenset()
    validated: frozenset[tuple[str, str | None]] = frozenset()
    topics: frozenset[Topic] = frozenset()

    def has(self, record: Number | Finding) -> bool:
        """Whether the record is left out."""
        if isinstance(record, Finding):
            return record.topic in self.topics
        kind = (record.about.measure or "", record.about.part)
        if record.quantity is Quantity.MEASURE:
            return kind in self.measures
        if record.quantity is Quantity.VALIDATION_MEASURE:
            return kind in self.validated
        return record.quantity in self.quantities


@dataclass(frozen=True)
class Unit:
    """One run of a study, done once.

    Attributes:
        network: the network and data that it starts from, by a name of the study's own.
        run: what is done with it.
        seed: the seed that its numbers belong to.
        items: the tables and figures that need it.
        key: hash of all settings that it depends on; another key makes it run again.
        work: does it. One of the records that it returns is a :class:`Settings`.
        needs: units whose files it reads.
        about: what all its records say beside what they say themselves, its network, its run and its seed.
        leaves: files in its folder that others read; a run that is done is done again where these are missing
            and still needed.
    """

    network: str
    run: str
    seed: int
    items: tuple[str, ...]
    key: str
    work: Work = field(repr=False)
    needs: tuple[str, ...] = ()
    leaves: tuple[str, ...] = (MODEL_FILE, SETTINGS_FILE)
    about: About = field(default_factory=About)

    @property
    def name(self) -> str:
        """Its folder among the others: network, seed, run."""
        return f"{self.network}/seed-{self.seed}/{self.run}"


@dataclass(frozen=True)
class Row:
    """One table or figure of a paper, with the runs that give it.

    Runs are named by patterns of ``network/run``, as the shell's.

    Attributes:
        item: what the paper calls it.
        words: what it shows.
        runs: those at the smallest scale.
        lines: of those at the paper's own scale: in words, the runs, and what they wait for besides.
    """

    item: str
    words: str
    runs: tuple[str, ...]
    lines: tuple[tuple[str, tuple[str, ...], str], ...] = ()


@dataclass(frozen=True)
class AbstractStudy(ABC):
    """All runs behind the tables and figures of one paper.

    Attributes:
        paper: its title and authors.
        scales: name -> what it is, for the list.
        left_out: what no table needs; a measure with its part is left out of the numbers of layers alone.
    """

    paper: ClassVar[str]
    scales: ClassVar[dict[str, str]]
    left_out: ClassVar[LeftOut] = LeftOut()

    @abstractmethod
    def units(self, scale: str, seeds: int | None, changes: dict[str, Any]) -> list[Unit]:
        """All units at a scale, those that others need first; None seeds for as many as the scale asks
        for.
        """

    @abstractmethod
    def page(self, source: Source, scale: str) -> str:
        """The paper's tables with ours beside them, in Markdown."""

    def claims(self) -> Sequence[Claim]:
        """What the paper claims, in the order of a page; none where a study names none."""
        return ()

    def rows(self) -> Sequence[Row]:
        """The paper's tables and figures, each with its runs; none where a study names none."""
        return ()

    @property
    def folder(self) -> Path:
        """Where the code of the study lies, and beside it its recipes, its template and its records."""
        return Path(inspect.getfile(type(self))).resolve().parent

    def recipe(self, scale: str, changes: dict[str, Any], prefix: str = "") -> Recipe:
        """The recipe ``SCALE.toml`` beside the code, or ``PREFIX-SCALE.toml``, with changes by dotted key.

        Raises:
            InputError: an unknown scale, or a change that no recipe has.
        """
        if scale not in self.scales:
            raise InputError(
                f"scale: expected one of {', '.join(self.scales)}; got {scale!r}{meant(scale, self.scales)}"
            )
        name = f"{prefix}-{scale}" if prefix else scale
        return read_recipe(self.folder / f"{name}.toml", changes)
