"""Records arranged for reading."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar, Unpack

from semirobust.core.files import check_place
from semirobust.core.interval import ends, mean_interval, share_interval
from semirobust.core.links import given_file, given_folder
from semirobust.records.about import Fields
from semirobust.records.schema import About, Finding, LayerEntry, Number, Picture, Quantity, Settings
from semirobust.records.store import AnyRecord, read_records, stage_files
from semirobust.reports.arm import Arm, AttackColumn

__all__ = ["Cell", "Source", "matches", "read_source", "source_of"]

T = TypeVar("T")


@dataclass(frozen=True)
class Cell:
    """A number as it stands in a table: mean, interval, and what the interval is over.

    Attributes:
        value: the number, or the mean over seeds.
        low, high: its 95 % interval: over seeds where there are several, over examples otherwise.
        values: one number for each seed.
        n: examples in each.
        undecided: the share of them that an accuracy leaves open.
        repeated: what its values are of, seeds or trials.
        agree: all seeds have one value, so that the interval is over the examples of one of them.
    """

    value: float
    low: float | None
    high: float | None
    values: tuple[float, ...]
    n: int | None
    undecided: float = 0.0
    repeated: str = "seeds"
    agree: bool = False

    @classmethod
    def of(cls, numbers: Sequence[Number]) -> "Cell":
        """From the records of one quantity, one for each seed."""
        values = tuple(number.value for number in numbers)
        same = {(number.value, number.low, number.high, number.origin.seed) for number in numbers}
        if (
            len(same) == 1 and numbers[0].low is not None
        ):  # one evaluation that all seeds share has no spread over seeds
            values = values[:1]
        if len(values) == 1:
            return cls(values[0], numbers[0].low, numbers[0].high, values, numbers[0].n)
        mean, n = sum(values) / len(values), min((number.n for number in numbers if number.n), default=None)
        agree = max(values) - min(values) < (0.5 / n if n and numbers[0].quantity.is_accuracy else 1e-12)
        if not numbers[0].quantity.is_accuracy:
            low, high = (None, None) if agree else mean_interval(values)
        elif agree and n is None:
            low, high = None, None  # nothing says how certain they are
        else:
            low, high = share_interval(values, n)
        repeated = "trials" if any(number.about.trial is not None for number in numbers) else "seeds"
        return cls(mean, low, high, values, numbers[0].n, repeated=repeated, agree=agree)

    @property
    def ends(self) -> str:
        """The interval of a share in per cent; empty where there is none."""
        return "" if self.low is None or self.high is None else " to ".join(ends(self.low, self.high))

    @property
    def over(self) -> str:
        """What the interval is over."""
        if len(self.values) > 1 and not self.agree:
            return f"{len(self.values)} {self.repeated}"
        return f"{self.n} images" if self.n else ""


def matches(about: About, fields: Fields) -> bool:
    """Whether ``about`` has these values. A measure that is asked for without a part is its main number."""
    if "measure" in fields and "part" not in fields and about.part is not None:
        return False
    return all(getattr(about, name) == value for name, value in fields.items())


@dataclass(frozen=True)
class Source:
    """The records of one or several runs, sorted by kind.

    Attributes:
        densities: run, arm and level of pruning -> fraction of the weights left; where it is not empty, each
            level counts as an arm by itself.
        times: when the files of the records were written, in seconds since 1970.
    """

    numbers: Sequence[Number] = ()
    layers: Sequence[LayerEntry] = ()
    pictures: Sequence[Picture] = ()
    findings: Sequence[Finding] = ()
    settings: Sequence[Settings] = ()
    densities: Mapping[tuple[str | None, str | None, int], float] = field(default_factory=dict)
    times: Sequence[float] = ()

    @cached_property
    def _by_quantity(self) -> dict[Quantity, list[Number]]:
        found: dict[Quantity, list[Number]] = {}
        for number in self.numbers:
            found.setdefault(number.quantity, []).append(number)
        return found

    def of(self, quantity: Quantity, whose: Arm | None = None, /, **fields: Unpack[Fields]) -> list[Number]:
        """The numbers of a quantity with these values in their subjects; of one arm where it is given."""
        asked = {**fields, **({"part": None} if "measure" in fields and "part" not in fields else {})}
        names = tuple(sorted(asked))
        index = self._index(quantity, names, by_arm=whose is not None)
        return index.get((whose, *(asked[name] for name in names)), [])

    def _index(
        self, quantity: Quantity, names: tuple[str, ...], *, by_arm: bool
    ) -> dict[tuple[object, ...], list[Number]]:
        """The numbers of a quantity by their arm (or by None) and by these fields, made once."""
        key = quantity, names, by_arm
        if key not in self._indices:
            found = self._indices[key] = {}
            for number in self._by_quantity.get(quantity, []):
                arm = self.arm_of(number) if by_arm else None
                values = (getattr(number.about, name) for name in names)
                found.setdefault((arm, *values), []).append(number)
        return self._indices[key]

    @cached_property
    def _indices(
        self,
    ) -> dict[tuple[Quantity, tuple[str, ...], bool], dict[tuple[object, ...], list[Number]]]:
        return {}

    def only(self, **fields: Unpack[Fields]) -> "Source":
        """The same with the numbers alone whose subjects have these values."""
        return replace(self, numbers=[n for n in self.numbers if matches(n.about, fields)])

    def cell(self, quantity: Quantity, whose: Arm | None = None, /, **fields: Unpack[Fields]) -> Cell | None:
        """The number that :meth:`of` selects, over its seeds; None if there is none."""
        found = self.of(quantity, whose, **fields)
        return Cell.of(found) if found else None

    def accuracy(self, arm: Arm, attack: AttackColumn, /, **more: Unpack[Fields]) -> Cell | None:
        """The accuracy of an arm under an attack, and what that leaves undecided."""
        fields = Fields(attack=attack.name, cumulative=attack.cumulative, **more)
        found, left = (self.cell(q, arm, **fields) for q in (Quantity.ACCURACY, Quantity.UNDECIDED))
        return replace(found, undecided=left.value) if found and left else found

    def values(self, quantity: Quantity, of: Callable[[About], T | None]) -> list[T]:
        """What ``of`` gives for the records of a quantity, in order of appearance, without None."""
        found = (of(number.about) for number in self._by_quantity.get(quantity, []))
        return list(dict.fromkeys(value for value in found if value is not None))

    def arms(self, quantity: Quantity, **fields: Unpack[Fields]) -> list[Arm]:
        """The arms that have a number of a quantity, in order of appearance."""
        return list(dict.fromkeys(self.arm_of(number) for number in self.of(quantity, **fields)))

    def arm_of(self, number: Number) -> Arm:
        """The arm that a number belongs to."""
        arm = Arm.of(number.about)
        level = number.about.level
        if not self.densities or level is None:
            return arm
        return replace(arm, level=level, left=self.densities.get((number.about.run, number.about.arm, level)))

    def attacks(self) -> list[AttackColumn]:
        """The attacks that accuracies were measured under, in order of appearance, ``clean`` among them."""
        return self.values(Quantity.ACCURACY, AttackColumn.of)


def read_source(folders: Sequence[Path]) -> Source:
    """Records of run folders (or record files); with several, each record has the name of its run."""
    records: list[AnyRecord] = []
    folders = [given_folder(each) if each.is_dir() else given_file(each) for each in folders]
    for folder, name in zip(folders, _names(folders), strict=True):
        found = _of_folder(folder)
        records += _with_run(found, name) if len(folders) > 1 else found
    return replace(source_of(records), times=[when for folder in folders for when in _times(folder)])


def _times(folder: Path) -> list[float]:
    """When the files of its records were written."""
    files = [file for _, _, file in stage_files(folder)] if folder.is_dir() else [folder]
    return [state.st_mtime for file in files if (state := check_place(file))]


def _of_folder(folder: Path) -> list[AnyRecord]:
    """The records of a run, where a second evaluation or profile is told apart from the first by what it was
    asked otherwise.
    """
    files = stage_files(folder) if folder.is_dir() else []
    if all(number == 1 for _, number, _ in files):
        return read_records(folder)
    first = dict[str, list[AnyRecord]]()
    records: list[AnyRecord] = []
    for stage, number, file in files:
        found = read_records(file)
        before = first.setdefault(stage, found)
        if before is not found:
            asked = _asked_otherwise(before, found)
            found = _with_run(found, f"{stage.partition('-')[2]} {number}{f' ({asked})' if asked else ''}")
        records += found
    return records


def _asked_otherwise(before: Sequence[AnyRecord], now: Sequence[AnyRecord]) -> str:
    """The first settings in which two runs of a command differ, as ``examples=40, seed=1``."""
    one, two = (
        next((_flat(r.settings) for r in records if isinstance(r, Settings)), {}) for records in (before, now)
    )
    changed = [f"{key.rpartition('.')[2]}={value}" for key, value in two.items() if one.get(key) != value]
    return ", ".join(changed[:3]) + (", …" if len(changed) > 3 else "")


def _flat(settings: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Dotted key -> value in words."""
    found = dict[str, str]()
    for key, value in settings.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            listed = isinstance(value, list | tuple)
            found[f"{prefix}{key}"] = " ".join(map(str, value)) if listed else str(value)  # type: ignore[call-overload]
    return found


def source_of(records: Iterable[AnyRecord]) -> Source:
    """The records of one run, or of many runs that tell themselves apart."""
    records = list(records)
    return Source(
        numbers=[record for record in records if isinstance(record, Number)],
        layers=_distinct(record for record in records if isinstance(record, LayerEntry)),
        pictures=[record for record in records if isinstance(record, Picture)],
        findings=[record for record in records if isinstance(record, Finding)],
        settings=[record for record in records if isinstance(record, Settings)],
    )


def _names(folders: Sequence[Path]) -> list[str]:
    """A name for each run: its folder's, with its parent's before it where two are equal."""
    short = [folder.name or str(folder) for folder in folders]
    return [
        f"{f.parent.name}/{f.name}" if short.count(f.name) > 1 else n
        for f, n in zip(folders, short, strict=True)
    ]


def _with_run(records: Iterable[AnyRecord], run: str) -> list[AnyRecord]:
    return [
        record.model_copy(
            update={"about": replace(record.about, run=f"{run}: {own}" if (own := record.about.run) else run)}
        )
        for record in records
    ]


def _distinct(entries: Iterable[LayerEntry]) -> list[LayerEntry]:
    """Each layer of each run once."""
    first: dict[tuple[int, str, str | None], LayerEntry] = {}
    for entry in entries:
        first.setdefault((entry.index, entry.name, entry.about.run), entry)
    return list(first.values())
