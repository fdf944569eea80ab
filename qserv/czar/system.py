"""Reads the tables that qserv fills itself, for the queries that name them."""

import asyncio
import threading
from collections.abc import AsyncGenerator

import pyarrow as pa

from qserv.catalog import systemrows
from qserv.catalog.store import Store
from qserv.czar.results import Message
from qserv.errors import LimitExceeded
from qserv.plan.plan import SystemRows
from qserv.wire.codec import arrow_schema, decode_batch, encode_batches


class System:
    """The tables that qserv fills itself.

    Parameters
    ----------
    store
        The metadata.
    memory
        Bytes that the rows of one of them may have.
    """

    def __init__(self, *, store: Store, memory: int) -> None:
        self._store = store
        self._memory = memory

    async def rows(
        self, stage: SystemRows, snapshot: int
    ) -> AsyncGenerator[Message, None]:
        """Read a table, all of it as it is at one moment.

        Parameters
        ----------
        stage
            Which table, and what of it.
        snapshot
            The snapshot that the query reads.

        Yields
        ------
        Message
            Its rows.

        Raises
        ------
        LimitExceeded
            If they are too many.
        """
        over = threading.Event()
        try:
            found = await asyncio.to_thread(self._read, stage, snapshot, over)
        finally:
            # A thread goes on though nobody waits for it any more.
            over.set()
        for message in found:
            yield message

    def _read(
        self, stage: SystemRows, snapshot: int, over: threading.Event
    ) -> list[Message]:
        schema = arrow_schema(stage.columns)
        messages: list[Message] = []
        size = 0
        with self._store.reading() as connection:
            for values in systemrows.rows(
                connection, self._store.tables, stage.table, stage.columns, snapshot
            ):
                arrays = [
                    pa.array(column, field.type)
                    for column, field in zip(values, schema, strict=True)
                ]
                for data in encode_batches(pa.record_batch(arrays, schema)):
                    messages.append(Message(data, decode_batch(data, schema)))
                    size += len(data)
                self._check(stage, size)
                if over.is_set():
                    break
        return messages

    def _check(self, stage: SystemRows, size: int) -> None:
        if size > self._memory:
            raise LimitExceeded(
                f"what the query reads of {stage.full} has more than the "
                f"{self._memory / 2**20:,.3g} MiB that merge_memory allows; select "
                "fewer of its columns, or have merge_memory raised"
            )
