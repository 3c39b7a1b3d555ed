"""The public names of this room; ``__init__.py`` imports each from here when it is first used."""

from .origin import code_version as code_version
from .origin import config_hash as config_hash
from .schema import Finding as Finding
from .schema import Label as Label
from .schema import LayerEntry as LayerEntry
from .schema import Number as Number
from .schema import Origin as Origin
from .schema import Picture as Picture
from .schema import Settings as Settings
from .store import AnyRecord as AnyRecord
from .store import read_records as read_records
from .store import write_records as write_records

__all__ = [
    "AnyRecord",
    "Finding",
    "Label",
    "LayerEntry",
    "Number",
    "Origin",
    "Picture",
    "Settings",
    "code_version",
    "config_hash",
    "read_records",
    "write_records",
]
