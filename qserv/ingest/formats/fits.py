"""Reads FITS binary tables, some rows at a time from any stream.

Rows are read as they lie in the file, not mapped into memory: a file that loses its
end while it is read gives an error and no crash, and packed files and those of a store
are read in the same way. Logical NULL and TNULL are NULL; TSCAL and TZERO are applied,
to whole numbers exactly where they make unsigned ones; a text ends at its first NUL
byte or trailing blank.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qserv.ingest import stores
from qserv.ingest.formats.headers import (
    BLOCK,
    Header,
    Malformed,
    exactly,
    read_header,
)
from qserv.ingest.formats.quotes import Stream
from qserv.ingest.formats.rows import (
    BATCH_BYTES,
    BATCH_ROWS,
    Batch,
    Piece,
    conform,
    numbered,
    wanted,
)
from qserv.ingest.formats.values import several

_FORM: Final = re.compile(r"(\d*)([LXBIJKAEDCMPQ])(.*)", re.DOTALL)
_WIDTH: Final = {
    "L": 1, "B": 1, "I": 2, "J": 4, "K": 8, "A": 1, "E": 4, "D": 8,
    "C": 8, "M": 16, "P": 8, "Q": 16,
}  # fmt: skip
_TYPE: Final = {"B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}
_SAYS_NOTHING: Final = re.compile(r"(label|name) (for|of) (field|column)")
"""What libraries write beside every name."""
_SKIPPED: Final = 4 * 2**20
_SIGNED: Final = {"B": -128, "I": 2**15, "J": 2**31, "K": 2**63}
"""The TZERO that turns unsigned integers into signed ones, or bytes the other way."""
_OTHER: Final = {"B": "i1", "I": "u2", "J": "u4", "K": "u8"}


@dataclass(frozen=True, slots=True)
class Field:
    """A column of a binary table.

    Parameters
    ----------
    name
        Its name.
    code
        The letter of its type.
    repeat
        How many values a row has; of a text how many characters.
    offset, width
        Where its bytes are in a row, and how many.
    scale, zero
        What turns stored into real numbers.
    null
        The stored whole number that is NULL; None where none is.
    meaning
        Unit, ucd and description, where it has them.
    """

    name: str
    code: str
    repeat: int
    offset: int
    width: int
    scale: float
    zero: float
    null: int | None
    meaning: dict[str, str]

    @property
    def single(self) -> bool:
        """Whether a row holds one value."""
        return self.code == "A" or (self.repeat == 1 and self.code not in "CMPQ")


@dataclass(frozen=True, slots=True)
class Bintable:
    """A binary table.

    Parameters
    ----------
    fields
        Its columns.
    rows
        How many rows it has.
    width
        Bytes of a row.
    """

    fields: tuple[Field, ...]
    rows: int
    width: int


def read(piece: Piece) -> Iterator[Batch]:
    """Read a table; see `qserv.ingest.formats.read`."""
    with stores.named(piece.file.name), _opened(piece) as stream:
        table = seek_table(piece, stream)
        kept = wanted(piece, [field.name for field in table.fields])
        for first, found in _read(piece, table, list(kept), stream):
            raw = found.rename_columns(list(kept.values()))
            yield conform(piece, raw, numbered(first, raw.num_rows))


def raw(piece: Piece) -> Iterator[pa.RecordBatch]:
    """Read all rows as they stand, of the columns that are not left out."""
    with stores.named(piece.file.name), _opened(piece) as stream:
        table = seek_table(piece, stream)
        kept = list(piece.options.kept([field.name for field in table.fields]))
        for _, found in _read(piece, table, kept, stream):
            columns = iter(found.columns)
            yield pa.RecordBatch.from_arrays(
                [
                    next(columns) if i in kept else pa.nulls(found.num_rows)
                    for i in range(len(table.fields))
                ],
                names=[field.name for field in table.fields],
            )


def schema_of(piece: Piece) -> pa.Schema:
    """Return the columns of a table; those that cannot be read are lists."""
    with stores.named(piece.file.name), _opened(piece) as stream:
        table = seek_table(piece, stream)
    return pa.schema(
        [
            pa.field(
                field.name,
                _array(field, np.empty((0, field.width), np.uint8)).type
                if field.single
                else pa.list_(pa.float64()),
                metadata=field.meaning or None,
            )
            for field in table.fields
        ]
    )


def count(piece: Piece) -> int:
    """Return the rows of a table."""
    with stores.named(piece.file.name), _opened(piece) as stream:
        return seek_table(piece, stream).rows


def seek_table(piece: Piece, stream: Stream) -> Bintable:
    """Read up to the rows of the table that is wanted.

    Raises
    ------
    BadContribution
        If there is none.
    """
    wish, seen = piece.options.table, []
    try:
        for number, header in enumerate(iter(lambda: read_header(stream), None)):
            kind, name = header.text("XTENSION"), header.text("EXTNAME")
            seen.append(f"{number} {name or kind or 'PRIMARY'}")
            fits = kind == "BINTABLE" if wish is None else number == wish
            if fits or (isinstance(wish, str) and name.lower() == wish.lower()):
                return _table(piece, header)
            _skip(stream, -(-header.data_bytes // BLOCK) * BLOCK)
    except Malformed as error:
        raise piece.wrong(f"is no whole FITS file: {error}") from error
    told = "no binary table" if wish is None else f"no table {wish}"
    raise piece.wrong(f"has {told}; its HDUs are {', '.join(seen) or 'none'}")


def _opened(piece: Piece) -> pa.NativeFile:
    return stores.streamed(piece.file.uri, piece.file.compression)


def _skip(stream: Stream, size: int) -> None:
    while size > 0:
        found = len(exactly(stream, min(size, _SKIPPED)))
        if not found:
            return  # the next header is missing, too
        size -= found


def _table(piece: Piece, header: Header) -> Bintable:
    if header.text("XTENSION") != "BINTABLE":
        raise piece.wrong("this HDU is no binary table (BINTABLE); convert it to one")
    if header.values.get("ZTABLE") is True:
        raise piece.wrong("is a tile-compressed table; unpack it with funpack")
    count, width, offset = header.whole("TFIELDS"), header.whole("NAXIS1"), 0
    if count > 999:
        raise Malformed(f"TFIELDS is {count}")
    fields = []
    for number in range(1, count + 1):
        fields.append(_field(header, number, offset))
        offset += fields[-1].width
    if offset != width:
        raise Malformed(f"its columns have {offset} bytes a row, but NAXIS1 is {width}")
    return Bintable(tuple(fields), header.whole("NAXIS2"), width)


def _field(header: Header, number: int, offset: int) -> Field:
    form = header.text(f"TFORM{number}")
    if (found := _FORM.fullmatch(form)) is None:
        raise Malformed(f"TFORM{number} is {form!r}")
    repeat, code = int(found[1] or 1), found[2]
    if repeat > 2**31:
        raise Malformed(f"TFORM{number} is {form!r}")
    # A text that is split into several has another meaning, and TDIM or rAw says so.
    parts = code == "A" and (
        "," in header.text(f"TDIM{number}") or found[3].strip() not in {"", str(repeat)}
    )
    width = (repeat + 7) // 8 if code == "X" else repeat * _WIDTH[code]
    null = header.values.get(f"TNULL{number}")
    return Field(
        name=header.text(f"TTYPE{number}") or f"col{number}",
        code="C" if parts else code,
        repeat=repeat,
        offset=offset,
        width=width,
        scale=_number(header, f"TSCAL{number}", 1),
        zero=_number(header, f"TZERO{number}", 0),
        null=null if type(null) is int and code in "BIJK" else None,
        meaning=_meaning(header, number),
    )


def _meaning(header: Header, number: int) -> dict[str, str]:
    comment = header.comments.get(f"TTYPE{number}", "")
    said = {
        "unit": header.text(f"TUNIT{number}"),
        "ucd": header.text(f"TUCD{number}"),
        "description": header.text(f"TCOMM{number}")
        or ("" if _SAYS_NOTHING.match(comment) else comment),
    }
    return {key: text for key, text in said.items() if text}


def _number(header: Header, keyword: str, default: float) -> float:
    value = header.values.get(keyword, default)
    if isinstance(value, (str, bool)) or value is None or math.isnan(value):
        raise Malformed(f"{keyword} is {value!r}, no number")
    return value


def _read(
    piece: Piece, table: Bintable, kept: list[int], stream: Stream
) -> Iterator[tuple[int, pa.RecordBatch]]:
    fields = [table.fields[i] for i in kept]
    for field in fields:
        if not field.single:
            kind = f"{field.repeat}{field.code}"
            raise piece.wrong(several(kind), column=field.name)
    step = max(min(BATCH_ROWS, BATCH_BYTES // max(table.width, 1)), 1)
    for first in range(0, table.rows, step):
        rows = min(step, table.rows - first)
        data = exactly(stream, rows * table.width)
        if len(data) < rows * table.width or not table.width:
            raise piece.wrong(
                f"ends in row {first + len(data) // max(table.width, 1) + 1} of "
                f"{table.rows}: it is truncated"
            )
        cells = np.frombuffer(data, np.uint8).reshape(rows, table.width)
        arrays = [_array(f, cells[:, f.offset : f.offset + f.width]) for f in fields]
        names = [field.name for field in fields]
        yield first + 1, pa.RecordBatch.from_arrays(arrays, names=names)


def _array(field: Field, cells: npt.NDArray[np.uint8]) -> pa.Array:
    return _READERS.get(field.code, _numbers)(field, cells)


def _numbers(field: Field, cells: npt.NDArray[np.uint8]) -> pa.Array:
    stored = np.ascontiguousarray(cells).view(_TYPE[field.code]).reshape(-1)
    mask = None if field.null is None else stored == field.null
    values = stored.astype(stored.dtype.newbyteorder("="))
    if field.scale == 1 and field.zero == _SIGNED.get(field.code):
        # Adding half the range is turning the highest bit around.
        bits = values.view(f"u{values.itemsize}")
        values = (bits ^ bits.dtype.type(2 ** (8 * values.itemsize - 1))).view(
            _OTHER[field.code]
        )
    elif field.scale != 1 or field.zero != 0:
        values = values.astype(np.float64) * field.scale + field.zero
    return pa.array(values, mask=mask)


def _truths(_field: Field, cells: npt.NDArray[np.uint8]) -> pa.Array:
    letters = np.ascontiguousarray(cells).reshape(-1)
    true, false = letters == ord("T"), letters == ord("F")
    return pa.array(true, mask=~(true | false))


def _bits(_field: Field, cells: npt.NDArray[np.uint8]) -> pa.Array:
    return pa.array(np.ascontiguousarray(cells).reshape(-1) >= 128)


def _texts(field: Field, cells: npt.NDArray[np.uint8]) -> pa.Array:
    if not field.width:
        return pa.array([""] * len(cells), pa.string())
    texts = np.ascontiguousarray(cells).view(f"S{field.width}").reshape(-1)
    # What stands behind a NUL is no part of the text.
    whole = pa.array([text.split(b"\0", 1)[0].rstrip(b" ") for text in texts.tolist()])
    try:
        return whole.cast(pa.string())
    except pa.ArrowInvalid:
        # The standard knows ASCII alone; beyond it both of these are found.
        return pa.array([_decoded(text) for text in whole.to_pylist()], pa.string())


def _decoded(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")


_READERS: Final[dict[str, Callable[[Field, npt.NDArray[np.uint8]], pa.Array]]] = {
    "L": _truths,
    "X": _bits,
    "A": _texts,
}
