"""What a check of an evaluation found."""

from dataclasses import dataclass

from semirobust.core.shown import AbstractResult
from semirobust.core.table import Table

__all__ = ["Check", "Checks"]


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: what was looked for.
        passed: whether there is no sign of a fault; None where that was not judged, and ``text`` says why.
        text: one sentence with the numbers.
    """

    name: str
    passed: bool | None
    text: str


class Checks(AbstractResult, list[Check]):
    """The checks in the order in which they are listed in :func:`sanity_checks`."""

    def table(self) -> Table:
        said = f"{sum(bool(check.passed) for check in self)} of {len(self)} passed"
        for what, those in (("failed", False), ("not judged", None)):
            if names := [check.name for check in self if check.passed is those]:
                said += f"; {what}: {', '.join(names)}"
        rows = [(check.name, check.passed, check.text) for check in self]
        return Table(said, {"check": "text", "passed": "flag", "found": "text"}, rows)
