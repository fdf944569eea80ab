"""The least and greatest value of each column of the rows that a load brings.

They are taken from the rows themselves as they are stored, never from a footer: a query
for them is answered from the metadata (see `qserv.plan.known`).
"""

import math
import re
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from qserv.catalog.bounds import Ends
from qserv.catalog.tables import Column, DataType, Table

_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?")


def extremes(table: Table, rows: pa.Table) -> dict[str, Ends | None]:
    """Return the bounds of a table's numbers and moments.

    Parameters
    ----------
    table
        What the rows are.
    rows
        All of them, in the table's columns.

    Returns
    -------
    dict
        As `qserv.catalog.bounds` says. Infinities, and years of more than four digits,
        are left unknown: no literal stands for them.
    """
    found: dict[str, Ends | None] = {}
    for column in table.columns:
        if column.datatype.is_numeric or column.datatype is DataType.TIMESTAMP:
            ends = pc.min_max(rows.column(column.name))
            low, high = (_plain(column, ends[end]) for end in ("min", "max"))
            if not ends["min"].is_valid:
                found[column.name] = None
            elif low is not None and high is not None:
                found[column.name] = low, high
    return found


def _plain(column: Column, value: pa.Scalar) -> int | float | str | None:
    if column.datatype is DataType.TIMESTAMP:
        text = str(value.cast(pa.string()).as_py())
        return text if _MOMENT.fullmatch(text) else None
    plain: int | float | None = value.as_py()
    return plain if plain is not None and math.isfinite(plain) else None
