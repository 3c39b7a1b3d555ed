"""The kinds of record."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

__all__ = [
    "Finding",
    "Label",
    "LayerEntry",
    "Number",
    "Origin",
    "Picture",
    "Record",
    "Settings",
    "parse_record",
]

Label = str | int | float
"""The value of a label."""


class _Base(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=True, ser_json_inf_nan="constants")


class Origin(_Base):
    """Where a record comes from.

    Attributes:
        config: hash of the settings that differ from the defaults.
        version: of the library, with the commit where it runs from a checkout.
        device: the processor or accelerator.
        seed: the seed of the run.
    """

    config: str
    version: str
    device: str
    seed: str


class Number(_Base):
    """One measured number.

    Attributes:
        name: what was measured, such as ``accuracy.clean`` or ``layer.criticality``.
        value: the number.
        unit: its unit; "1" for a share or ratio.
        n: how many examples (or runs) it was measured on.
        low, high: its 95 % interval, where it has one.
        labels: what it was measured for: arm, attack, epoch, layer.
    """

    kind: Literal["number"] = "number"
    name: str
    value: float
    unit: str = "1"
    n: int | None = None
    low: float | None = None
    high: float | None = None
    labels: dict[str, Label] = {}
    origin: Origin


class LayerEntry(_Base):
    """One layer of the network that the numbers speak of."""

    kind: Literal["layer"] = "layer"
    index: int
    name: str
    type: str
    shape: tuple[int, ...]
    parameters: int
    block: str
    labels: dict[str, Label] = {}
    origin: Origin


class Picture(_Base):
    """A small picture (PNG in base64) with a caption: an adversarial example beside its original."""

    kind: Literal["picture"] = "picture"
    name: str
    png: str
    caption: str
    labels: dict[str, Label] = {}
    origin: Origin


class Finding(_Base):
    """A sentence the reader must know: a warning, a failed check, an early stop, a verdict."""

    kind: Literal["finding"] = "finding"
    name: str
    text: str
    level: Literal["note", "good", "warning", "error"] = "note"
    labels: dict[str, Label] = {}
    origin: Origin


class Settings(_Base):
    """All settings of a run, written out."""

    kind: Literal["settings"] = "settings"
    stage: str
    settings: dict[str, object]
    origin: Origin


Record = Annotated[Number | LayerEntry | Picture | Finding | Settings, Field(discriminator="kind")]

_ADAPTER: TypeAdapter[Number | LayerEntry | Picture | Finding | Settings] = TypeAdapter(Record)


def parse_record(line: str | bytes) -> Number | LayerEntry | Picture | Finding | Settings:
    """The record in one line of JSON; raises pydantic's ``ValidationError`` if it is none."""
    return _ADAPTER.validate_json(line)
