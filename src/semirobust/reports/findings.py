"""The sentences of the records, each said once, what matters most first."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from semirobust.records.schema import Finding, Topic

__all__ = ["Said", "answers", "notes"]

_ANSWERS = (Topic.AUDIT, Topic.VERDICT, Topic.SMALLEST_PREFIX, Topic.KEPT)
_ORDER = {"error": 0, "warning": 1, "good": 2, "note": 3}
_SIGNS = {"error": "✗", "warning": "!", "good": "✓", "note": "·"}
_NAMED = 6  # owners of a sentence that are named


@dataclass(frozen=True)
class Said:
    """One sentence.

    Attributes:
        topic: what it is about.
        text: with those that it is said of in front, where there are several.
        level: which gives its colour.
    """

    topic: str
    text: str
    level: str

    @property
    def sign(self) -> str:
        """What says the same as the colour."""
        return _SIGNS[self.level]


def answers(findings: Iterable[Finding], *, audit: bool) -> list[Said]:
    """What a command was run to find out: verdicts, the level that is kept, the smallest prefix.

    Args:
        findings: all of them.
        audit: whether those of an audit are among them, which the first screen shows where there is one.
    """
    wanted = [f for f in findings if f.topic in _ANSWERS and (audit or f.topic is not Topic.AUDIT)]
    return _merged(sorted(wanted, key=lambda f: _ANSWERS.index(f.topic)))


def notes(findings: Iterable[Finding]) -> list[Said]:
    """All other sentences, faults first; the passed checks of a run in one."""
    rest = [f for f in findings if f.topic not in _ANSWERS]
    passed: dict[str | None, list[Finding]] = {}
    for finding in rest:
        if finding.topic is Topic.CHECK and finding.level == "good":
            passed.setdefault(finding.about.run, []).append(finding)
    others = [f for f in rest if not (f.topic is Topic.CHECK and f.level == "good")]
    for checks in passed.values():
        names = dict.fromkeys(check.about.check or "" for check in checks)
        text = f"sanity checks passed: {', '.join(names)}"
        others.append(checks[0].model_copy(update={"text": text}))
    return _merged(sorted(others, key=lambda f: _ORDER[f.level]))


def _merged(findings: Sequence[Finding]) -> list[Said]:
    """One for each topic, level and text, with the names of those that it is said of."""
    owners: dict[tuple[Topic, str, str], list[str]] = {}
    for f in findings:
        owners.setdefault((f.topic, f.level, f.text), []).append(_owner(f))
    return [
        Said(topic=str(topic), text=_with_owners(text, list(dict.fromkeys(filter(None, whose)))), level=level)
        for (topic, level, text), whose in owners.items()
    ]


def _owner(finding: Finding) -> str:
    about = finding.about
    arm = about.arm if about.arm and about.arm not in finding.text else None
    return ", ".join(filter(None, (about.run, arm)))


def _with_owners(text: str, owners: Sequence[str]) -> str:
    named = list(owners[:_NAMED]) + ([f"{len(owners) - _NAMED} more"] if len(owners) > _NAMED else [])
    return f"{'; '.join(named)}: {text}" if named else text
