"""Turns the rows of earlier stages into those of a residual: one DuckDB query.

DuckDB runs in threads of its own, in memory, spilling to a directory of its own. A
slot is one warm DuckDB instance, used by one query at a time, so that its memory limit
is a query's; making an instance costs 20 ms, a cursor 0.1 ms.
"""

import asyncio
import functools
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import duckdb
import pyarrow as pa

from qserv.czar.results import Message
from qserv.errors import InternalError, InvalidValue, LimitExceeded, QservError
from qserv.plan.plan import Residual
from qserv.sky import sqlfunctions
from qserv.wire.codec import decode_batch, encode_batches

T = TypeVar("T")

_SLOTS: Final = 4
_ROWS: Final = 65_536
"""Rows that DuckDB hands over at a time."""
_SHARE: Final = 8 * 2**20
"""Bytes of messages that one hop between threads carries at most."""


class Merge:
    """Runs the residuals of plans.

    Parameters
    ----------
    directory
        Where queries spill.
    threads
        DuckDB threads of one merge.
    memory
        Bytes that the rows of one merge may have, and that DuckDB may hold before it
        spills.
    spill
        Bytes on disk that one merge may take.
    """

    def __init__(
        self, *, directory: Path, threads: int, memory: int, spill: int
    ) -> None:
        self._directory = directory
        self._memory = memory
        self._spill = spill
        self._config: dict[str, str | bool | int | float | list[str]] = {
            "threads": str(threads),
            "memory_limit": f"{memory}B",
            "enable_external_access": "false",
            "python_enable_replacements": "false",
        }
        self._threads = ThreadPoolExecutor(_SLOTS, thread_name_prefix="merge")
        self._free: list[duckdb.DuckDBPyConnection] = []
        self._made = 0
        self._turn = asyncio.Semaphore(_SLOTS)

    @property
    def memory(self) -> int:
        """Bytes that one merge may hold."""
        return self._memory

    async def warm(self) -> None:
        """Make the first slot, so that no query waits for it."""
        self._free.append(await self._hop(self._open))

    async def rows(
        self,
        residual: Residual,
        inputs: Mapping[str, pa.Table],
        schema: pa.Schema,
    ) -> AsyncGenerator[Message, None]:
        """Run a residual over the rows that came back.

        Parameters
        ----------
        residual
            What to run.
        inputs
            The rows of earlier stages, by the names that the residual gives them.
        schema
            Of the residual's rows, which are cast to it.

        Yields
        ------
        Message
            The result in order.

        Raises
        ------
        InvalidValue
            If a value overflows.
        LimitExceeded
            If memory and spill directory do not hold the query.
        """
        async with self._turn:
            slot = self._free.pop() if self._free else await self._hop(self._open)
            cursor = slot.cursor()
            try:
                start = functools.partial(_start, cursor, residual, inputs)
                reader = await self._stoppable(cursor, start)
                more = True
                while more:
                    take = functools.partial(_take, reader, schema)
                    messages, more = await self._stoppable(cursor, take)
                    for message in messages:
                        yield message
            finally:
                cursor.close()
                self._free.append(slot)

    def close(self) -> None:
        """Give all memory back."""
        self._threads.shutdown()
        for slot in self._free:
            slot.close()

    def _open(self) -> duckdb.DuckDBPyConnection:
        self._made += 1
        spill = self._directory / f"merge-{self._made}"
        slot = duckdb.connect(
            ":memory:", config=self._config | {"temp_directory": str(spill)}
        )
        sqlfunctions.install(slot)
        # Said when connecting, it is shown and not kept to (DuckDB 2.0).
        slot.execute(f"SET max_temp_directory_size = '{self._spill}B'")
        slot.execute("SET lock_configuration = true")
        return slot

    async def _hop(self, call: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, call)

    async def _stoppable(
        self, cursor: duckdb.DuckDBPyConnection, call: Callable[[], T]
    ) -> T:
        """Run `call` in a thread; a cancellation interrupts the cursor's query."""
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._threads, call)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            # An interrupt before DuckDB has begun is forgotten: repeat it.
            while not future.done():
                cursor.interrupt()
                await asyncio.wait([future], timeout=0.05)
            future.exception()
            raise


def _start(
    cursor: duckdb.DuckDBPyConnection,
    residual: Residual,
    inputs: Mapping[str, pa.Table],
) -> pa.RecordBatchReader:
    with _typed():
        for name, rows in inputs.items():
            cursor.register(name, rows)
        found = cursor.sql(residual.sql, params=list(residual.parameters) or None)
        return found.to_arrow_reader(_ROWS)


def _take(
    reader: pa.RecordBatchReader, schema: pa.Schema
) -> tuple[list[Message], bool]:
    """Take the next share of a result; and whether there is more."""
    messages: list[Message] = []
    size = 0
    with _typed():
        for batch in reader:
            for part in _messages(_cast(batch, schema)):
                messages.append(part)
                size += len(part.data)
            if size >= _SHARE:
                return messages, True
    return messages, False


def _messages(batch: pa.RecordBatch) -> Iterator[Message]:
    for data in encode_batches(batch):
        yield Message(data, decode_batch(data, batch.schema))


def _cast(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    if batch.num_columns != len(schema):
        raise InternalError(
            f"the merge gave {batch.num_columns} columns, the plan {len(schema)}"
        )
    columns = [
        column if column.type == field.type else column.cast(field.type)
        for column, field in zip(batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


@contextmanager
def _typed() -> Iterator[None]:
    """Turn what DuckDB raises into what a user can act on."""
    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise InvalidValue(f"a merged value does not fit its type: {error}") from error
    except (duckdb.Error, OSError) as error:
        raise _error_of(str(error)) from error


def _error_of(text: str) -> QservError:
    """Return our error for one of DuckDB; that of a later batch is an `OSError`."""
    kind, _, told = text.partition("\n")[0].partition(" Error: ")
    match kind:
        case "Out of Range" | "Conversion" | "Invalid Input":
            return InvalidValue(f"{told} (in the merge of all chunks)")
        case "Out of Memory" | "IO":
            return LimitExceeded(
                f"the merge needs more memory and disk than it has: {told}; select "
                "fewer rows or columns, or have merge_memory or merge_spill raised"
            )
        case _:
            return InternalError(f"the merge failed: {text}")
