"""The kinds of record, version 2 of the schema."""

import json
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from semirobust.core.budget import BUDGET
from semirobust.core.errors import InputError
from semirobust.records.about import About
from semirobust.records.legacy import upgraded
from semirobust.records.quantity import Quantity, Topic
from semirobust.records.seal import split_seal

__all__ = [
    "VERSION",
    "About",
    "AnyRecord",
    "Finding",
    "LayerEntry",
    "Number",
    "Origin",
    "Picture",
    "Quantity",
    "Settings",
    "Topic",
    "check_indices",
    "parse_record",
]

VERSION = 2
_CURRENT = f'{{"schema_version":{VERSION},'
_QUANTITIES = {str(quantity): quantity for quantity in Quantity}


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


class _Record(_Base):
    """What all records have: the version of the schema, what they speak of, and where they come from."""

    schema_version: Literal[2] = 2
    about: About = About()
    origin: Origin


class Number(_Record):
    """One measured number.

    Attributes:
        quantity: what was measured.
        value: the number.
        unit: its unit; that of the quantity, except where each record names its own.
        n: how many examples (or runs) it was measured on.
        low, high: its 95 % interval, where it has one.
        about: what it was measured for: arm, attack, epoch, layer.
        details: what a measure adds to its number, by names of its own.

    Raises:
        ValueError: a unit other than the quantity's, or ``Quantity.OTHER`` without a ``about.measure``.
    """

    kind: Literal["number"] = "number"
    quantity: Quantity
    value: float
    unit: str = ""
    n: int | None = None
    low: float | None = None
    high: float | None = None
    details: Mapping[str, str | int | float] | None = None

    @model_validator(mode="before")
    @classmethod
    def _unit_of_quantity(cls, content: object) -> object:
        if isinstance(content, dict) and not content.get("unit"):
            known = _QUANTITIES.get(str(content.get("quantity")))
            return {**content, "unit": (known.unit if known else "") or "1"}
        return content

    @model_validator(mode="after")
    def _fits(self) -> "Number":
        if self.quantity.unit and self.unit != self.quantity.unit:
            raise ValueError(f"{self.quantity} is measured in {self.quantity.unit}, not {self.unit}")
        if self.quantity is Quantity.OTHER and not self.about.measure:
            raise ValueError("the quantity other needs a name in about.measure")
        return self


class LayerEntry(_Record):
    """One layer of the network that the numbers speak of."""

    kind: Literal["layer"] = "layer"
    index: int
    name: str
    type: str
    shape: tuple[int, ...]
    parameters: int
    block: str


class Picture(_Record):
    """An adversarial example beside its original: a small PNG in base64 with a caption."""

    kind: Literal["picture"] = "picture"
    png: str
    caption: str


class Finding(_Record):
    """A sentence the reader must know: a warning, a failed check, an early stop, a verdict."""

    kind: Literal["finding"] = "finding"
    topic: Topic
    text: str
    level: Literal["note", "good", "warning", "error"] = "note"


class Settings(_Record):
    """All settings of a run, written out."""

    kind: Literal["settings"] = "settings"
    stage: str
    settings: dict[str, object]


AnyRecord = Number | LayerEntry | Picture | Finding | Settings

_ADAPTER: TypeAdapter[AnyRecord] = TypeAdapter(Annotated[AnyRecord, Field(discriminator="kind")])


def parse_record(line: str | bytes) -> AnyRecord:
    """The record in one line of JSON, whichever version of the schema it is of; its seal is left out.

    Raises:
        ValueError: the line is no record (pydantic's ``ValidationError`` among others).
        InputError: it is of a later version than this code knows.
    """
    line, _ = split_seal(line if isinstance(line, str) else line.decode("utf-8"))
    if line.startswith(_CURRENT):
        return _ADAPTER.validate_json(line)
    try:
        content = json.loads(line)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError(f"expected an object, got {type(content).__name__}")
    version = content.get("schema_version", 1)
    if version == 1:
        return _ADAPTER.validate_python(upgraded(content))
    if isinstance(version, int) and version > VERSION:
        raise InputError(
            f"records: expected version {VERSION} of the schema or an earlier one, got version {version};"
            " install a later semirobust"
        )
    return _ADAPTER.validate_json(line)


_INDICES = (
    "size",
    "seed",
    "trial",
    "epoch",
    "layer",
    "feature",
    "on",
    "k",
    "batch",
    "level",
    "suffix",
    "tuned_layer",
)


def check_indices(record: AnyRecord) -> None:
    """Raise ``InputError`` for a number of a layer, epoch or the like that none has, after which a figure
    would have as many rows.
    """
    for name in _INDICES:
        value = getattr(record.about, name)
        if value is not None and abs(value) > BUDGET.layer:
            raise InputError(f"records: expected {name} of at most {BUDGET.layer:,}, got {value:.3g}")
    if isinstance(record, LayerEntry):
        largest = max((*map(abs, record.shape), abs(record.index)), default=0)
        if largest > BUDGET.integer or len(record.shape) > BUDGET.name_parts:
            raise InputError(f"records: expected the shape of a layer, got one of {len(record.shape)} sizes")
