"""One batch as one DuckDB query: SQL from its template, files in, Arrow rows out.

A source's marker in the template becomes a selection from the batch's files, or an
empty relation of the same columns where there is no file. Results are read from
`DuckDBPyConnection.sql`, which streams them: memory stays flat however many rows come
(`execute` would be 0.3 ms faster to bind, but holds the whole result).
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import duckdb
import pyarrow as pa

from qserv import sqltext
from qserv.catalog.tables import Column
from qserv.errors import (
    Cancelled,
    CorruptData,
    InternalError,
    InvalidValue,
    LimitExceeded,
    QservError,
    TaskFailed,
)
from qserv.plan.plan import MARK
from qserv.wire.codec import decode_schema

_MESSAGE_BYTES: Final = 512 * 1024
_ROWS: Final = (2048, 65536)
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
    """

    data: str
    spill: str
    threads: int
    memory: int


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
    """

    sql: str
    parameters: tuple[str | int | float | bool, ...]
    schema: bytes
    limit: int | None = None


class Template:
    """A task's SQL, cut once at its markers.

    Parameters
    ----------
    sql
        With source i written as ``MARK i MARK``.
    columns
        The columns that each source reads, by its number.

    Raises
    ------
    InternalError
        If a marker names no source.
    """

    def __init__(self, sql: str, columns: Sequence[Sequence[Column]]) -> None:
        self._texts = sql.split(MARK)[::2]
        numbers = sql.split(MARK)[1::2]
        if len(self._texts) != len(numbers) + 1 or not all(
            number.isdecimal() and int(number) < len(columns) for number in numbers
        ):
            raise InternalError("a task's SQL has a marker without source")
        self._numbers = [int(number) for number in numbers]
        self._columns = columns

    def fill(self, files: Sequence[Sequence[str]]) -> str:
        """Return the SQL of a batch.

        Parameters
        ----------
        files
            For each source the paths of its files, below the data directory.
        """
        made = [self._texts[0]]
        for number, text in zip(self._numbers, self._texts[1:], strict=True):
            made += (_relation(self._columns[number], files[number]), text)
        return "".join(made)


def _relation(columns: Sequence[Column], files: Sequence[str]) -> str:
    if not files:
        nulls = [f"NULL::{c.datatype} AS {_quoted(c.name)}" for c in columns]
        return f"(SELECT {', '.join(nulls) or '1'} WHERE false)"
    names = ", ".join(_quoted(column.name) for column in columns) or "1"
    # Paths are ours (layout.check_path): they hold neither quotes nor wildcards.
    paths = "', '".join(files)
    return f"(SELECT {names} FROM read_parquet(['{paths}'], hive_partitioning=false))"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


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
    connection.execute(sqltext.read("worker/macros.sql"))
    directory = settings.data.replace("'", "''")
    for setting in (
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
        Rows in the batch's schema, 512 KiB or so at a time.

    Raises
    ------
    QservError
        Typed by `error_of`.
    """
    schema = decode_schema(batch.schema)
    try:
        relation = connection.sql(batch.sql, params=list(batch.parameters) or None)
        left = batch.limit
        for rows in relation.to_arrow_reader(_rows_at_once(schema)):
            kept = rows if left is None else rows.slice(0, left)
            yield _cast(kept, schema)
            if left is not None and (left := left - kept.num_rows) <= 0:
                return
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        raise error_of(error) from error


def _rows_at_once(schema: pa.Schema) -> int:
    bits = sum(_TEXT if pa.types.is_string(t) else t.bit_width for t in schema.types)
    least, most = _ROWS
    return int(min(most, max(least, 8 * _MESSAGE_BYTES // max(1, bits))))


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
        told += "; select less, or give the workers more memory (setting memory)"
    return made(told)
