"""Reads files of every format as batches in the types of a table.

A row that cannot be taken is left out and told (`Reject`). What makes a whole file
unreadable raises `qserv.errors.BadContribution`, which names the file, and row and
column where they apply.
"""

from collections.abc import Iterator
from typing import Final, Protocol

import pyarrow as pa

from qserv.catalog.tables import Table, TableKind
from qserv.ingest.formats import delimited, ecsv, fits, ipc, magic, parquet, votable
from qserv.ingest.formats.rows import Batch, Piece, Reject
from qserv.ingest.inputs import DEFAULTS, Format, InputFile, ReadOptions


class _Reader(Protocol):
    """What the module of a format has."""

    def read(self, piece: Piece, /) -> Iterator[Batch]: ...
    def raw(self, piece: Piece, /) -> Iterator[pa.RecordBatch]: ...
    def schema_of(self, piece: Piece, /) -> pa.Schema: ...
    def count(self, piece: Piece, /) -> int | None: ...


_READERS: Final[dict[Format, _Reader]] = {
    Format.PARQUET: parquet,
    Format.CSV: delimited,
    Format.TSV: delimited,
    Format.FITS: fits,
    Format.ARROW: ipc,
    Format.VOTABLE: votable,
    Format.ECSV: ecsv,
}
_NOTHING: Final = Table("T", TableKind.REPLICATED, ())

__all__ = ["Batch", "Piece", "Reject", "count", "pieces", "raw", "read", "schema_of"]


def pieces(
    table: Table, file: InputFile, options: ReadOptions = DEFAULTS
) -> list[Piece]:
    """Return what of a file can be read by itself.

    Parameters
    ----------
    table
        The columns that the file must have, in any order; of others it has only those
        that are ignored.
    file
        The file.
    options
        What it does not say about itself.

    Raises
    ------
    BadContribution
        If it is no such file, or has other columns.
    """
    whole = _whole(table, file, options)
    magic.check(whole)
    if file.format is Format.PARQUET:
        return parquet.split(whole)
    return [whole]


def read(piece: Piece) -> Iterator[Batch]:
    """Read a piece as a stream of batches, in bounded memory.

    Raises
    ------
    BadContribution
        If the file cannot be read.
    """
    return _READERS[piece.file.format].read(piece)


def schema_of(file: InputFile, options: ReadOptions = DEFAULTS) -> pa.Schema:
    """Return the columns of a file as they are read: not those left out, renamed.

    Fields carry unit, ucd and description where the file has them. A CSV or TSV says no
    types: all its columns are texts. A column without any value may have type null.

    Raises
    ------
    BadContribution
        If the file cannot be read.
    """
    whole = _whole(_NOTHING, file, options)
    magic.check(whole)
    schema = _READERS[file.format].schema_of(whole)
    kept = options.kept(schema.names)
    return pa.schema([schema.field(i).with_name(name) for i, name in kept.items()])


def raw(file: InputFile, options: ReadOptions = DEFAULTS) -> Iterator[pa.RecordBatch]:
    """Read a file from its start as it stands; a CSV or TSV as texts and NULL.

    Rows of texts with too few or too many values are left out.

    Raises
    ------
    BadContribution
        If the file cannot be read.
    """
    whole = _whole(_NOTHING, file, options)
    for batch in _READERS[file.format].raw(whole):
        kept = options.kept(batch.schema.names)
        columns = [batch.column(i) for i in kept]
        yield pa.RecordBatch.from_arrays(columns, names=list(kept.values()))


def count(what: Piece | InputFile) -> int | None:
    """Return the rows of a piece or a file without reading them; None if it is dear.

    Raises
    ------
    BadContribution
        If the file is none of its format.
    """
    if isinstance(what, Piece):
        return what.rows
    whole = _whole(_NOTHING, what, DEFAULTS)
    return _READERS[what.format].count(whole)


def _whole(table: Table, file: InputFile, options: ReadOptions) -> Piece:
    return Piece(table, file, options, 1, None, file.size)
