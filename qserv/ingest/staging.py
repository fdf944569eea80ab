"""Writes the files of a load and streams each to the workers that shall hold it."""

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import count
from pathlib import Path
from typing import Final

import grpc

from qserv.catalog.snapshot import EVERYWHERE, ManifestEntry, Role
from qserv.catalog.tables import Table
from qserv.errors import CorruptData
from qserv.ingest import stored
from qserv.ingest.parcels import Parcel
from qserv.storage import layout, shard
from qserv.wire.errors import from_rpc
from qserv.wire.messages import entry_to_proto
from qserv.wire.v1 import czar_pb2, worker_pb2, worker_pb2_grpc

PART_BYTES: Final = 2**20
"""Bytes of a message of a file on its way."""

_THREADS: Final = 4
_SECONDS: Final = 60.0
_SLOWEST: Final = 2**20
"""Bytes a second below which a worker is given up."""


class Stager:
    """Stages the files of one load on workers.

    Parameters
    ----------
    transaction, release
        The load.
    scratch
        A directory in which files lie until all their workers have them.
    channels
        Gives the channel of a worker's endpoint.
    """

    def __init__(
        self,
        *,
        transaction: str,
        release: str,
        scratch: Path,
        channels: Callable[[str], grpc.Channel],
    ) -> None:
        self._transaction = transaction
        self._release = release
        self._scratch = scratch
        self._channels = channels
        self._numbers = count()

    def stage(
        self, parcels: Iterator[Parcel]
    ) -> Generator[czar_pb2.StagedFile, None, None]:
        """Write and send files, a few at a time.

        Parameters
        ----------
        parcels
            What to send.

        Yields
        ------
        StagedFile
            As each file is acknowledged by all its workers, in any order.

        Raises
        ------
        CorruptData
            If a worker read back other bytes than were sent.
        WorkerUnavailable
            If a worker does not take a file.
        """
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="stage") as pool:
            waiting = [
                pool.submit(self._deliver, parcel, next(self._numbers))
                for parcel in parcels
            ]
            try:
                for done in as_completed(waiting):
                    yield done.result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _deliver(self, parcel: Parcel, number: int) -> czar_pb2.StagedFile:
        file = self._scratch / f"{number}.parquet"
        entry = shard.write(
            parcel.slice.rows,
            file,
            role=parcel.role,
            chunk=parcel.slice.chunk,
            path=self._path(parcel),
            bounded=_bounded(parcel),
            offset=parcel.slice.offset,
        )
        for worker in parcel.workers:
            self._send(parcel.table, entry, file, worker)
        file.unlink()
        return czar_pb2.StagedFile(
            table=parcel.table.name,
            entry=entry_to_proto(entry),
            worker_ids=[worker.worker_id for worker in parcel.workers],
        )

    def _path(self, parcel: Parcel) -> str:
        chunk, name = parcel.slice.chunk, f"{self._transaction}-0"
        release, table = self._release, parcel.table.name
        if parcel.role is Role.INDEX:
            return layout.index_path(release, table, chunk, name)
        if parcel.role is Role.OVERLAP:
            return layout.overlap_path(release, table, chunk, name)
        if chunk == EVERYWHERE:
            return layout.copy_path(release, table, name)
        return layout.base_path(release, table, chunk, name)

    def _send(
        self,
        table: Table,
        entry: ManifestEntry,
        file: Path,
        worker: czar_pb2.WorkerLocation,
    ) -> None:
        header = worker_pb2.StageHeader(
            transaction=self._transaction,
            release=self._release,
            table=table.name,
            entry=entry_to_proto(entry),
        )
        stub = worker_pb2_grpc.WorkerStub(self._channels(worker.endpoint))
        seconds = _SECONDS + entry.size / _SLOWEST
        try:
            reply = stub.Stage(_parts(header, file), timeout=seconds)
        except grpc.RpcError as error:
            raise from_rpc(error, worker.endpoint) from error
        _check(reply, entry, worker)


def _check(
    reply: worker_pb2.StageReply, entry: ManifestEntry, worker: czar_pb2.WorkerLocation
) -> None:
    if (reply.size, reply.sha256.hex()) != (entry.size, entry.sha256):
        raise CorruptData(
            f"worker {worker.worker_id} at {worker.endpoint} read back other bytes of "
            f"{entry.path} than were sent"
        )


def _bounded(parcel: Parcel) -> Sequence[str]:
    if parcel.role is Role.INDEX:
        return (shard.INDEX_KEY,)
    return stored.bounded_columns(parcel.table)


def _parts(
    header: worker_pb2.StageHeader, file: Path
) -> Iterator[worker_pb2.StagePart]:
    yield worker_pb2.StagePart(header=header)
    with file.open("rb") as source:
        while data := source.read(PART_BYTES):
            yield worker_pb2.StagePart(data=data)
