"""Reads Parquet, row group by row group."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from qserv.ingest import stores
from qserv.ingest.formats.rows import (
    BATCH_BYTES,
    BATCH_ROWS,
    Batch,
    Piece,
    conform,
    numbered,
    wanted,
)

_PIECE: Final = 128 * 2**20
"""Bytes, unpacked, of the row groups that are read as one piece, about."""


def split(whole: Piece) -> list[Piece]:
    """Cut a file at its row groups."""
    with stores.named(whole.file.name), opened(whole) as file:
        wanted(whole, file.schema_arrow.names)
        metadata = file.metadata
        groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        sizes = [(group.num_rows, group.total_byte_size) for group in groups]
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
        names = file.schema_arrow.names
        kept = wanted(piece, names)
        groups = piece.groups if piece.rows is not None else None
        first = piece.first
        batches = file.iter_batches(
            batch_size=_batch_rows(file),
            row_groups=groups,
            columns=[names[i] for i in kept],
            use_threads=True,
        )
        try:
            for found in batches:
                numbers = numbered(first, found.num_rows)
                first += found.num_rows
                raw = found.rename_columns(list(kept.values()))
                yield conform(piece, raw, numbers)
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            raise piece.wrong(
                f"cannot be read beyond row {first - 1}: {stores.plain(error)}"
            ) from error


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
        yield from file.iter_batches(batch_size=_batch_rows(file))


def schema_of(piece: Piece) -> pa.Schema:
    """Return the columns of a file."""
    with stores.named(piece.file.name), opened(piece) as file:
        return file.schema_arrow


def count(piece: Piece) -> int:
    """Return the rows of a file."""
    with stores.named(piece.file.name), opened(piece) as file:
        return int(file.metadata.num_rows)
