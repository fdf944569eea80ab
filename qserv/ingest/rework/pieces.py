"""Reads stored files as they are: no value is converted, no row is renumbered."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from qserv.catalog.snapshot import ManifestEntry
from qserv.catalog.tables import HEALPIX, SOURCE, Table
from qserv.errors import InternalError
from qserv.ingest.bulk.scratch import Scratch
from qserv.ingest.formats.rows import BATCH_BYTES, BATCH_ROWS, numbered
from qserv.ingest.rework.fetching import Holders, fetch
from qserv.ingest.rows import Rows
from qserv.ingest.stored import stored_schema
from qserv.wire.codec import arrow_schema

GONE: Final = -1
"""The input of a row that is not kept."""

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Sources:
    """Which contributions the rows of stored files are of.

    Parameters
    ----------
    kept
        A file with the numbers of those that stay, ascending.
    gone
        Those whose rows are left out.
    first
        The first of the kept ones counts as this input of the load, and so on.
    """

    kept: Path
    gone: frozenset[int]
    first: int


@dataclass(frozen=True, slots=True)
class StoredPiece:
    """A stored file of own rows.

    Parameters
    ----------
    table
        What it was written as.
    entry
        What the metadata says of it.
    holders
        Who has it, preferred first.
    sources
        Whose rows are in it.
    """

    table: Table
    entry: ManifestEntry
    holders: Holders
    sources: Sources

    @property
    def rows(self) -> int:
        """Its rows, those that are left out included."""
        return self.entry.rows

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.entry.size


def read(piece: StoredPiece, scratch: Scratch) -> Iterator[Rows]:
    """Read a file in bounded memory.

    Yields
    ------
    Rows
        As they were stored, with their homes. The input of a row that is left out is
        `GONE`; of the others it is their contribution.

    Raises
    ------
    InternalError
        If a worker's copy is not what the manifest says, or a row is of nowhere.
    ChunkMissing
        If nobody has a good copy.
    """
    first = 1
    with _fetched(piece, scratch) as path, pq.ParquetFile(path) as file:
        _check(piece, file)
        for batch in file.iter_batches(batch_size=_batch_rows(piece, file)):
            yield _rows(piece, batch, first)
            first += batch.num_rows


@contextmanager
def _fetched(piece: StoredPiece, scratch: Scratch) -> Iterator[Path]:
    path = scratch.fresh("stored")
    try:
        fetch(piece.entry, piece.holders, path)
        yield path
    finally:
        path.unlink(missing_ok=True)


def _check(piece: StoredPiece, file: pq.ParquetFile) -> None:
    wanted = stored_schema(piece.table)
    if not file.schema_arrow.equals(wanted):
        raise InternalError(
            f"{piece.entry.path} has other columns than table {piece.table.name}: "
            f"{', '.join(file.schema_arrow.names)}"
        )
    if file.metadata.num_rows != piece.entry.rows:
        raise InternalError(
            f"{piece.entry.path} has {file.metadata.num_rows} rows, not "
            f"{piece.entry.rows} as its manifest says"
        )


def _batch_rows(piece: StoredPiece, file: pq.ParquetFile) -> int:
    groups = (file.metadata.row_group(i) for i in range(file.num_row_groups))
    size = sum(group.total_byte_size for group in groups)
    width = size // max(piece.rows, 1)
    return int(max(min(BATCH_ROWS, BATCH_BYTES // max(width, 1)), 1))


def _rows(piece: StoredPiece, batch: pa.RecordBatch, first: int) -> Rows:
    table = piece.table
    homes = batch.column(HEALPIX).to_numpy() if table.partitioned else None
    values = [batch.column(column.name) for column in table.columns]
    return Rows(
        table,
        pa.Table.from_arrays(values, schema=arrow_schema(table.columns)),
        _inputs(piece, batch.column(SOURCE).to_numpy()),
        numbered(first, batch.num_rows),
        homes,
    )


def _inputs(piece: StoredPiece, numbers: npt.NDArray[np.int32]) -> Integers:
    """Return which input of the load each row is of, by its number."""
    kept = _numbers(piece.sources.kept)
    at = np.searchsorted(kept, numbers)
    known = np.append(kept, -1)[at] == numbers
    if strange := set(numbers[~known].tolist()) - piece.sources.gone:
        raise InternalError(
            f"{piece.entry.path} has rows of file {min(strange)}, which brought no "
            f"live rows of table {piece.table.name}; see qserv doctor"
        )
    return np.where(known, at + piece.sources.first, GONE)


@lru_cache(16)
def _numbers(path: Path) -> Integers:
    found: Integers = np.load(path)
    return found
