"""What the batches of one task read from elsewhere, brought here before they run.

A batch takes an executor only when all that it reads lies on this worker's disk: a
worker whose executors waited for another's could wait for ever.
"""

import asyncio
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.ipc

from qserv.errors import InvalidRequest
from qserv.serving import aside
from qserv.sky.healpix import ORDER
from qserv.wire.codec import encode_schema
from qserv.wire.v1 import worker_pb2
from qserv.worker.arrowfile import stream
from qserv.worker.disk import Folder
from qserv.worker.engine import Relation
from qserv.worker.halos import Near
from qserv.worker.peers import Peers, Received
from qserv.worker.pull import Pull
from qserv.worker.shares import Shares
from qserv.worker.spools import Spools
from qserv.worker.tasks import Inputs, WorkerTask
from qserv.worker.template import Around

__all__ = ["Gathering"]


class Gathering:
    """The rows from elsewhere of one task; all go when it is closed.

    Parameters
    ----------
    task
        Which.
    folder
        Where the rows go.
    peers
        The other workers.
    spools
        What earlier stages left here.
    ahead
        For how many batches rows may lie here before these have run.
    """

    def __init__(
        self,
        task: WorkerTask,
        *,
        folder: Folder,
        peers: Peers,
        spools: Spools,
        ahead: int,
    ) -> None:
        self._task = task
        self._folder = folder
        self._peers = peers
        self._shares = Shares(
            task.request.query_id, folder=folder, peers=peers, spools=spools
        )
        self._room = asyncio.Semaphore(ahead)
        self._brought: dict[int, list[tuple[str, int]]] = {}
        self._tables: list[Relation] = []
        self._size = 0
        self._pulls: dict[int, Pull] = {}
        self._inputs: dict[int, Inputs] = {}

    async def __aenter__(self) -> Self:
        """Write the task's side tables and ask peers for the rows of its halos.

        Raises
        ------
        InvalidRequest
            If a side table cannot be read, or a halo contradicts itself.
        LimitExceeded
            If there is no room.
        """
        try:
            for table in self._task.request.side_tables:
                # Each look at the field copies it.
                data = table.arrow_stream
                self._tables.append(
                    await aside(len(data), self._written, table.name, data)
                )
                self._size += len(data)
            for halo in self._task.request.halos:
                await self._begin(halo)
        except BaseException:
            await self._folder.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            for pull in self._pulls.values():
                await pull.close()
        finally:
            await self._folder.close()

    async def gather(self, batch: int) -> None:
        """Wait until all that a batch reads is here.

        Raises
        ------
        QservError
            If it cannot be had.
        """
        await self._room.acquire()
        halos = await asyncio.to_thread(self._task.near, batch) if self._pulls else {}
        relations, size, around = [*self._tables], self._size, {}
        for source, near in halos.items():
            await self._pulls[source].wait(near.elsewhere)
            made, bytes_of, how = self._halo(batch, source, near)
            relations += made
            size += bytes_of
            around[source] = how
        self._brought[batch] = []
        for given in self._task.request.bucket_inputs:
            files = await self._shares.bring(given, self._task.chunks(batch))
            self._brought[batch] += files
            paths = tuple(path for path, _ in files)
            relations.append(Relation(given.name, given.schema, paths))
            size += sum(bytes_of for _, bytes_of in files)
        self._inputs[batch] = Inputs(tuple(relations), size, around)

    def inputs(self, batch: int) -> Inputs:
        """Return what a batch reads; `gather` has ended for it."""
        return self._inputs.pop(batch)

    def release(self, batch: int) -> None:
        """Remove what only this batch has read."""
        self._shares.drop(self._brought.pop(batch))
        self._room.release()

    def _halo(
        self, batch: int, source: int, near: Near
    ) -> tuple[list[Relation], int, Around]:
        pull, made, shift = self._pulls[source], [], 0
        rows, pixels = f"halo_{source}", f"near_{source}"
        if pulled := pull.rows(near.elsewhere):
            paths = tuple(each.path for each in pulled)
            made.append(Relation(rows, encode_schema(pull.schema), paths))
        if near.partly:
            order, found = near.pixels(near.partly)
            table = pa.table({"pixel": found})
            path = self._folder.write(f"near-{source}-{batch}", stream(table))
            made.append(Relation(pixels, encode_schema(table.schema), (path,)))
            shift = 2 * (ORDER - order)
        around = Around(
            whole=frozenset(near.whole),
            ranges=near.ranges(near.partly),
            pixels=pixels,
            shift=shift,
            relation=rows if pulled else "",
            chunks=_only(near, pulled),
        )
        return made, sum(each.size for each in pulled), around

    async def _begin(self, halo: worker_pb2.Halo) -> None:
        task = self._task
        near = await asyncio.to_thread(
            task.halos[halo.source].near, task.request.chunks
        )
        self._pulls[halo.source] = Pull(
            task=task.request,
            halo=halo,
            near=near,
            folder=self._folder,
            peers=self._peers,
        )

    def _written(self, name: str, data: bytes) -> Relation:
        path = self._folder.write(name, data)
        return Relation(name, encode_schema(_schema(name, data)), (path,))


def _only(near: Near, pulled: list[Received]) -> tuple[int, ...]:
    """Return the chunks to take from rows that came; none where all are wanted."""
    came = {chunk for each in pulled for chunk in each.chunks}
    return near.elsewhere if came - {*near.elsewhere} else ()


def _schema(name: str, data: bytes) -> pa.Schema:
    try:
        with pa.ipc.open_stream(pa.py_buffer(data)) as reader:
            return reader.schema
    except (pa.ArrowException, OSError, EOFError) as error:
        raise InvalidRequest(f"side table {name} is unreadable") from error
