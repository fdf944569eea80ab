"""Reads Arrow IPC: files (Feather) and streams."""

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.ipc

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

_MAGIC = b"ARROW1"


def read(piece: Piece) -> Iterator[Batch]:
    """Read a file; see `qserv.ingest.formats.read`."""
    first = piece.first
    with opened(piece) as (reader, handle):
        kept = wanted(piece, reader.schema.names)
        for found in _batches(piece, reader, handle):
            columns = [found.column(i) for i in kept]
            raw = pa.RecordBatch.from_arrays(columns, names=list(kept.values()))
            yield conform(piece, raw, numbered(first, raw.num_rows))
            first += raw.num_rows


def raw(piece: Piece) -> Iterator[pa.RecordBatch]:
    """Read all rows as they stand."""
    with opened(piece) as (reader, handle):
        yield from _batches(piece, reader, handle)


def schema_of(piece: Piece) -> pa.Schema:
    """Return the columns of a file."""
    with opened(piece) as (reader, _):
        return reader.schema


@contextmanager
def opened(
    piece: Piece,
) -> Iterator[tuple[pa.ipc.RecordBatchStreamReader, pa.NativeFile]]:
    """Open a file or a stream as a stream of batches, and as what they come from.

    Raises
    ------
    BadContribution
        If it is neither.
    """
    with stores.named(piece.file.name), stores.opened(piece.file.uri) as handle:
        magic = handle.read(len(_MAGIC))
        # A file is a stream between two magic words; its footer is not needed.
        handle.seek(8 if magic == _MAGIC else 0)
        try:
            reader = pa.ipc.open_stream(handle)
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            raise piece.wrong(
                f"is neither an Arrow IPC file nor a stream: {stores.plain(error)}"
            ) from error
        yield reader, handle


def _batches(
    piece: Piece, reader: pa.ipc.RecordBatchStreamReader, handle: pa.NativeFile
) -> Iterator[pa.RecordBatch]:
    done = 0
    while True:
        begun = handle.tell()
        try:
            batch = reader.read_next_batch()
            # Arrow trusts the offsets of what it reads.
            batch.validate(full=True)
        except StopIteration:
            # To Arrow a stream that is cut off between two batches has ended, too.
            if handle.tell() == begun:
                raise piece.wrong(
                    f"ends behind row {done} without the mark of an end: it is "
                    "truncated, or was not closed"
                ) from None
            return
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            raise piece.wrong(
                f"cannot be read beyond row {done}: {stores.plain(error)}"
            ) from error
        width = max(batch.nbytes // max(batch.num_rows, 1), 1)
        step = max(min(BATCH_ROWS, BATCH_BYTES // width), 1)
        for start in range(0, batch.num_rows, step):
            yield batch.slice(start, step)
        done += batch.num_rows


def count(_piece: Piece) -> None:
    """Return None: only reading tells how many rows there are."""
