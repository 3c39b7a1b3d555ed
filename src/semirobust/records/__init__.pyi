"""The public names of this room; ``__init__.py`` imports each from here when it is first used."""

from .about import About as About
from .about import Fields as Fields
from .about import When as When
from .export import number_rows as number_rows
from .export import write_csv as write_csv
from .origin import code_version as code_version
from .origin import config_hash as config_hash
from .quantity import Quantity as Quantity
from .quantity import Topic as Topic
from .schema import Finding as Finding
from .schema import LayerEntry as LayerEntry
from .schema import Number as Number
from .schema import Origin as Origin
from .schema import Picture as Picture
from .schema import Settings as Settings
from .store import AnyRecord as AnyRecord
from .store import read_records as read_records
from .store import write_records as write_records

__all__ = [
    "About",
    "AnyRecord",
    "Fields",
    "Finding",
    "LayerEntry",
    "Number",
    "Origin",
    "Picture",
    "Quantity",
    "Settings",
    "Topic",
    "When",
    "code_version",
    "config_hash",
    "number_rows",
    "read_records",
    "write_csv",
    "write_records",
]
