"""Makes the files of a load and streams each to the workers that shall hold it."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc
import pyarrow as pa

from qserv import failpoint, patience
from qserv.catalog.snapshot import EVERYWHERE, ManifestEntry, Role
from qserv.catalog.tables import Table
from qserv.errors import (
    Cancelled,
    ClusterError,
    CorruptData,
    DeadlineExceeded,
)
from qserv.ingest import stored
from qserv.ingest.parcels import Parcel
from qserv.ingest.peers import channel
from qserv.storage import layout, shard
from qserv.wire.errors import from_rpc
from qserv.wire.messages import entry_to_proto
from qserv.wire.v1 import czar_pb2, worker_pb2, worker_pb2_grpc

Have = Mapping[str, tuple[str, frozenset[str]]]
"""Path of a file -> its sha256 and the workers that have acknowledged it."""

PART_BYTES: Final = 2**20
"""Bytes of a message of a file on its way."""

_THREADS: Final = 3
_SECONDS: Final = 60.0
_SLOWEST: Final = 2**20
"""Bytes a second below which a worker is given up."""
_LOST: Final = "lost-"


@dataclass(frozen=True, slots=True)
class Staging:
    """How the files of one load get to their workers; can be sent to a process.

    Parameters
    ----------
    transaction, release
        The load.
    scratch
        Who has lost files is noted there.
    have
        What need not be sent any more, of the files of one task.
    dry
        Make files and drop them: nobody is sent any.
    """

    transaction: str
    release: str
    scratch: Path
    have: Have = field(default_factory=dict)
    dry: bool = False

    def lose(self, worker: str, why: str) -> None:
        """Let all tasks know that a worker does not take files."""
        (self.scratch / f"{_LOST}{worker}").write_text(why, encoding="utf-8")

    def lost(self, worker: str) -> str:
        """Return why a worker does not take files; empty as long as it may."""
        try:
            return (self.scratch / f"{_LOST}{worker}").read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""

    def forgive(self) -> None:
        """Let all workers be tried again: a load that goes on begins anew with them."""
        for noted in self.scratch.glob(f"{_LOST}*"):
            noted.unlink()


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of some files.

    Parameters
    ----------
    files
        All of them, each with the workers that acknowledged it.
    lost
        Worker id -> why it did not take files; no task tries it again.
    """

    files: tuple[czar_pb2.StagedFile, ...]
    lost: Mapping[str, str]


class Stager:
    """Makes and sends files.

    Parameters
    ----------
    staging
        Of which load.
    """

    def __init__(self, staging: Staging) -> None:
        self._staging = staging
        self._lost: dict[str, str] = {}

    def deliver(self, parcels: Iterator[Parcel]) -> Delivery:
        """Make and send files, a few at a time.

        Parameters
        ----------
        parcels
            What to send.

        Raises
        ------
        UserError
            If a worker refuses a file for good.
        """
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="stage") as pool:
            waiting = [pool.submit(self._deliver, parcel) for parcel in parcels]
            try:
                files = tuple(done.result() for done in waiting)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
        return Delivery(files, self._lost)

    def _deliver(self, parcel: Parcel) -> czar_pb2.StagedFile:
        entry, content = shard.made(
            parcel.slice.rows,
            role=parcel.role,
            chunk=parcel.slice.chunk,
            path=self._path(parcel),
            bounded=_bounded(parcel),
            offset=parcel.slice.offset,
        )
        failpoint.reached("loader.file.made")
        took = [w.worker_id for w in parcel.workers if self._has(entry, w.worker_id)]
        if not self._staging.dry:
            missing = (w for w in parcel.workers if w.worker_id not in took)
            took += [
                worker.worker_id
                for worker in missing
                if self._send(parcel.table, entry, content, worker)
            ]
        return czar_pb2.StagedFile(
            table=parcel.table.name, entry=entry_to_proto(entry), worker_ids=took
        )

    def _has(self, entry: ManifestEntry, worker: str) -> bool:
        known = self._staging.have.get(entry.path)
        return known is not None and known[0] == entry.sha256 and worker in known[1]

    def _path(self, parcel: Parcel) -> str:
        chunk, release = parcel.slice.chunk, self._staging.release
        name, table = f"{self._staging.transaction}-{parcel.part}", parcel.table.name
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
        content: pa.Buffer,
        worker: czar_pb2.WorkerLocation,
    ) -> bool:
        """Send a file; tries again while that may help. Tells whether it arrived."""
        header = worker_pb2.StageHeader(
            transaction=self._staging.transaction,
            release=self._staging.release,
            table=table.name,
            entry=entry_to_proto(entry),
        )

        def send() -> bool:
            if why := self._staging.lost(worker.worker_id):
                self._lost[worker.worker_id] = why
                return False
            _send(header, content, worker, entry)
            failpoint.reached("loader.file.sent")
            return True

        try:
            return bool(patience.for_file()(send))
        except (ClusterError, DeadlineExceeded, Cancelled) as error:
            self._lost[worker.worker_id] = error.text
            self._staging.lose(worker.worker_id, error.text)
            return False


def _send(
    header: worker_pb2.StageHeader,
    content: pa.Buffer,
    worker: czar_pb2.WorkerLocation,
    entry: ManifestEntry,
) -> None:
    stub = worker_pb2_grpc.WorkerStub(channel(worker.endpoint))
    seconds = _SECONDS + entry.size / _SLOWEST
    try:
        reply = stub.Stage(_parts(header, content), timeout=seconds)
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
    header: worker_pb2.StageHeader, content: pa.Buffer
) -> Iterator[worker_pb2.StagePart]:
    yield worker_pb2.StagePart(header=header)
    for start in range(0, content.size, PART_BYTES):
        part = content.slice(start, min(PART_BYTES, content.size - start))
        yield worker_pb2.StagePart(data=part.to_pybytes())
