"""The rows of a batch that stay on this worker, in buckets by the hash of some columns.

Every worker and every batch must put equal keys into one bucket, whatever the types in
which two stages have them: so numbers are hashed as DOUBLE, where 5 is 5.0 and -0.0 is
0.0; a NULL has a hash like any value. The hash is hashed once more, for DuckDB joins
and groups the rows of a bucket by the first one. Each bucket of a batch is one file
(see `qserv.worker.arrowfile`), written by the executor.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import numpy as np
import pyarrow as pa

from qserv.errors import InvalidRequest, LimitExceeded
from qserv.wire.codec import Digest, encode_batches
from qserv.worker.disk import unwritten

__all__ = ["BUCKET", "MOST", "Kept", "Writer", "bucketed"]

BUCKET: Final = pa.uint16()
"""Type of the column that tells a row's bucket, the last."""
MOST: Final = 2**15
"""Buckets at most."""
_FLUSH: Final = 64 * 2**20
"""Bytes of rows that are gathered before they are written."""


def bucketed(
    sql: str, schema: pa.Schema, keys: Sequence[str], buckets: int
) -> tuple[str, pa.Schema]:
    """Return SQL that tells the bucket of each row in a last column, and its schema.

    Parameters
    ----------
    sql, schema
        Of the rows.
    keys
        Names of the columns that are hashed.
    buckets
        How many.

    Raises
    ------
    InvalidRequest
        If there is no such column, or no such number of buckets.
    """
    if not 1 <= buckets <= MOST:
        raise InvalidRequest(f"rows go into 1 to {MOST} buckets, not {buckets}")
    if not keys or not {*keys} <= {*schema.names}:
        raise InvalidRequest(f"rows cannot be hashed by {', '.join(keys) or 'nothing'}")
    names = [f"c{number}" for number in range(len(schema))]
    places = [schema.names.index(key) for key in keys]
    hashed = ", ".join(_hashed(names[n], schema.field(n).type) for n in places)
    bucket = f"(hash(hash({hashed})) % {buckets})::USMALLINT"
    told = f"SELECT *, {bucket} FROM ({sql}) AS kept({', '.join(names)})"
    return told, schema.append(pa.field("bucket", BUCKET))


def _hashed(name: str, kind: pa.DataType) -> str:
    alike = pa.types.is_string(kind) or pa.types.is_timestamp(kind)
    return name if alike else f"{name}::DOUBLE"


@dataclass(frozen=True, slots=True)
class Kept:
    """The rows of one bucket of a batch.

    Parameters
    ----------
    bucket
        Its number.
    rows, size
        Rows, and bytes of the file.
    digest
        `qserv.wire.codec.Digest` of its messages.
    """

    bucket: int
    rows: int
    size: int
    digest: bytes


@dataclass(slots=True)
class _Bucket:
    waiting: list[pa.RecordBatch] = field(default_factory=list)
    digest: Digest = field(default_factory=Digest)
    rows: int = 0
    size: int = 0


class Writer:
    """Writes the files of one batch; those of a batch that fails go.

    Parameters
    ----------
    prefix
        How the files' paths begin; the bucket's number is appended.
    room
        Bytes that they may take together.
    """

    def __init__(self, prefix: str, room: int) -> None:
        self._prefix = prefix
        self._room = room
        self._buckets: dict[int, _Bucket] = {}
        self._waiting = 0
        self._written = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is not None:
            for number in self._buckets:
                self._path(number).unlink(missing_ok=True)

    def add(self, rows: pa.RecordBatch) -> None:
        """Take rows whose last column is their bucket.

        Raises
        ------
        LimitExceeded
            If there is no room.
        TaskFailed
            If files cannot be written.
        """
        for number, some in _parted(rows):
            self._buckets.setdefault(number, _Bucket()).waiting.append(some)
        self._waiting += rows.nbytes
        if self._waiting >= _FLUSH:
            self._flush()

    def end(self) -> tuple[Kept, ...]:
        """Write what waits; returns all buckets that have rows; raises as `add`."""
        self._flush()
        return tuple(
            Kept(number, bucket.rows, bucket.size, bucket.digest.value())
            for number, bucket in sorted(self._buckets.items())
        )

    def _flush(self) -> None:
        try:
            for number, bucket in self._buckets.items():
                if bucket.waiting:
                    self._write(number, bucket)
        except OSError as error:
            raise unwritten(error) from error
        self._waiting = 0

    def _write(self, number: int, bucket: _Bucket) -> None:
        rows = pa.concat_batches(bucket.waiting)
        bucket.waiting.clear()
        mode = "ab" if bucket.rows else "wb"
        bucket.rows += rows.num_rows
        with self._path(number).open(mode, buffering=0) as file:
            for message in encode_batches(rows):
                self._take(len(message))
                bucket.digest.update(message)
                bucket.size += len(message)
                file.write(message)

    def _take(self, size: int) -> None:
        self._written += size
        if self._written > self._room:
            raise LimitExceeded(
                f"a batch keeps more than the {self._room} bytes of rows that a worker "
                "has room for (setting spool_bytes): select fewer rows or columns, or "
                "give the workers more disk"
            )

    def _path(self, number: int) -> Path:
        return Path(f"{self._prefix}{number}")


def _parted(rows: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
    if rows.num_rows == 0:
        return
    numbers = rows.column(rows.num_columns - 1).to_numpy()
    # Radix sort, for numbers of 16 bits.
    order = np.argsort(numbers, kind="stable")
    sorted_rows = rows.remove_column(rows.num_columns - 1).take(pa.array(order))
    numbers = numbers[order]
    changes = np.flatnonzero(numbers[1:] != numbers[:-1]) + 1
    edges = [0, *changes.tolist(), rows.num_rows]
    for start, end in itertools.pairwise(edges):
        yield int(numbers[start]), sorted_rows.slice(start, end - start)
