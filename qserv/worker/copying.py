"""Files that go from worker to worker: served to peers, and copied from them.

What arrives is written beside the data, synced, read back from the disk and compared
with its checksum; only then it gets its place. A copy that is bad, or stops half-way,
is made from the next peer. A file that is there and good is not copied again, so that
the call may be repeated after whatever crash.
"""

import asyncio
import errno
import hashlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import BinaryIO, Final

import grpc
import grpc.aio

from qserv import failpoint
from qserv.catalog.snapshot import ManifestEntry
from qserv.errors import ChunkMissing, CorruptData, QservError, TaskFailed
from qserv.ingest.manifests import Arriving
from qserv.ingest.receiver import Receiver
from qserv.storage.durable import (
    LOST,
    make_directory,
    move_files,
    remove_tree,
)
from qserv.storage.inventory import checksum
from qserv.storage.layout import PULL, WorkerDirectory, check_path
from qserv.storage.manifests import ManifestStore
from qserv.storage.room import Room
from qserv.telemetry import logger
from qserv.wire.errors import from_rpc
from qserv.wire.messages import entry_from_proto
from qserv.wire.v1 import worker_pb2
from qserv.worker.peers import Peers

__all__ = ["Copier", "Pace"]

_PART: Final = 2**20
_SILENCE: Final = 30.0
"""Seconds after which a peer that sends nothing is given up."""
_AT_A_TIME: Final = 4
_FILES: Final = 32
_BYTES: Final = 256 * 2**20
"""So many files, or bytes, get their places together: a directory is synced once."""

_log = logger(__name__)


class Pace:
    """Lets bytes pass no faster than they may, whoever takes them."""

    def __init__(self) -> None:
        self.rate = 0
        """Bytes a second; 0: as they come."""
        self._free_at = 0.0

    def delay(self, now: float, size: int) -> float:
        """Take bytes; return the seconds to wait before the next."""
        if not self.rate:
            return 0.0
        self._free_at = max(self._free_at, now) + size / self.rate
        return self._free_at - now

    async def passed(self, size: int) -> None:
        """Wait as long as bytes that came need."""
        delay = self.delay(asyncio.get_running_loop().time(), size)
        if delay > 0:
            await asyncio.sleep(delay)


class Copier:
    """Copies files for one worker, and serves its own.

    Parameters
    ----------
    directory, manifests
        The worker's.
    receiver
        Takes manifests over, one call at a time.
    peers
        Channels to other workers.
    room
        Of its disk.
    """

    def __init__(
        self,
        *,
        directory: WorkerDirectory,
        manifests: ManifestStore,
        receiver: Receiver,
        peers: Peers,
        room: Room,
    ) -> None:
        self._directory = directory
        self._manifests = manifests
        self._receiver = receiver
        self._peers = peers
        self._room = room
        self._pace = Pace()
        for left in directory.pulls:
            remove_tree(left)
        self._numbers = count(1)

    async def send(self, path: str, offset: int) -> AsyncGenerator[bytes]:
        """Read a file that a manifest lists.

        Raises
        ------
        InvalidRequest
            If the path is none of ours.
        ChunkMissing
            If no manifest lists it, or it is not there.
        """
        check_path(path)
        if not await asyncio.to_thread(self._manifests.lists, path):
            raise ChunkMissing(f"no manifest of this worker lists {path}")
        try:
            file = await asyncio.to_thread(self._directory.file(path).open, "rb")
        except FileNotFoundError:
            raise ChunkMissing(f"file {path} is missing on this worker") from None
        with file:
            file.seek(offset)
            while data := await asyncio.to_thread(file.read, _PART):
                yield data

    async def pull(
        self, requests: AsyncIterator[worker_pb2.PullRequest]
    ) -> AsyncGenerator[worker_pb2.PullProgress]:
        """Copy files, take manifests over, drop files.

        Parameters
        ----------
        requests
            They add up.

        Raises
        ------
        CorruptData
            If no peer has a good copy of a file.
        ChunkMissing
            If no peer of a file answers, or has it.
        DiskFull
            If there is no room.
        Conflict
            If a file is to be dropped that a manifest lists.
        """
        request, arriving = worker_pb2.PullRequest(), Arriving()
        async for part in requests:
            for kept in part.manifests:
                await asyncio.to_thread(arriving.add, kept.manifest, kept.transaction)
            part.ClearField("manifests")
            request.MergeFrom(part)
        self._pace.rate = request.bytes_per_second
        progress = worker_pb2.PullProgress()
        staging = f"{PULL}{next(self._numbers)}"
        try:
            for group in _groups(request.files):
                progress.size += await self._copy(staging, group, request.peers)
                progress.files += len(group)
                yield progress
        finally:
            await asyncio.to_thread(remove_tree, self._directory.transaction(staging))
        missing = await self._receiver.take_over(arriving.manifests, request.drop)
        progress.missing.extend(missing)
        yield progress

    async def _copy(
        self,
        staging: str,
        files: Sequence[worker_pb2.PullFile],
        peers: Sequence[worker_pb2.Peer],
    ) -> int:
        """Bring a group of files to their places; return the bytes that came."""
        gate = asyncio.Semaphore(_AT_A_TIME)

        async def one(file: worker_pb2.PullFile) -> Path | None:
            async with gate:
                entry = entry_from_proto(file.entry)
                if await asyncio.to_thread(self._is_good, entry):
                    return None
                return await self._fetch(
                    staging, entry, [peers[number] for number in file.peers]
                )

        outcomes = await asyncio.gather(*map(one, files), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        moves = [
            (outcome, self._directory.file(file.entry.path))
            for file, outcome in zip(files, outcomes, strict=True)
            if isinstance(outcome, Path)
        ]
        failpoint.reached("worker.pull.fetched")
        with self._room.changing("keep copies"):
            await asyncio.to_thread(move_files, moves, self._directory.data)
        failpoint.reached("worker.pull.moved")
        return sum(target.stat().st_size for _, target in moves)

    def _is_good(self, entry: ManifestEntry) -> bool:
        target = self._directory.file(entry.path)
        try:
            if target.stat().st_size != entry.size:
                return False
            return checksum(target)[1] == entry.sha256
        except OSError as error:
            if error.errno in {errno.ENOENT, *LOST}:
                return False
            raise TaskFailed(
                f"{entry.path} cannot be read: {error.strerror}"
            ) from error

    async def _fetch(
        self,
        staging: str,
        entry: ManifestEntry,
        peers: Sequence[worker_pb2.Peer],
    ) -> Path:
        """Copy a file from the first peer that has it whole and right."""
        path = self._directory.incoming(staging)
        with self._room.taken(entry.size, entry.path):
            await asyncio.to_thread(make_directory, path.parent)
            with path.open("wb") as file:
                await self._arrive(_Arriving(entry, file), peers)
                await asyncio.to_thread(_check, file, path, entry)
        return path

    async def _arrive(
        self, arriving: "_Arriving", peers: Sequence[worker_pb2.Peer]
    ) -> None:
        entry = arriving.entry
        reasons: list[QservError] = []
        for peer in peers:
            # What an earlier peer began may be bad: then this one sends it all again.
            for _ in range(2 if arriving.size else 1):
                try:
                    await self._from(peer, arriving)
                except QservError as error:
                    reasons.append(error)
                    if not isinstance(error, CorruptData):
                        break
                    _log.warning("a peer has a bad copy", why=error.text)
                    await arriving.restart()
                else:
                    return
        said = "; ".join(error.text for error in reasons) or "nobody has one"
        bad = any(isinstance(error, CorruptData) for error in reasons)
        kind = CorruptData if bad else ChunkMissing
        raise kind(f"no good copy of {entry.path} was found: {said}")

    async def _from(self, peer: worker_pb2.Peer, arriving: "_Arriving") -> None:
        where = f"worker {peer.worker_id} at {peer.endpoint}"
        path = arriving.entry.path
        request = worker_pb2.FetchRequest(path=path, offset=arriving.size)
        call = self._peers.stub(peer).Fetch(request)
        parts = aiter(call)
        try:
            while True:
                async with asyncio.timeout(_SILENCE):
                    part = await anext(parts, None)
                if part is None:
                    break
                await arriving.add(part.data, where)
                await self._pace.passed(len(part.data))
        except TimeoutError:
            raise TaskFailed(
                f"{where} sent nothing of {path} for {_SILENCE:g} s"
            ) from None
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error, peer.endpoint) from error
        finally:
            call.cancel()
        arriving.end(where)


class _Arriving:
    """A file on its way."""

    def __init__(self, entry: ManifestEntry, file: BinaryIO) -> None:
        self.entry = entry
        self.size = 0
        self._file = file
        self._digest = hashlib.sha256()

    async def add(self, data: bytes, where: str) -> None:
        self.size += len(data)
        if self.size > self.entry.size:
            raise CorruptData(f"{where} sends too much of {self.entry.path}")
        await asyncio.to_thread(self._write, data)

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)

    def end(self, where: str) -> None:
        found = self._digest.hexdigest()
        if (self.size, found) != (self.entry.size, self.entry.sha256):
            raise CorruptData(
                f"{where} sent {self.size} bytes with sha256 {found[:16]}… of "
                f"{self.entry.path}, not {self.entry.size} with "
                f"{self.entry.sha256[:16]}…"
            )

    async def restart(self) -> None:
        self.size, self._digest = 0, hashlib.sha256()
        await asyncio.to_thread(self._file.truncate, 0)
        self._file.seek(0)


def _check(file: BinaryIO, path: Path, entry: ManifestEntry) -> None:
    """Sync a file and compare what the disk has of it."""
    file.flush()
    os.fsync(file.fileno())
    if checksum(path, from_disk=True)[1] != entry.sha256:
        raise CorruptData(
            f"the disk gives back other bytes of {entry.path} than were written"
        )


def _groups(
    files: Iterable[worker_pb2.PullFile],
) -> Iterator[list[worker_pb2.PullFile]]:
    group: list[worker_pb2.PullFile] = []
    size = 0
    for file in files:
        group.append(file)
        size += file.entry.size
        if len(group) == _FILES or size >= _BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
