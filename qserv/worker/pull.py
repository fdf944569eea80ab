"""The rows of a halo that other workers hold: pulled once for all batches of a task.

Of each chunk they come from its preferred holder, from the next one where that fails.
Rows come in batches of many chunks, and say which they are of: a batch that counts has
all rows of its chunks, so that a chunk is here whole or not at all.
"""

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from typing import Final

import pyarrow as pa

from qserv.catalog.tables import CHUNK, HEALPIX, Column, DataType
from qserv.errors import (
    ChunkMissing,
    ClusterError,
    CorruptData,
    InternalError,
    InvalidRequest,
    QservError,
    TaskFailed,
    WorkerUnavailable,
)
from qserv.plan.plan import MARK
from qserv.sky.healpix import ORDER
from qserv.telemetry import logger
from qserv.wire.codec import arrow_schema, encode_schema
from qserv.wire.messages import columns_from_proto, columns_to_proto
from qserv.wire.v1 import common_pb2, worker_pb2
from qserv.worker.arrowfile import stream
from qserv.worker.disk import Folder
from qserv.worker.halos import Near
from qserv.worker.peers import Peers, Received, received

__all__ = ["Pull"]

_NEAR: Final = "near"
_HOME: Final = Column(HEALPIX, DataType.BIGINT)
_HOST: Final = Column(CHUNK, DataType.BIGINT)

_numbers = itertools.count(1)

_log = logger(__name__)


class Pull:
    """The rows of one halo that are not here.

    Parameters
    ----------
    task, halo
        What the task says of the halo and of itself.
    near
        What all its chunks need.
    folder
        Where rows go.
    peers
        The other workers.
    """

    def __init__(
        self,
        *,
        task: worker_pb2.Task,
        halo: worker_pb2.Halo,
        near: Near,
        folder: Folder,
        peers: Peers,
    ) -> None:
        self._task = task
        self._halo = halo
        self._near = near
        self._folder = folder
        self._peers = peers
        self._source = task.sources[halo.source]
        columns = columns_from_proto(self._source.columns)
        self.schema: pa.Schema = arrow_schema(_with(_HOST, columns))
        """Of the rows: the columns that are read, and the chunk."""
        self._holders = _holders(halo, near.elsewhere)
        loop = asyncio.get_running_loop()
        self._arrivals: dict[int, asyncio.Future[Received]] = {
            chunk: loop.create_future() for chunk in near.elsewhere
        }
        self._pulling = asyncio.create_task(self._pull(0, near.elsewhere, None))

    async def wait(self, chunks: Iterable[int]) -> None:
        """Wait until the rows of chunks are here.

        Raises
        ------
        ClusterError
            If no holder of one can give them.
        QservError
            What a holder says about the query itself.
        """
        for chunk in chunks:
            await asyncio.shield(self._arrivals[chunk])

    def rows(self, chunks: Iterable[int]) -> list[Received]:
        """Return the rows of chunks that are here, and those that came with them."""
        found = [self._arrivals[chunk].result() for chunk in chunks]
        return [*{rows.path: rows for rows in found if rows.path}.values()]

    async def close(self) -> None:
        """Stop what still comes."""
        self._pulling.cancel()
        await asyncio.gather(self._pulling, return_exceptions=True)
        for arrival in self._arrivals.values():
            if not arrival.cancel() and not arrival.cancelled():
                arrival.exception()

    async def _pull(
        self, choice: int, chunks: Iterable[int], error: ClusterError | None
    ) -> None:
        """Ask the holders of a choice, each for its chunks."""
        asked: defaultdict[int, list[int]] = defaultdict(list)
        for chunk in chunks:
            holders = self._holders[chunk]
            if choice < len(holders):
                asked[holders[choice]].append(chunk)
            else:
                self._fail([chunk], self._lost(chunk, error))
        async with asyncio.TaskGroup() as group:
            for peer, some in asked.items():
                group.create_task(self._ask(choice, self._halo.peers[peer], some))

    async def _ask(self, choice: int, peer: worker_pb2.Peer, chunks: list[int]) -> None:
        try:
            await self._receive(peer, chunks)
        except ClusterError as error:
            _log.warning("a peer failed", peer=peer.worker_id, error=error.text)
            left = [chunk for chunk in chunks if not self._arrivals[chunk].done()]
            await self._pull(choice + 1, left, error)
        except QservError as error:
            self._fail(chunks, error)
        except Exception as error:  # noqa: BLE001 the boundary: nobody awaits this task
            _log.exception("pulling failed", peer=peer.worker_id)
            text = f"{type(error).__name__} while pulling rows from a peer"
            self._fail(chunks, InternalError(text))

    async def _receive(self, peer: worker_pb2.Peer, chunks: list[int]) -> None:
        number = next(_numbers)
        call = self._peers.stub(peer).RunTask(self._request(number, chunks))
        arriving = received(
            call,
            attempt=number,
            peer=peer,
            schema=self.schema,
            folder=self._folder,
            name=f"halo-{number}",
        )
        left = set(chunks)
        async with aclosing(arriving):
            async for rows in arriving:
                if not left.issuperset(rows.chunks):
                    raise CorruptData(
                        f"worker {peer.worker_id} sent rows of chunks {rows.chunks} "
                        "where others were asked for"
                    )
                left.difference_update(rows.chunks)
                for chunk in rows.chunks:
                    self._arrivals[chunk].set_result(rows)
        if left:
            raise TaskFailed(f"worker {peer.worker_id} sent too few chunks")

    def _request(self, number: int, chunks: list[int]) -> worker_pb2.Task:
        order, pixels = self._near.pixels(chunks)
        near = stream(pa.table({"pixel": pixels}))
        source = common_pb2.ScanSource()
        source.CopyFrom(self._source)
        source.extent = common_pb2.EXTENT_OWN
        columns = _with(_HOME, _with(_HOST, columns_from_proto(source.columns)))
        del source.columns[:]
        source.columns.extend(columns_to_proto(columns))
        names = ", ".join(f'"{name}"' for name in map(_escaped, self.schema.names))
        home = f'"{HEALPIX}" >> {2 * (ORDER - order)}'
        return worker_pb2.Task(
            query_id=self._task.query_id,
            stage=self._task.stage,
            attempt=number,
            czar_epoch=self._task.czar_epoch,
            snapshot=self._task.snapshot,
            sql=f"SELECT {names} FROM {MARK}0{MARK} WHERE {home} IN (FROM {_NEAR})",
            sources=[source],
            side_tables=[worker_pb2.SideTable(name=_NEAR, arrow_stream=near)],
            chunks=chunks,
            schema=encode_schema(self.schema),
            scan_class=self._task.scan_class,
        )

    def _fail(self, chunks: Iterable[int], error: QservError) -> None:
        for chunk in chunks:
            if not self._arrivals[chunk].done():
                self._arrivals[chunk].set_exception(error)

    def _lost(self, chunk: int, error: ClusterError | None) -> ClusterError:
        what = f"chunk {chunk} of {self._source.release}.{self._source.table}"
        if error is None:
            return ChunkMissing(f"no worker is named that holds {what}")
        # Who asks is there: only the peer was not, and the czar is not to mix them up.
        kind = TaskFailed if isinstance(error, WorkerUnavailable) else type(error)
        return kind(f"no worker gave {what}, the last said: {error.text}")


def _holders(
    halo: worker_pb2.Halo, chunks: Sequence[int]
) -> dict[int, tuple[int, ...]]:
    if len(halo.holders) != len(halo.chunks) * halo.choices or any(
        not -1 <= holder < len(halo.peers) for holder in halo.holders
    ):
        raise InvalidRequest("a halo's holders are not aligned with its chunks")
    place = {chunk: n * halo.choices for n, chunk in enumerate(halo.chunks)}
    return {
        chunk: tuple(
            holder
            for holder in halo.holders[place[chunk] : place[chunk] + halo.choices]
            if holder >= 0
        )
        for chunk in chunks
    }


def _with(column: Column, columns: tuple[Column, ...]) -> tuple[Column, ...]:
    there = column.name in {each.name for each in columns}
    return columns if there else (*columns, column)


def _escaped(name: str) -> str:
    return name.replace('"', '""')
