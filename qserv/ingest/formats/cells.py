"""The columns of a VOTable, and their values as texts (TABLEDATA) or bytes (BINARY)."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from qserv.ingest.formats.texts import parse, text_of

_TYPES: Final = {
    "boolean": pa.bool_(), "bit": pa.bool_(), "unsignedByte": pa.uint8(),
    "short": pa.int16(), "int": pa.int32(), "long": pa.int64(),
    "float": pa.float32(), "double": pa.float64(),
    "char": pa.string(), "unicodeChar": pa.string(),
}  # fmt: skip
_STORED: Final = {
    "unsignedByte": "u1", "short": ">i2", "int": ">i4", "long": ">i8",
    "float": ">f4", "double": ">f8",
}  # fmt: skip
_WIDTH: Final = {
    "boolean": 1, "bit": 1, "unsignedByte": 1, "short": 2, "int": 4, "long": 8,
    "float": 4, "double": 8, "char": 1, "unicodeChar": 2,
    "floatComplex": 8, "doubleComplex": 16,
}  # fmt: skip
_SIZE: Final = re.compile(r"((?:\d+x)*)(\d+|\d*\*)?")
_LIMIT: Final = 2**26
"""Bytes that no value is longer than."""


class Unreadable(Exception):
    """Bytes are no rows of the table."""


@dataclass(frozen=True, slots=True)
class Field:
    """A column of a VOTable.

    Parameters
    ----------
    name
        Its name.
    datatype
        The type, as VOTables name it.
    arraysize
        How many values a row has; empty for one.
    null
        The text of the number that is NULL; empty where none is.
    xtype
        What a text holds, such as ``timestamp``.
    unit, ucd, description
        What it means.
    """

    name: str
    datatype: str
    arraysize: str = ""
    null: str = ""
    xtype: str = ""
    unit: str = ""
    ucd: str = ""
    description: str = ""

    @property
    def is_text(self) -> bool:
        """Whether it holds characters."""
        return self.datatype in {"char", "unicodeChar"}

    @property
    def single(self) -> bool:
        """Whether a row holds one value, or one text."""
        if self.is_text:
            return "x" not in self.arraysize
        return self.datatype in _TYPES and self.arraysize.strip() in {"", "1"}

    @property
    def type(self) -> pa.DataType:
        """Its Arrow type; a list where it is not single."""
        if not self.single:
            return pa.list_(pa.float64())
        if self.is_text and self.xtype.lower().rpartition(":")[2] == "timestamp":
            return pa.timestamp("us")
        return _TYPES[self.datatype]

    @property
    def null_number(self) -> pa.Scalar | None:
        """The number that is NULL; None where none is."""
        if not self.null or self.datatype not in _STORED:
            return None
        values, bad = parse(pa.array([self.null]), self.type)
        return values[0] if bad is None and values[0].is_valid else None

    @property
    def field(self) -> pa.Field:
        """The Arrow field with its meaning."""
        said = {"unit": self.unit, "ucd": self.ucd, "description": self.description}
        meaning = {key: text for key, text in said.items() if text}
        return pa.field(self.name, self.type, metadata=meaning or None)

    def extent(self, data: memoryview, at: int) -> tuple[int, int] | None:
        """Return where a value begins and ends; None where the data end before.

        Raises
        ------
        Unreadable
            If its length makes no sense.
        """
        whole, last = self._shape()
        count = whole
        if last is None:
            if len(data) < at + 4:
                return None
            length = int.from_bytes(data[at : at + 4], "big")
            if length and whole > 1:
                # The standard says the first, and astropy writes the second.
                raise Unreadable(
                    f"column {self.name}: its length may count values or rows of "
                    f"{whole}; write the table as TABLEDATA"
                )
            count *= length
            at += 4
        size = (count + 7) // 8 if self.datatype == "bit" else self._width * count
        if size > _LIMIT:
            raise Unreadable(f"column {self.name}: a value of {size} bytes")
        return (at, at + size) if at + size <= len(data) else None

    @property
    def _width(self) -> int:
        return _WIDTH[self.datatype]

    def _shape(self) -> tuple[int, int | None]:
        """Return how many values there are, and None if a length stands before."""
        found = _SIZE.fullmatch(self.arraysize.strip())
        if found is None or self.datatype not in _WIDTH:
            raise Unreadable(
                f"column {self.name}: datatype {self.datatype!r}, arraysize "
                f"{self.arraysize!r} are none that VOTables have"
            )
        whole = 1
        for axis in filter(None, found[1].split("x")):
            whole *= int(axis)
        last = found[2]
        if last and last.endswith("*"):
            return whole, None
        count = whole * int(last or 1)
        if count > _LIMIT:
            raise Unreadable(f"column {self.name}: arraysize {self.arraysize}")
        return count, 1


def from_texts(field: Field, texts: Sequence[str]) -> pa.Array:
    """Return the texts of a column; an empty one is NULL.

    An empty text and NULL look the same in TABLEDATA.
    """
    array = pa.array(texts, pa.string())
    if field.is_text:
        null = pc.equal(array, "")
    else:
        empty = {"", field.null} | ({"?"} if field.datatype == "boolean" else set())
        null = pc.is_in(pc.utf8_trim_whitespace(array), pa.array(sorted(empty)))
        if (number := field.null_number) is not None:
            # Numbers are compared, not how they are written: -99 is -099.
            values, bad = parse(array, field.type)
            same = pc.equal(values, number).fill_null(False)
            null = pc.or_(
                null, same if bad is None else pc.and_not(same, pa.array(bad))
            )
    return pc.if_else(null, pa.scalar(None, pa.string()), array)


def from_bytes(
    field: Field, values: Sequence[bytes], flags: Sequence[bool] | None
) -> pa.Array:
    """Return the values of a column.

    Parameters
    ----------
    field
        The column, which is single.
    values
        The bytes of each value.
    flags
        Which are NULL; None where only the values themselves tell.

    Returns
    -------
    Array
        Bytes for characters of which some are none, and texts for truths of which some
        are none: what they are is found where they are told.
    """
    mask = np.zeros(len(values), np.bool_) if flags is None else np.array(flags, "?")
    if field.is_text:
        return _texts(field, values, None if flags is None else mask)
    data = np.frombuffer(b"".join(values), _STORED.get(field.datatype, "u1"))
    if field.datatype == "boolean":
        return _truths(data, mask)
    if field.datatype == "bit":
        # The highest bit by the standard, another one as astropy writes it.
        return pa.array(data != 0, mask=mask)
    data = data.astype(data.dtype.newbyteorder("="))
    if (number := field.null_number) is not None:
        mask |= data == number.as_py()
    return pa.array(data, mask=mask)


def records(
    fields: Sequence[Field], data: bytes, *, flagged: bool
) -> Iterator[tuple[int, list[bytes], bytes]]:
    """Cut bytes into rows.

    Parameters
    ----------
    fields
        The columns.
    data
        Rows, the last of them maybe not whole.
    flagged
        Whether bits in front of each row say which values are NULL (BINARY2).

    Yields
    ------
    int
        Where the row ends.
    list
        The bytes of each value.
    bytes
        The bits.

    Raises
    ------
    Unreadable
        If the length of a value makes no sense.
    """
    view, at = memoryview(data), 0
    bits = (len(fields) + 7) // 8 if flagged else 0
    while at + bits < len(data) or (at + bits == len(data) and at < len(data)):
        start, values = at, []
        at += bits
        for field in fields:
            extent = field.extent(view, at)
            if extent is None:
                return
            values.append(bytes(view[extent[0] : extent[1]]))
            at = extent[1]
        if at == start:
            raise Unreadable("its rows have no bytes")
        yield at, values, data[start : start + bits]


def _truths(data: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_]) -> pa.Array:
    true, false, unknown = (
        np.isin(data, np.frombuffer(some, np.uint8))
        for some in (b"Tt1", b"Ff0", b"?\0 ")
    )
    mask |= unknown
    if (true | false | mask).all():
        return pa.array(true, mask=mask)
    return pa.array([chr(each) for each in data], pa.string(), mask=mask)


def _texts(
    field: Field, values: Sequence[bytes], mask: npt.NDArray[np.bool_] | None
) -> pa.Array:
    if field.datatype == "unicodeChar":
        # A half of a pair becomes bytes that are no UTF-8 either.
        values = [
            value.decode("utf-16-be", "surrogatepass").encode("utf-8", "surrogatepass")
            for value in values
        ]
    values = [value.split(b"\0", 1)[0] for value in values]
    # Without flags an empty text and NULL look the same.
    mask = np.array([not text for text in values], "?") if mask is None else mask
    array = pa.array(values, pa.binary(), mask=mask)
    return array if text_of(array)[1] is not None else array.cast(pa.string())
