"""Reads Parquet, row group by row group."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from qserv.errors import BadContribution
from qserv.ingest import stores
from qserv.ingest.formats import ecsv, votable
from qserv.ingest.formats.rows import (
    BATCH_BYTES,
    BATCH_ROWS,
    Batch,
    Piece,
    conform,
    numbered,
    wanted,
)

Said = TypeVar("Said")

_ASTROPY: Final = b"table_meta_yaml"
_PIECE: Final = 128 * 2**20
"""Bytes, unpacked, of the row groups that are read as one piece, about."""


def split(whole: Piece) -> list[Piece]:
    """Cut a file at its row groups."""
    with stores.named(whole.file.name), opened(whole) as file:
        wanted(whole, _names(whole, file))
        metadata = file.metadata
        groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        sizes = [(group.num_rows, group.total_byte_size) for group in groups]
    if (found := sum(count for count, _ in sizes)) != metadata.num_rows:
        raise whole.wrong(
            f"is spoilt: it says {metadata.num_rows} rows, and {found} of its groups"
        )
    pieces: list[Piece] = []
    first, start = whole.first, 0
    for end in range(1, len(sizes) + 1):
        rows = sum(count for count, _ in sizes[start:end])
        size = sum(count for _, count in sizes[start:end])
        if size >= _PIECE or end == len(sizes):
            pieces.append(
                replace(
                    whole,
                    first=first,
                    rows=rows,
                    size=size,
                    groups=tuple(range(start, end)),
                )
            )
            first, start = first + rows, end
    return pieces or [replace(whole, rows=0, size=0)]


def read(piece: Piece) -> Iterator[Batch]:
    """Read some row groups; see `qserv.ingest.formats.read`."""
    with stores.named(piece.file.name), opened(piece) as file:
        names, masks = _names(piece, file), _masks(piece, file)
        kept = wanted(piece, names)
        columns = [names[i] for i in kept]
        groups = piece.groups if piece.rows is not None else None
        first = piece.first
        batches = file.iter_batches(
            batch_size=_batch_rows(file),
            row_groups=groups,
            columns=[*columns, *(masks[name] for name in columns if name in masks)],
            use_threads=False,  # each process has a core
        )
        try:
            for found in batches:
                numbers = numbered(first, found.num_rows)
                first += found.num_rows
                raw = _unmasked(found, columns, masks)
                raw = raw.rename_columns(list(kept.values()))
                yield conform(piece, raw, numbers)
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            raise piece.wrong(
                f"cannot be read beyond row {first - 1}: {stores.plain(error)}"
            ) from error
    if piece.rows is not None and first - piece.first != piece.rows:
        raise piece.wrong(
            f"is spoilt: it has {first - piece.first} rows from row {piece.first}, "
            f"and says {piece.rows}"
        )


def opened(piece: Piece) -> pq.ParquetFile:
    """Open a file, whose pages are checked as they are read.

    Raises
    ------
    BadContribution
        If it is none.
    """
    handle = stores.opened(piece.file.uri)
    try:
        return pq.ParquetFile(handle, page_checksum_verification=True, pre_buffer=False)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise piece.wrong(
            f"is not a whole Parquet file: {stores.plain(error)}"
        ) from error


def _batch_rows(file: pq.ParquetFile) -> int:
    metadata = file.metadata
    sizes = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    width = sum(s.total_byte_size for s in sizes) // max(metadata.num_rows, 1)
    return int(max(min(BATCH_ROWS, BATCH_BYTES // max(width, 1)), 1))


def raw(piece: Piece) -> Iterator[pa.RecordBatch]:
    """Read all rows as they stand."""
    with stores.named(piece.file.name), opened(piece) as file:
        names, masks = _names(piece, file), _masks(piece, file)
        for found in file.iter_batches(batch_size=_batch_rows(file)):
            yield _unmasked(found, names, masks)


def schema_of(piece: Piece) -> pa.Schema:
    """Return the columns of a file, with what it says of them.

    What stands beside a column goes before what the file as a whole says of it.
    """
    with stores.named(piece.file.name), opened(piece) as file:
        schema = file.schema_arrow
        fields = [schema.field(name) for name in _names(piece, file)]
        for key, meanings in _NOTES.items():
            said = _noted(piece, file, key, meanings)
            fields = [
                field.with_metadata(said.get(field.name, {}) | (field.metadata or {}))
                for field in fields
            ]
    return pa.schema(fields)


def count(piece: Piece) -> int:
    """Return the rows of a file."""
    with stores.named(piece.file.name), opened(piece) as file:
        return int(file.metadata.num_rows)


def _names(piece: Piece, file: pq.ParquetFile) -> list[str]:
    """Return the columns of a file, but those that say which others are NULL."""
    hidden = set(_masks(piece, file).values())
    return [name for name in file.schema_arrow.names if name not in hidden]


def _masks(piece: Piece, file: pq.ParquetFile) -> dict[str, str]:
    return _noted(piece, file, _ASTROPY, ecsv.masks)


def _unmasked(
    found: pa.RecordBatch, columns: Sequence[str], masks: Mapping[str, str]
) -> pa.RecordBatch:
    """Return columns, with NULL where astropy keeps a value behind a mask."""
    if masks.keys().isdisjoint(columns):
        return found
    arrays = [found.column(name) for name in columns]
    for i, name in enumerate(columns):
        if name in masks:
            null = pa.scalar(None, arrays[i].type)
            arrays[i] = pc.if_else(found.column(masks[name]), null, arrays[i])
    return pa.RecordBatch.from_arrays(arrays, names=list(columns))


def _noted(
    piece: Piece,
    file: pq.ParquetFile,
    key: bytes,
    read: Callable[[Piece, str], dict[str, Said]],
) -> dict[str, Said]:
    """Read what a file as a whole says of its columns under some key."""
    if (note := (file.metadata.metadata or {}).get(key)) is None:
        return {}
    try:
        return read(piece, note.decode())
    except BadContribution as error:
        raise BadContribution(
            f"{error.text} (in its metadata {key.decode()}); write the file anew"
        ) from error


_NOTES: Final[Mapping[bytes, Callable[[Piece, str], dict[str, dict[bytes, bytes]]]]] = {
    b"IVOA.VOTable-Parquet.content": votable.meanings,
    _ASTROPY: ecsv.meanings,
}
"""Where files say what their columns mean: VOParquet's key and astropy's."""
