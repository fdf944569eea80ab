"""One batch as one DuckDB query: files in, Arrow rows out.

There are two ways to read a result, and the rows are the same. `DuckDBPyConnection.sql`
streams Arrow batches: memory stays flat however many rows come, but it binds the query
twice. `execute` binds once, which halves the time of a point query (0.6 ms for 1.1),
and gives Python rows: fine for few of them. So a batch that reads little is executed
first, and streamed after all if it turns out to give more than a few rows.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import duckdb
import pyarrow as pa

from qserv.errors import (
    Cancelled,
    CorruptData,
    InternalError,
    InvalidValue,
    LimitExceeded,
    QservError,
    TaskFailed,
)
from qserv.sky import sqlfunctions
from qserv.wire.codec import decode_schema
from qserv.worker import arrowfile

_MESSAGE_BYTES: Final = 512 * 1024
_KEPT_BYTES: Final = 8 * 2**20
_ROWS: Final = (2048, 65536)
_FEW: Final = 512
_EXECUTED: Final = {
    pa.bool_(): "BOOLEAN",
    pa.int16(): "SMALLINT",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.string(): "VARCHAR",
    pa.decimal128(38, 0): "DECIMAL(38,0)",
}
"""Arrow type -> the DuckDB type that plans cast to, whose Python values convert to it
without loss; no TIMESTAMP, for Python's end with the year 9999."""
# Bits that a text is expected to have.
_TEXT: Final = 256


@dataclass(frozen=True, slots=True)
class Settings:
    """How an executor's DuckDB is set up.

    Parameters
    ----------
    data
        Absolute path of the only directory that it may read.
    spill
        Absolute path of the directory that it spills to, its own.
    threads
        DuckDB threads.
    memory
        Bytes before it spills.
    room
        Bytes that it may spill.
    """

    data: str
    spill: str
    threads: int
    memory: int
    room: int = 20 * 2**30


@dataclass(frozen=True, slots=True)
class Relation:
    """Rows from elsewhere that a batch reads by a name.

    Parameters
    ----------
    name
        In the SQL.
    schema
        IPC message of the Arrow schema.
    paths
        Of the files (see `qserv.worker.arrowfile`); DuckDB itself cannot open them.
    """

    name: str
    schema: bytes
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Keep:
    """That a batch's rows stay here, in buckets; see `qserv.worker.buckets`.

    Parameters
    ----------
    prefix
        How the paths of the files begin.
    room
        Bytes that they may take.
    """

    prefix: str
    room: int


@dataclass(frozen=True, slots=True)
class Batch:
    """What an executor runs at once.

    Parameters
    ----------
    sql
        DuckDB SQL without markers; files by their paths below the data directory.
    parameters
        What ``$1``, ``$2`` … stand for.
    schema
        IPC message of the Arrow schema that rows are cast to.
    limit
        Rows after which the batch is done; None for all.
    small
        Whether it reads so little that running it twice costs nothing.
    relations
        Rows from elsewhere.
    keep
        Where its rows go, whose last column is the bucket; None: to the parent.
    """

    sql: str
    parameters: tuple[str | int | float | bool, ...]
    schema: bytes
    limit: int | None = None
    small: bool = False
    relations: tuple[Relation, ...] = ()
    keep: Keep | None = None


def connect(settings: Settings) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB that reads the data directory and nothing else.

    Changes the process's working directory to the data: paths stay short, hold no
    wildcard, and errors name no place on the machine. Empties the spill directory of
    what a killed predecessor left.
    """
    os.chdir(settings.data)
    shutil.rmtree(settings.spill, ignore_errors=True)
    connection = duckdb.connect(
        ":memory:",
        config={
            "threads": settings.threads,
            "memory_limit": f"{settings.memory}B",
            "temp_directory": settings.spill,
            "autoload_known_extensions": False,
            "autoinstall_known_extensions": False,
            "allow_community_extensions": False,
            "allow_persistent_secrets": False,
            "python_enable_replacements": False,
        },
    )
    sqlfunctions.install(connection)
    directory = settings.data.replace("'", "''")
    for setting in (
        # Said when connecting, it is shown and not kept to (DuckDB 2.0).
        f"max_temp_directory_size = '{settings.room}B'",
        "parquet_metadata_cache = true",
        # The default, 8, reads ahead with threads that nobody accounted for.
        "async_threads = 0",
        f"allowed_directories = ['{directory}/']",
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        connection.execute(f"SET GLOBAL {setting}")
    return connection


def run(
    connection: duckdb.DuckDBPyConnection, batch: Batch
) -> Iterator[pa.RecordBatch]:
    """Run a batch.

    Parameters
    ----------
    connection
        A cursor of the executor's connection.
    batch
        What to run.

    Yields
    ------
    pyarrow.RecordBatch
        Rows in the batch's schema, 512 KiB or so at a time; more of those kept here.

    Raises
    ------
    QservError
        Typed by `error_of`.
    """
    schema = decode_schema(batch.schema)
    for relation in batch.relations:
        rows = arrowfile.load(relation.paths, decode_schema(relation.schema))
        # Known to this cursor alone, and gone with it.
        connection.register(relation.name, rows)
    try:
        few = _few(connection, batch, schema) if batch.small else None
        yield from _stream(connection, batch, schema) if few is None else [few]
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        raise error_of(error) from error


def _few(
    connection: duckdb.DuckDBPyConnection, batch: Batch, schema: pa.Schema
) -> pa.RecordBatch | None:
    planned = [_EXECUTED.get(field.type) for field in schema]
    if None in planned:
        return None
    connection.execute(batch.sql, batch.parameters or None)
    # Of other types, Python values would not convert as Arrow's do.
    types = [str(column[1]) for column in connection.description or ()]
    rows: list[tuple[object, ...]] = []
    if types == planned:
        while len(rows) <= _FEW and (more := connection.fetchmany(_FEW)):
            rows += more
        if len(rows) <= _FEW:
            return _batch_of(rows[: batch.limit], schema)
    connection.abort()
    return None


def _batch_of(rows: list[tuple[object, ...]], schema: pa.Schema) -> pa.RecordBatch:
    columns = zip(*rows, strict=True) if rows else ((),) * len(schema)
    arrays = [
        pa.array(column, type=field.type)
        for column, field in zip(columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _stream(
    connection: duckdb.DuckDBPyConnection, batch: Batch, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    relation = connection.sql(batch.sql, params=list(batch.parameters) or None)
    left = batch.limit
    at_once = _rows_at_once(schema, _KEPT_BYTES if batch.keep else _MESSAGE_BYTES)
    for rows in relation.to_arrow_reader(at_once):
        kept = rows if left is None else rows.slice(0, left)
        yield _cast(kept, schema)
        if left is not None and (left := left - kept.num_rows) <= 0:
            return


def _rows_at_once(schema: pa.Schema, size: int) -> int:
    bits = sum(_TEXT if pa.types.is_string(t) else t.bit_width for t in schema.types)
    least, most = _ROWS
    return int(min(most, max(least, 8 * size // max(1, bits))))


def _cast(rows: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    if rows.num_columns != len(schema):
        raise InternalError(
            f"a batch gave {rows.num_columns} columns where {len(schema)} were planned"
        )
    columns = [
        column if column.type == field.type else column.cast(field.type)
        for column, field in zip(rows.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


_ERRORS: Final[dict[str, type[QservError]]] = {
    "Out of Range": InvalidValue,
    "Conversion": InvalidValue,
    "Invalid Input": InvalidValue,
    "Out of Memory": LimitExceeded,
    "INTERRUPT": Cancelled,
    "IO": TaskFailed,
    "Permission": TaskFailed,
}


def error_of(error: Exception) -> QservError:
    """Return our error for one of DuckDB or Arrow.

    A reader of Arrow batches raises DuckDB's errors as `OSError`, so the kind is taken
    from how the text begins. Only its first line is kept: the rest quotes our SQL.
    """
    text = str(error).partition("\n")[0]
    kind, colon, told = text.partition(" Error: ")
    if isinstance(error, pa.ArrowException):
        return InvalidValue(f"a value does not fit its column: {text}")
    made = _ERRORS.get(kind, InternalError)
    if not colon or made is InternalError:
        return InternalError(f"{type(error).__name__}: {text}")
    if made is InvalidValue and ".parquet'" in told:
        return CorruptData(f"{told}; restore the file from another replica")
    if made is LimitExceeded:
        told += (
            "; select less, or give the workers more memory or disk (settings memory "
            "and spill_bytes)"
        )
    return made(told)
