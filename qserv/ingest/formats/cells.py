"""The columns of a VOTable, and their values as texts (TABLEDATA) or bytes (BINARY)."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

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
        The text of the whole number that is NULL; empty where none is.
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
            count *= int.from_bytes(data[at : at + 4], "big")
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
    empty = {"", field.null.strip()} | ({"?"} if field.datatype == "boolean" else set())
    null = pc.is_in(pc.utf8_trim_whitespace(array), pa.array(sorted(empty)))
    if field.is_text:
        null = pc.equal(array, "")
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
    """
    mask = np.array(flags, dtype=np.bool_) if flags is not None else None
    if field.is_text:
        return _texts(field, values, mask)
    data = np.frombuffer(b"".join(values), _STORED.get(field.datatype, "u1"))
    if field.datatype == "boolean":
        true = np.isin(data, np.frombuffer(b"Tt1", np.uint8))
        unknown = ~true & ~np.isin(data, np.frombuffer(b"Ff0", np.uint8))
        return pa.array(true, mask=unknown if mask is None else mask | unknown)
    if field.datatype == "bit":
        # The highest bit by the standard, another one as astropy writes it.
        return pa.array(data != 0, mask=mask)
    array = pa.array(data.astype(data.dtype.newbyteorder("=")), mask=mask)
    try:
        null = int(field.null, 0)
    except ValueError:
        return array
    mask = np.asarray(data) == null if mask is None else mask | (data == null)
    return pa.array(data.astype(data.dtype.newbyteorder("=")), mask=mask)


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


def _texts(field: Field, values: Sequence[bytes], mask: object) -> pa.Array:
    coding = "utf-8" if field.datatype == "char" else "utf-16-be"
    texts = [value.decode(coding, "replace").split("\0", 1)[0] for value in values]
    # Without flags an empty text and NULL look the same.
    mask = np.array([not text for text in texts]) if mask is None else mask
    return pa.array(texts, pa.string(), mask=mask)
