"""Numbers as plain tables, for pandas, a spreadsheet or anything else."""

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from semirobust.core.errors import InputError
from semirobust.core.ours import write_out
from semirobust.core.text import in_a_cell
from semirobust.records.schema import AnyRecord, Number

__all__ = ["Row", "number_rows", "write_csv"]

Row = dict[str, str | int | float | bool | None]
"""One number: column -> plain value, None where the column does not apply."""


def number_rows(records: Iterable[AnyRecord]) -> list[Row]:
    """One flat dict for each number among the records, all with the same columns in the same order.

    Columns are ``quantity``, ``value``, ``unit``, ``n``, ``low`` and ``high``, all fields of
    :class:`~semirobust.records.about.About`, ``details`` in JSON, and of the origin ``config``, ``version``,
    ``device`` and ``origin_seed``. ``pandas.DataFrame(number_rows(records))`` is a table of them.
    """
    return [_row(record) for record in records if isinstance(record, Number)]


def _row(number: Number) -> Row:
    origin = number.origin
    return {
        "quantity": str(number.quantity),
        "value": number.value,
        "unit": number.unit,
        "n": number.n,
        "low": number.low,
        "high": number.high,
        **asdict(number.about),
        "details": json.dumps(dict(number.details)) if number.details else None,
        "config": origin.config,
        "version": origin.version,
        "device": origin.device,
        "origin_seed": origin.seed,
    }


def write_csv(path: Path, records: Iterable[AnyRecord]) -> int:
    """Write the numbers among the records as a CSV file with a header; columns that are empty are left out.

    A text that a spreadsheet would calculate, one that begins with ``=``, ``+``, ``-``, ``@`` or a tab, gets
    an apostrophe in front.

    Returns:
        how many numbers were written.

    Raises:
        InputError: there are none, or the file cannot be written.
    """
    rows = number_rows(records)
    if not rows:
        raise InputError("csv: expected records of numbers, found none")
    columns = [name for name in rows[0] if any(row[name] is not None for row in rows)]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: in_a_cell(v) if isinstance(v, str) else v for k, v in row.items()} for row in rows)
    try:
        write_out(path, text.getvalue().encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise InputError(f"csv: cannot write {path} ({error.strerror})") from None
    return len(rows)
