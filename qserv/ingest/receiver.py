"""The worker's side of a load: stage, install, discard.

A file is acknowledged after it was written, synced, and read back from the disk with
the sha256 that was promised. Installing links staged files to their places, syncs the
directories, then writes the manifests, then forgets the staging: a crash at any
instruction leaves what was, or what was asked for, and every call may be repeated.
"""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

from qserv import failpoint
from qserv.catalog.snapshot import ManifestEntry
from qserv.errors import ChunkMissing, Conflict, CorruptData, InvalidRequest
from qserv.ingest.manifests import Arriving
from qserv.storage.durable import (
    link_files,
    make_directory,
    remove_file,
    remove_tree,
    sync_directory,
)
from qserv.storage.inventory import checksum
from qserv.storage.layout import WorkerDirectory, check_path, made_by
from qserv.storage.manifest import Manifest
from qserv.storage.manifests import ManifestStore
from qserv.storage.room import Room
from qserv.telemetry import logger
from qserv.wire.calls import Calls
from qserv.wire.messages import entry_from_proto
from qserv.wire.v1 import worker_pb2

__all__ = ["Receiver"]

Answer = TypeVar("Answer")

_log = logger(__name__)


class Receiver:
    """Receives files for one worker.

    Parameters
    ----------
    directory
        The worker's.
    manifests
        What it holds.
    room
        Of its disk; None: all that there is.
    """

    def __init__(
        self,
        *,
        directory: WorkerDirectory,
        manifests: ManifestStore,
        room: Room | None = None,
    ) -> None:
        self._directory = directory
        self._room = room or Room(directory.root, 0)
        self._manifests = manifests
        self.calls = Calls()
        self._one_at_a_time = asyncio.Lock()
        self._remove_unacknowledged()

    async def stage(
        self, parts: AsyncIterator[worker_pb2.StagePart]
    ) -> worker_pb2.StageReply:
        """Receive one file: a header, then its bytes.

        Raises
        ------
        InvalidRequest
            If there is no header, or its path is none of ours.
        CorruptData
            If other bytes arrived than the header promises.
        DiskFull
            If there is no room for them.
        TaskFailed
            If the disk does not take them.
        """
        header = await _header(parts)
        entry = entry_from_proto(header.entry)
        staged = self._directory.staged(header.transaction, entry.path)
        incoming = self._directory.incoming(header.transaction)
        try:
            with self._room.taken(entry.size, entry.path):
                await asyncio.to_thread(make_directory, incoming.parent)
                await _write(incoming, parts)
                await asyncio.to_thread(_settle, incoming, staged, entry)
        finally:
            incoming.unlink(missing_ok=True)
        failpoint.reached("worker.stage.acknowledged")
        return worker_pb2.StageReply(
            size=entry.size, sha256=bytes.fromhex(entry.sha256)
        )

    async def install(
        self, requests: AsyncIterator[worker_pb2.InstallRequest]
    ) -> list[str]:
        """Put a transaction's files in place and make its manifests durable.

        Parameters
        ----------
        requests
            They come in parts.

        Returns
        -------
        list
            Tables whose manifests add to what is not here: then nothing was done.

        Raises
        ------
        InvalidRequest
            If a path is none of ours.
        ChunkMissing
            If a file of a manifest is neither staged nor installed; names it.
        Conflict
            If a file or a version is there already with another content.
        DiskFull, TaskFailed
            If the disk does not take it: it is to be asked again.
        """
        arriving, transaction = Arriving(), ""
        async for request in requests:
            transaction = request.transaction
            for manifest in request.manifests:
                await asyncio.to_thread(arriving.add, manifest, transaction)
        made, unknown = await asyncio.to_thread(arriving.whole, self._manifests.holding)
        if unknown:
            return unknown
        await self._alone(
            f"install {transaction}",
            partial(self._install, transaction, arriving.manifests, made),
        )
        return []

    async def _alone(self, what: str, change: Callable[[], Answer]) -> Answer:
        """Change the disk while nobody else does, to the end."""

        async def changed() -> Answer:
            async with self._one_at_a_time:
                with self._room.changing(what):
                    return await asyncio.to_thread(change)

        return await self.calls.finish(changed())

    async def take_over(
        self, manifests: Collection[Manifest], dropped: Collection[str]
    ) -> list[str]:
        """Let manifests take the place of those of their versions, then drop files.

        Parameters
        ----------
        manifests
            Whole, as the czar has them.
        dropped
            Paths of files that no manifest lists any longer.

        Returns
        -------
        list
            Paths that the manifests list and that are not here: then all is as it was.

        Raises
        ------
        Conflict
            If a file is to be dropped that a manifest lists; the manifests are in
            place.
        DiskFull, TaskFailed
            If the disk does not take it: it is to be asked again.
        """
        return await self._alone(
            "take manifests over", partial(self._take_over, manifests, dropped)
        )

    def _take_over(
        self, manifests: Collection[Manifest], dropped: Collection[str]
    ) -> list[str]:
        listed = {entry.path for m in manifests for entry in m.entries}
        missing = [p for p in sorted(listed) if not self._directory.file(p).exists()]
        if missing:
            return missing
        for manifest in manifests:
            self._manifests.replace(manifest)
        failpoint.reached("worker.pull.manifests")
        for path in dropped:
            if self._manifests.lists(check_path(path)):
                raise Conflict(f"file {path} is listed by a manifest: it stays")
            remove_file(self._directory.file(path))
        return []

    async def discard(self, transaction: str) -> None:
        """Forget what a transaction staged, and what it installed in vain.

        Raises
        ------
        Conflict
            If a later version builds on it, so that it was committed.
        TaskFailed
            If the disk does not let it: it is to be asked again.
        """
        await self._alone(f"forget {transaction}", partial(self._discard, transaction))

    async def forget(self, transactions: Iterable[str]) -> None:
        """Drop what was staged for loads that have ended."""
        for transaction in sorted(transactions):
            _log.info("forgets what an ended load had staged", transaction=transaction)
            staged = self._directory.transaction(transaction)
            await self._alone(f"forget {transaction}", partial(remove_tree, staged))

    def _remove_unacknowledged(self) -> None:
        for file in self._directory.staging.glob("*/.*"):
            file.unlink()

    def _install(
        self, transaction: str, came: list[Manifest], manifests: list[Manifest]
    ) -> None:
        failpoint.reached("worker.install.asked")
        # What an older version has was in its place when that was installed.
        entries = [entry for manifest in came for entry in manifest.entries]
        link_files(self._moves(transaction, entries), self._directory.data)
        failpoint.reached("worker.install.linked")
        for manifest in manifests:
            self._manifests.install(manifest)
            failpoint.reached("worker.install.manifest")
        failpoint.reached("worker.install.manifests")
        remove_tree(self._directory.transaction(transaction))
        failpoint.reached("worker.install.staging-removed")

    def _moves(
        self, transaction: str, entries: list[ManifestEntry]
    ) -> Iterator[tuple[Path, Path]]:
        for entry in entries:
            staged = self._directory.staged(transaction, entry.path)
            target = self._directory.file(entry.path)
            source = staged if staged.exists() else target
            if not source.exists():
                raise ChunkMissing(
                    f"file {entry.path} was never staged on this worker: load it again"
                )
            if source.stat().st_size != entry.size or not _agree(source, target):
                raise Conflict(f"file {entry.path} is there with another content")
            if source is staged:
                yield staged, target

    def _discard(self, transaction: str) -> None:
        failpoint.reached("worker.discard.asked")
        mine = list(self._manifests.by(transaction))
        listed = Counter(entry.path for m in mine for entry in m.entries)
        made = [e.path for e in self._manifests.files() if made_by(e.path, transaction)]
        for path in sorted(made):
            if self._manifests.count(path) > listed[path]:
                raise Conflict(
                    f"{transaction} was committed: a later version reads {path}"
                )
        staged = self._directory.staged_paths(transaction)
        for path in sorted({*made, *(p for p in staged if made_by(p, transaction))}):
            remove_file(self._directory.file(path))
            failpoint.reached("worker.discard.file")
        # Manifest and staging go last: they are what a repeated discard starts from.
        for manifest in mine:
            self._manifests.remove(manifest)
            failpoint.reached("worker.discard.manifest")
        remove_tree(self._directory.transaction(transaction))
        failpoint.reached("worker.discard.staging-removed")


async def _header(
    parts: AsyncIterator[worker_pb2.StagePart],
) -> worker_pb2.StageHeader:
    async for part in parts:
        if part.WhichOneof("part") == "header":
            return part.header
        break
    raise InvalidRequest("a file must begin with its header")


async def _write(path: Path, parts: AsyncIterator[worker_pb2.StagePart]) -> None:
    with await asyncio.to_thread(path.open, "wb") as file:
        failpoint.reached("worker.stage.opened")
        async for part in parts:
            # In a thread: a disk that is busy would freeze every other call.
            await asyncio.to_thread(file.write, part.data)
        failpoint.reached("worker.stage.written")
        await asyncio.to_thread(_sync, file)
        failpoint.reached("worker.stage.synced")


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _settle(incoming: Path, staged: Path, entry: ManifestEntry) -> None:
    (_, size, *_), found = checksum(incoming, from_disk=True)
    if (size, found) != (entry.size, entry.sha256):
        raise CorruptData(
            f"file {entry.path} arrived with {size} bytes and sha256 {found[:16]}…, "
            f"not {entry.size} and {entry.sha256[:16]}…: send it again"
        )
    incoming.replace(staged)
    failpoint.reached("worker.stage.renamed")
    sync_directory(staged.parent)
    failpoint.reached("worker.stage.settled")


def _agree(source: Path, target: Path) -> bool:
    if not target.exists() or source.samefile(target):
        return True
    return checksum(source)[1] == checksum(target)[1]
