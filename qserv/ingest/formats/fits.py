"""Reads tables of FITS files, some rows at a time from any stream.

Rows are read as they lie in the file, not mapped into memory: a file that loses its
end while it is read gives an error and no crash, and packed files and those of a store
are read in the same way.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from qserv.ingest import stores
from qserv.ingest.formats import asciitable, bintable
from qserv.ingest.formats.fitsfield import Field
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
from qserv.ingest.formats.texts import typed
from qserv.ingest.formats.values import several

_SKIPPED: Final = 4 * 2**20
_KINDS: Final = {"BINTABLE": bintable.fields, "TABLE": asciitable.fields}


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Parameters
    ----------
    fields
        Its columns.
    rows
        How many rows it has.
    width
        Bytes of a row.
    texts
        Whether its values are texts, as those of a CSV are.
    """

    fields: tuple[Field, ...]
    rows: int
    width: int
    texts: bool


def read(piece: Piece) -> Iterator[Batch]:
    """Read a table; see `qserv.ingest.formats.read`."""
    with stores.named(piece.file.name), _opened(piece) as stream:
        table = seek_table(piece, stream)
        kept = wanted(piece, [field.name for field in table.fields])
        for first, found in _read(piece, table, list(kept), stream):
            raw = found.rename_columns(list(kept.values()))
            numbers = numbered(first, raw.num_rows)
            yield conform(piece, raw, numbers, texts=table.texts)


def raw(piece: Piece) -> Iterator[pa.RecordBatch]:
    """Read all rows as they stand, of the columns that are not left out."""
    with stores.named(piece.file.name), _opened(piece) as stream:
        table = seek_table(piece, stream)
        kept = list(piece.options.kept([field.name for field in table.fields]))
        for _, found in _read(piece, table, kept, stream):
            columns = dict(zip(kept, found.columns, strict=True))
            yield pa.RecordBatch.from_arrays(
                [
                    typed(columns[i], field.type)
                    if i in columns
                    else pa.nulls(found.num_rows)
                    for i, field in enumerate(table.fields)
                ],
                names=[field.name for field in table.fields],
            )


def schema_of(piece: Piece) -> pa.Schema:
    """Return the columns of a table; those that cannot be read are lists."""
    with stores.named(piece.file.name), _opened(piece) as stream:
        return pa.schema([field.field for field in seek_table(piece, stream).fields])


def count(piece: Piece) -> int:
    """Return the rows of a table."""
    with stores.named(piece.file.name), _opened(piece) as stream:
        return seek_table(piece, stream).rows


def seek_table(piece: Piece, stream: Stream) -> Table:
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
            fits = _is_table(header) if wish is None else number == wish
            if fits or (isinstance(wish, str) and name.lower() == wish.lower()):
                return _table(piece, header)
            _skip(stream, -(-header.data_bytes // BLOCK) * BLOCK)
    except Malformed as error:
        raise piece.wrong(f"is no whole FITS file: {error}") from error
    told = "no table" if wish is None else f"no table {wish}"
    raise piece.wrong(f"has {told}; its HDUs are {', '.join(seen) or 'none'}")


def _opened(piece: Piece) -> pa.NativeFile:
    return stores.streamed(piece.file.uri, piece.file.compression)


def _skip(stream: Stream, size: int) -> None:
    while size > 0:
        found = len(exactly(stream, min(size, _SKIPPED)))
        if not found:
            return  # the next header is missing, too
        size -= found


def _is_table(header: Header) -> bool:
    # A compressed image is kept in a binary table.
    return header.text("XTENSION") in _KINDS and header.values.get("ZIMAGE") is not True


def _table(piece: Piece, header: Header) -> Table:
    kind = header.text("XTENSION")
    if not _is_table(header):
        raise piece.wrong("this HDU is no table, but an image; say another --hdu")
    if header.values.get("ZTABLE") is True:
        raise piece.wrong(
            "its table is compressed tile by tile; unpack the file with `funpack`, "
            "which comes with CFITSIO (gzip, as .fits.gz, is read as it is)"
        )
    if header.whole("TFIELDS") > 999:
        raise Malformed(f"TFIELDS is {header.whole('TFIELDS')}")
    fields = _KINDS[kind](header)
    width = header.whole("NAXIS1")
    return Table(fields, header.whole("NAXIS2"), width, kind == "TABLE")


def _read(
    piece: Piece, table: Table, kept: list[int], stream: Stream
) -> Iterator[tuple[int, pa.RecordBatch]]:
    fields = [table.fields[i] for i in kept]
    readers = []
    for field in fields:
        if field.read is None:
            raise piece.wrong(several(field.form), column=field.name)
        readers.append((field.read, slice(field.offset, field.offset + field.width)))
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
        arrays = [read(cells[:, where]) for read, where in readers]
        names = [field.name for field in fields]
        yield first + 1, pa.RecordBatch.from_arrays(arrays, names=names)
    while piece.file.compression and stream.read(_SKIPPED):
        pass  # the checksum of what was unpacked stands at its end
