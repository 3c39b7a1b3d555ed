"""Under which conditions an accuracy was measured: only numbers under equal ones may be compared."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from semirobust.figures.style import shown
from semirobust.records.schema import Quantity, Settings
from semirobust.reports.arm import Arm
from semirobust.reports.source import Source

__all__ = ["Condition", "by_condition", "condition_of", "settings_of"]

_LONG = 24  # letters of a setting
# Of the settings of the data, what decides which test images there are.
_IMAGES = ("source", "image_size", "layout", "classes", "test")


@dataclass(frozen=True)
class Condition:
    """What two arms must share to stand in one table.

    Attributes:
        data: name of the data; empty where no record names it.
        images: which of its images, in JSON, and how many.
        count: how many images.
        threat: what the attacks were allowed to do.
    """

    data: str
    images: str
    count: int | None
    threat: str

    def __str__(self) -> str:
        images = f"{self.count:,} images" if self.count else ""
        which = {name: value for name, value in json.loads(self.images).items() if name != "source"}
        some = "; ".join(f"{name} {shown(str(value), _LONG)}" for name, value in which.items())
        data = f"{self.data} ({some})" if some else self.data
        return ", ".join(filter(None, (f"{data}: {images}" if data else images, self.threat)))


def settings_of(source: Source, run: str | None) -> Settings | None:
    """The settings that a run was evaluated with, or else those of its last command."""
    found = [record for record in source.settings if record.about.run == run]
    found = found or [record for record in source.settings if record.about.run is None]
    evaluated = [record for record in found if "evaluate" in record.stage]
    return next(reversed(evaluated or found), None)


def condition_of(source: Source, arm: Arm) -> Condition:
    """Of the accuracies of an arm."""
    numbers = source.of(Quantity.ACCURACY, arm)
    record = settings_of(source, arm.run)
    settings: Mapping[str, object] = record.settings if record else {}
    data, threat = (_section(settings, name) for name in ("data", "threat"))
    threats = dict.fromkeys(n.about.threat for n in numbers if n.about.threat)
    allowed = ", ".join(threats) or " ".join(str(threat[k]) for k in ("norm", "epsilon") if k in threat)
    images = {name: data.get(name) for name in _IMAGES if data.get(name)}
    return Condition(
        data=str(data.get("source", "")),
        images=json.dumps(images, sort_keys=True, default=str),
        count=next((n.n for n in numbers if n.n), None),
        threat=allowed,
    )


def by_condition(source: Source) -> dict[Condition, list[Arm]]:
    """The arms that have accuracies, those under equal conditions together."""
    found: dict[Condition, list[Arm]] = {}
    for arm in source.arms(Quantity.ACCURACY):
        found.setdefault(condition_of(source, arm), []).append(arm)
    return found


def _section(settings: Mapping[str, object], name: str) -> Mapping[str, object]:
    found = settings.get(name)
    return found if isinstance(found, Mapping) else {}
