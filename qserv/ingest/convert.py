"""Turns the columns of a file into the types of the table, or says why it cannot.

A type may widen. Where it narrows (DOUBLE for REAL, BIGINT for SMALLINT …) each value
must survive unchanged, else its row is named. NaN becomes NULL and is counted.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from qserv.catalog.tables import Column
from qserv.errors import BadContribution
from qserv.wire.codec import arrow_schema

_TEXT: Final = (pa.string(), pa.large_string(), pa.string_view())


@dataclass(frozen=True, slots=True)
class Place:
    """Where a batch of rows comes from.

    Parameters
    ----------
    path
        The file.
    first
        Number of the batch's first row; the file's first data row is 1.
    """

    path: Path
    first: int

    def wrong(self, row: int, column: str, what: str) -> BadContribution:
        """Return the error for a row of the batch, counted from 0."""
        return BadContribution(
            f"{self.path}, row {self.first + row}, column {column}: {what}"
        )


def convert(array: pa.Array, column: Column, place: Place) -> tuple[pa.Array, int]:
    """Turn an array into a column's type.

    Parameters
    ----------
    array
        As it was read.
    column
        What it should be.
    place
        Where it comes from, for messages.

    Returns
    -------
    array
        In the type that `arrow_schema` gives for the column.
    nulled
        How many NaN became NULL.

    Raises
    ------
    BadContribution
        If its type cannot be the column's, a value does not fit, or a NULL (or NaN)
        stands in a column that has none.
    """
    target = arrow_schema([column]).field(0).type
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if not _may_become(array.type, target):
        raise BadContribution(
            f"{place.path}, column {column.name}: has type {array.type}, but the table "
            f"wants {column.datatype}; convert the file or correct the schema"
        )
    if pa.types.is_float16(array.type):
        array = array.cast(pa.float32())  # Arrow computes little with half floats
    array, nulled = _without_nan(array)
    if array.type != target:
        array = _cast(array, target, column, place)
    if not column.nullable and array.null_count:
        row = pc.index(pc.is_null(array), value=True).as_py()
        raise place.wrong(row, column.name, "is NULL or NaN, but the column has none")
    return array, nulled


def _may_become(arrow: pa.DataType, target: pa.DataType) -> bool:
    if arrow == target or pa.types.is_null(arrow):
        return True
    if pa.types.is_timestamp(target):
        return bool(pa.types.is_timestamp(arrow) or pa.types.is_date(arrow))
    if target == pa.string():
        return arrow in _TEXT
    return _is_number(arrow) and _is_number(target)


def _is_number(arrow: pa.DataType) -> bool:
    return bool(pa.types.is_integer(arrow) or pa.types.is_floating(arrow))


def _without_nan(array: pa.Array) -> tuple[pa.Array, int]:
    if not pa.types.is_floating(array.type):
        return array, 0
    nan = pc.is_nan(array)
    if not (nulled := pc.sum(nan).as_py() or 0):
        return array, 0
    return pc.if_else(nan, pa.scalar(None, array.type), array), nulled


def _cast(
    array: pa.Array, target: pa.DataType, column: Column, place: Place
) -> pa.Array:
    if _fits(array, target):
        return array.cast(target, safe=False)
    row = _first_bad(array, target)
    raise place.wrong(
        row,
        column.name,
        f"{array[row].as_py()!r} ({array.type}) does not fit {column.datatype} "
        "without loss",
    )


def _fits(array: pa.Array, target: pa.DataType) -> bool:
    try:
        there = array.cast(target)
    except pa.ArrowInvalid:
        return False
    if pa.types.is_floating(array.type) and pa.types.is_floating(target):
        # Arrow calls the cast of a DOUBLE to a REAL safe whatever it loses.
        return bool(
            pc.all(pc.equal(there.cast(array.type), array)).as_py() is not False
        )
    return True


def _first_bad(array: pa.Array, target: pa.DataType) -> int:
    """Return the first row that does not fit, by halving; there is one."""
    low, high = 0, len(array)
    while high - low > 1:
        middle = (low + high) // 2
        if _fits(array.slice(low, middle - low), target):
            low = middle
        else:
            high = middle
    return low
