"""What the batches of one task read from elsewhere, brought here before they run.

A batch takes an executor only when all that it reads lies on this worker's disk: a
worker whose executors waited for another's could wait for ever.
"""

import asyncio

import pyarrow as pa
import pyarrow.ipc

from qserv.errors import InvalidRequest
from qserv.wire.codec import encode_schema
from qserv.wire.v1 import worker_pb2
from qserv.worker.disk import Folder
from qserv.worker.engine import Relation
from qserv.worker.tasks import Inputs, WorkerTask

__all__ = ["Gathering"]


class Gathering:
    """The rows from elsewhere of one task.

    Parameters
    ----------
    task
        Which.
    folder
        Where the rows go; whoever gives it closes it.
    """

    def __init__(self, task: WorkerTask, folder: Folder) -> None:
        self._task = task
        self._folder = folder
        self._tables: list[Relation] = []
        self._size = 0

    async def start(self) -> None:
        """Write the task's side tables, once for all batches.

        Raises
        ------
        InvalidRequest
            If one cannot be read.
        LimitExceeded
            If there is no room.
        """
        for table in self._task.request.side_tables:
            self._tables.append(await asyncio.to_thread(self._written, table))
            self._size += len(table.arrow_stream)

    def inputs(self, batch: int) -> Inputs:  # noqa: ARG002
        """Return what a batch reads, all of which is here."""
        return Inputs(tuple(self._tables), self._size)

    def _written(self, table: worker_pb2.SideTable) -> Relation:
        path = self._folder.write(table.name, table.arrow_stream)
        return Relation(table.name, encode_schema(_schema(table)), (path,))


def _schema(table: worker_pb2.SideTable) -> pa.Schema:
    try:
        with pa.ipc.open_stream(pa.py_buffer(table.arrow_stream)) as reader:
            return reader.schema
    except (pa.ArrowException, OSError, EOFError) as error:
        raise InvalidRequest(
            f"side table {table.name} is unreadable: {error}"
        ) from error
