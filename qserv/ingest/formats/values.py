"""Turns the columns of a file into the types of the table, and says which do not fit.

A type may widen. Where it narrows (DOUBLE for REAL, BIGINT for SMALLINT …) each value
must survive unchanged, else its row is told; so must a text that is longer than its
column. NaN becomes NULL and is counted.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from qserv.catalog.tables import Column, DataType
from qserv.ingest.formats.texts import Mask, each, either, parse, text_of
from qserv.wire.codec import arrow_schema

_TEXT: Final = (pa.string(), pa.large_string(), pa.string_view())
_BYTES: Final = (pa.binary(), pa.large_binary(), pa.binary_view())
_HIGHEST: Final = 2.0**63
_FIRST: Final = pa.scalar("0001-01-01").cast(pa.timestamp("us"))
_LAST: Final = pa.scalar("9999-12-31T23:59:59.999999").cast(pa.timestamp("us"))


@dataclass(frozen=True, slots=True)
class Converted:
    """A column in its new type.

    Parameters
    ----------
    column
        What they should be.
    array
        The values; what does not fit is anything.
    nulled
        How many NaN became NULL.
    bad
        Which rows do not fit; None where all do.
    nulls
        Which of them are NULL where the table has none; None where none is.
    long
        Which of them are texts that are too long; None where none is.
    """

    column: Column
    array: pa.Array
    nulled: int = 0
    bad: Mask | None = None
    nulls: Mask | None = None
    long: Mask | None = None

    def why(self, row: int, value: str) -> str:
        """Return why a row with some value, as people see it, does not fit."""
        if self.nulls is not None and self.nulls[row]:
            return "it is NULL or NaN, but the column has none"
        if self.long is not None and self.long[row]:
            count = len(self.array[row].as_py())
            reason = f"has {count} characters; the column takes {self.column.length}"
        else:
            reason = _reason(self.column)
        return f"{value!r} {reason}"


def convert(array: pa.Array, column: Column, *, texts: bool = False) -> Converted:
    """Turn an array into a column's type.

    Parameters
    ----------
    array
        As it was read.
    column
        What it should be.
    texts
        Whether texts are to be read as what the column holds, as in a CSV. Texts are
        read as times in any case.

    Returns
    -------
    Converted
        In the type that `arrow_schema` gives for the column.

    Raises
    ------
    TypeError
        If its type cannot be the column's; the text says what to do.
    """
    target = arrow_schema([column]).field(0).type
    array, bad = _plain(array), None
    if array.type in _TEXT or (texts and array.type in _BYTES):
        # Arrow takes it from a Parquet file unseen that its texts are UTF-8.
        array, bad = text_of(array.cast(pa.binary()))
    if array.type in _TEXT and (texts or pa.types.is_timestamp(target)):
        array, worse = parse(array, target)
        bad = either(bad, worse)
    if not _may_become(array.type, target):
        raise TypeError(_refusal(array.type, column))
    array, nulled = _without_nan(array)
    if array.type != target:
        array, worse = _cast(array, target)
        bad = either(bad, worse)
    bad = either(bad, _far(array))
    nulls, long = None, _too_long(array, column)
    if not column.nullable and array.null_count:
        nulls = np.asarray(array.is_null())
        nulls = nulls if bad is None else nulls & ~bad
    bad = either(bad, either(nulls, long))
    return Converted(column, array, nulled, bad, nulls, long)


def several(kind: str) -> str:
    """Return why a column of several values a row is refused, and what to do."""
    return (
        f"has several values a row ({kind}), but a column holds one; name it under "
        "`ignore:` in the sidecar, or write its values into columns of their own"
    )


def _reason(column: Column) -> str:
    match column.datatype:
        case DataType.VARCHAR:
            return "is no UTF-8 text"
        case DataType.BOOLEAN:
            return "is no BOOLEAN: true, false, t, f, yes, no, 1 or 0"
        case DataType.TIMESTAMP:
            return (
                "is no time of the years 1 to 9999 in ISO 8601 to the microsecond, "
                "such as 2026-01-31T23:59:59.5Z"
            )
        case _:
            return f"is no number that {column.datatype} holds without loss"


def _refusal(arrow: pa.DataType, column: Column) -> str:
    if pa.types.is_nested(arrow):
        return several(f"{arrow}")
    return (
        f"has type {arrow}, but the table wants {column.datatype}; convert the file, "
        "correct the schema, or leave the column out of both"
    )


def _plain(array: pa.Array) -> pa.Array:
    """Undo what only says how values are stored."""
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_run_end_encoded(array.type):
        array = pc.run_end_decode(array)
    if pa.types.is_float16(array.type):
        array = array.cast(pa.float32())  # Arrow computes little with half floats
    if pa.types.is_decimal32(array.type) or pa.types.is_decimal64(array.type):
        # Arrow makes no BIGINT of these.
        array = array.cast(pa.decimal128(array.type.precision, array.type.scale))
    return array


def _too_long(array: pa.Array, column: Column) -> Mask | None:
    """Return which texts have more characters than their column; None where none has.

    A length counts characters (Unicode code points), as VARCHAR(n) of SQL does, which
    Felis makes of it. Bytes would refuse texts that a file's own declaration allows:
    an element of VOTable's ``unicodeChar`` is a character of any number of bytes.
    """
    if column.length is None or column.datatype is not DataType.VARCHAR:
        return None
    # No text has more characters than bytes, and these need no counting.
    if (pc.max(pc.binary_length(array)).as_py() or 0) <= column.length:
        return None
    long = np.asarray(pc.greater(pc.utf8_length(array), column.length).fill_null(False))
    return long if long.any() else None


def _far(array: pa.Array) -> Mask | None:
    """Return which times no ISO 8601 text tells; None where none is such."""
    if not pa.types.is_timestamp(array.type):
        return None
    inside = pc.and_(pc.greater_equal(array, _FIRST), pc.less_equal(array, _LAST))
    far = np.asarray(pc.invert(inside.fill_null(True)))
    return far if far.any() else None


def _may_become(arrow: pa.DataType, target: pa.DataType) -> bool:
    if arrow == target or pa.types.is_null(arrow):
        return True
    if pa.types.is_timestamp(target):
        return bool(pa.types.is_timestamp(arrow) or pa.types.is_date(arrow))
    if target == pa.string():
        return arrow in _TEXT
    if pa.types.is_boolean(target):
        return bool(pa.types.is_integer(arrow))
    is_number = pa.types.is_integer(arrow) or pa.types.is_floating(arrow)
    return bool(is_number or pa.types.is_decimal(arrow)) and not pa.types.is_boolean(
        target
    )


def _without_nan(array: pa.Array) -> tuple[pa.Array, int]:
    if not pa.types.is_floating(array.type):
        return array, 0
    nan = pc.is_nan(array)
    if not (nulled := pc.sum(nan).as_py() or 0):
        return array, 0
    return pc.if_else(nan, pa.scalar(None, array.type), array), nulled


def _cast(array: pa.Array, target: pa.DataType) -> tuple[pa.Array, Mask | None]:
    """Cast what survives it unchanged; the rest is told."""
    source = array.type
    if pa.types.is_null(source):
        return array.cast(target), None
    if pa.types.is_decimal(source) and pa.types.is_floating(target):
        return _from_decimals(array, target)
    if pa.types.is_decimal(source) or pa.types.is_timestamp(target):
        return _cast_each(array, target)
    if pa.types.is_integer(source) and pa.types.is_floating(target):
        return _marked(array, target, _exact(array, target))
    try:
        there = array.cast(target)
    except pa.ArrowInvalid:
        return _marked(array, target, _inside(array, target))
    if pa.types.is_floating(target) and target.bit_width < source.bit_width:
        # Arrow calls the cast of a DOUBLE to a REAL safe whatever it loses.
        return _marked(array, target, pc.equal(there.cast(source), array))
    if pa.types.is_boolean(target):
        return _marked(array, target, _inside(array, target))
    return there, None


def _marked(
    array: pa.Array, target: pa.DataType, survives: pa.Array
) -> tuple[pa.Array, Mask | None]:
    bad = np.asarray(pc.invert(survives.fill_null(True)))
    return array.cast(target, safe=False), bad if bad.any() else None


def _inside(array: pa.Array, target: pa.DataType) -> pa.Array:
    """Return which numbers are whole and in the range of an integer type."""
    if pa.types.is_boolean(target):
        low, high = 0, 1
    else:
        high = 2 ** (target.bit_width - 1) - 1
        low = -high - 1
    if pa.types.is_floating(array.type):
        array = array.cast(pa.float64())
        whole = pc.equal(pc.floor(array), array)
        above = pc.greater_equal(array, float(low))
        # The float of the highest BIGINT is one above it.
        return pc.and_(whole, pc.and_(above, pc.less(array, float(high + 1))))
    kind = array.type
    limits = np.iinfo(kind.to_pandas_dtype())
    above = pc.greater_equal(array, pa.scalar(max(low, int(limits.min)), kind))
    below = pc.less_equal(array, pa.scalar(min(high, int(limits.max)), kind))
    return pc.and_(above, below)


def _exact(array: pa.Array, target: pa.DataType) -> pa.Array:
    """Return which integers a floating type holds exactly."""
    there = array.cast(target, safe=False).cast(pa.float64())
    whole = array.cast(pa.uint64() if array.type == pa.uint64() else pa.int64())
    limit = 2 * _HIGHEST if array.type == pa.uint64() else _HIGHEST
    inside = pc.less(there, limit)
    back = pc.if_else(inside, there, 0.0).cast(whole.type, safe=False)
    return pc.and_(inside, pc.equal(back, whole))


def _cast_each(array: pa.Array, target: pa.DataType) -> tuple[pa.Array, Mask | None]:
    return each(array, target, lambda some: some.cast(target))


def _from_decimals(
    array: pa.Array, target: pa.DataType
) -> tuple[pa.Array, Mask | None]:
    """Return the nearest numbers, and which decimals they do not tell any more."""
    texts = array.cast(pa.string())
    # Arrow's own cast of a decimal makes 2.5500000000000003 of 2.55.
    there, bad = parse(texts, target)
    kept = 6 if target == pa.float32() else 15
    if array.type.precision <= kept:
        return there, bad
    digits = pc.replace_substring_regex(texts, r"[eE].*|[-.]", "")
    many = pc.greater(pc.utf8_length(pc.ascii_trim(digits, "0")), kept)
    lost = np.asarray(many.fill_null(False))
    for row in np.flatnonzero(lost):
        lost[row] = Decimal(there[row].as_py()) != array[row].as_py()
    return there, either(bad, lost if lost.any() else None)
