"""What has a name, without PyTorch: flags of commands, settings, and members of families.

They stand in ``known.json``, which is drawn from the code and tested to be in step with it. Between an edit
and the next drawing it says nothing: :meth:`Known.in_step` compares the lines of the code that declare names.
"""

import json
import re
import typing
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from semirobust.core.files import read_text
from semirobust.core.links import given_file

__all__ = ["ANYTHING", "ROOT", "TABLE", "Known", "Member", "Named", "declaring", "hint_of", "known"]

ROOT = Path(__file__).resolve().parents[1]
TABLE = Path(__file__).with_name("known.json")
ANYTHING = "any"
"""Stands for an annotation that is not checked here."""

_SIMPLE = {"int": int, "float": float, "str": str, "bool": bool, "none": type(None), ANYTHING: Any}
# Lines that say what has a name: fields of plain values, registrations, flags, and their choices.
_DECLARING = re.compile(
    r"^ {4}\w+: (?!.*Tensor)|register\(|setting\(|Literal\[|[\"']--|section\(|flags\.[A-Z]"
)


@dataclass(frozen=True)
class Named:
    """One setting.

    Attributes:
        hint: the annotation of its value.
        family: the family that it names a member of, or whose members' options it holds; empty for neither.
        options_of: the setting whose members' options it holds.
        member: the one member whose options it holds, where that is certain.
        default: of a setting that names members.
    """

    hint: Any
    family: str = ""
    options_of: str = ""
    member: str = ""
    default: Any = None

    @classmethod
    def read(cls, plain: Any) -> "Named":
        """From its plain form: the annotation alone, or a table."""
        if not isinstance(plain, Mapping):
            return cls(hint_of(plain))
        return cls(**{**plain, "hint": hint_of(plain["hint"])})


@dataclass(frozen=True)
class Member:
    """One member of a family.

    Attributes:
        options: its settings; None where they are not known here.
        pattern: of its names; empty for one.
    """

    options: Mapping[str, Named] | None
    pattern: str = ""


@dataclass(frozen=True)
class Known:
    """Everything that has a name.

    Attributes:
        plain: the table as it stands in the file.
        sections: section of a recipe -> its settings.
        families: what a family is called in messages -> its members.
    """

    plain: Mapping[str, Any]
    sections: Mapping[str, Mapping[str, Named]]
    families: Mapping[str, Mapping[str, Member]]

    def group(self, family: str) -> str:
        """The family in entry points."""
        return str(self.plain["groups"][family])

    def in_step(self) -> bool:
        """Whether the code declares what the table says, file by file and folder by folder."""
        declared: Mapping[str, int] = self.plain["declared"]
        if any(declaring(ROOT / name) != said for name, said in declared.items()):
            return False
        for folder in self.plain["folders"]:
            here = {f"{folder}/{path.name}" for path in (ROOT / folder).glob("*.py")}
            if here - declared.keys():
                return False
        return True


def known() -> Known:
    """The table."""
    plain = json.loads(read_text(given_file(TABLE)))
    return Known(
        plain,
        {name: _settings(settings) for name, settings in plain["sections"].items()},
        {
            family: {
                name: Member(_settings(each["options"]), each.get("pattern", ""))
                for name, each in members.items()
            }
            for family, members in plain["families"].items()
        },
    )


def _settings(plain: Any) -> Any:
    return None if plain is None else {name: Named.read(each) for name, each in plain.items()}


def hint_of(plain: Any) -> Any:
    """An annotation from its plain form, such as ``["tuple", "int"]``."""
    if isinstance(plain, str):
        return _SIMPLE[plain]
    head, *rest = plain
    if head == "literal":
        return Literal[tuple(rest)]
    inside = [hint_of(each) for each in rest]
    if head == "union":
        return typing.Union[tuple(inside)]  # noqa: UP007
    if head == "tuple":
        return tuple[inside[0], ...]  # type: ignore[valid-type]
    if head == "sequence":
        return Sequence[inside[0]]  # type: ignore[valid-type]
    return dict[str, inside[0]]  # type: ignore[valid-type]


def declaring(path: Path) -> int:
    """A number that changes with the lines of a file that declare names; -1 where there is no such file."""
    try:
        text = read_text(given_file(path))
    except OSError:
        return -1
    return zlib.crc32("\n".join(line for line in text.splitlines() if _DECLARING.search(line)).encode())
