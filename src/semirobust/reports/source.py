"""Records arranged for reading."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from semirobust.core.interval import mean_interval
from semirobust.records.schema import Finding, LayerEntry, Number, Picture, Settings
from semirobust.records.store import AnyRecord, read_records

__all__ = ["Cell", "Source", "read_source", "source_of"]


@dataclass(frozen=True)
class Cell:
    """A number as it stands in a table: mean, interval, and what the interval is over.

    Attributes:
        value: the number, or the mean over seeds.
        low, high: its 95 % interval: over seeds where there are several, over examples otherwise.
        values: one number for each seed.
        n: examples in each.
    """

    value: float
    low: float | None
    high: float | None
    values: tuple[float, ...]
    n: int | None

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
        low, high = mean_interval(values)
        return cls(sum(values) / len(values), low, high, values, numbers[0].n)

    @property
    def over(self) -> str:
        """What the interval is over."""
        return f"{len(self.values)} seeds" if len(self.values) > 1 else f"{self.n} images" if self.n else ""


@dataclass(frozen=True)
class Source:
    """The records of one or several runs, sorted by kind.

    With several runs, the name of the run stands before the name of each arm.
    """

    numbers: list[Number] = field(default_factory=list)
    layers: list[LayerEntry] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    settings: list[Settings] = field(default_factory=list)

    def named(self, name: str) -> list[Number]:
        """The numbers called ``name``."""
        return [number for number in self.numbers if number.name == name]

    def values_of(self, name: str, label: str) -> list[str]:
        """The values of ``label`` among the numbers called ``name``, in order of appearance."""
        return list(
            dict.fromkeys(str(number.labels[label]) for number in self.named(name) if label in number.labels)
        )

    def cell(self, name: str, **labels: str) -> Cell | None:
        """The number called ``name`` with these labels, over its seeds; None if there is none."""
        found = [n for n in self.named(name) if all(str(n.labels.get(k)) == v for k, v in labels.items())]
        return Cell.of(found) if found else None


def read_source(folders: Sequence[Path]) -> Source:
    """Records of run folders (or record files)."""
    source = Source()
    for folder, name in zip(folders, _names(folders), strict=True):
        records = read_records(folder)
        _add(source, _with_run(records, name) if len(folders) > 1 else records)
    return source


def source_of(records: Iterable[AnyRecord]) -> Source:
    """The records of one run, or of many runs that tell themselves apart."""
    source = Source()
    _add(source, records)
    return source


def _names(folders: Sequence[Path]) -> list[str]:
    """A name for each run: its folder's, with its parent's before it where two are equal."""
    short = [folder.name or str(folder) for folder in folders]
    return [
        f"{f.parent.name}/{f.name}" if short.count(f.name) > 1 else n
        for f, n in zip(folders, short, strict=True)
    ]


def _with_run(records: Iterable[AnyRecord], run: str) -> list[AnyRecord]:
    result: list[AnyRecord] = []
    for record in records:
        if isinstance(record, Number | Picture | Finding | LayerEntry):
            arm = f"{run}: {record.labels['arm']}" if "arm" in record.labels else run
            labels = {**record.labels, "arm": arm, "run": run}
            record = record.model_copy(update={"labels": labels})
        result.append(record)
    return result


def _add(source: Source, records: Iterable[AnyRecord]) -> None:
    known = {(entry.index, entry.name, entry.labels.get("run")) for entry in source.layers}
    for record in records:
        match record:
            case Number():
                source.numbers.append(record if "arm" in record.labels else _with_arm(record))
            case LayerEntry() if (record.index, record.name, record.labels.get("run")) not in known:
                source.layers.append(record)
                known.add((record.index, record.name, record.labels.get("run")))
            case Picture():
                source.pictures.append(record)
            case Finding():
                source.findings.append(record)
            case Settings():
                source.settings.append(record)


def _with_arm(number: Number) -> Number:
    return number.model_copy(update={"labels": {**number.labels, "arm": "model"}})
