"""What a worker remembers for its czar, and tells whoever makes the metadata again."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

from qserv.catalog.gathered import Listed
from qserv.errors import InvalidRequest
from qserv.ingest.manifests import ENTRIES
from qserv.storage.layout import WorkerDirectory
from qserv.storage.recollection import listed
from qserv.storage.remembered import Remembered
from qserv.storage.room import Room
from qserv.wire.calls import Calls
from qserv.wire.messages import entry_to_proto
from qserv.wire.v1 import common_pb2, worker_pb2

__all__ = ["Remembering"]


class Remembering:
    """Keeps checkpoints of the metadata, and recalls them.

    Parameters
    ----------
    directory
        The worker's.
    room
        Of its disk.
    """

    def __init__(self, directory: WorkerDirectory, room: Room) -> None:
        self._directory = directory
        self._room = room
        self._remembered = Remembered(directory)
        self._calls = Calls()
        self._one_at_a_time = asyncio.Lock()

    def snapshot(self) -> int:
        """Return the newest snapshot that is remembered; blocks."""
        return self._remembered.snapshot()

    async def remember(
        self, request: worker_pb2.RememberRequest
    ) -> worker_pb2.RememberReply:
        """Keep a checkpoint, or say which of its parts are missing.

        Raises
        ------
        Conflict
            If a newer one is kept.
        CorruptData
            If it is damaged.
        DiskFull, TaskFailed
            If the disk does not take it.
        """
        return await self._calls.finish(self._remember(request))

    async def _remember(
        self, request: worker_pb2.RememberRequest
    ) -> worker_pb2.RememberReply:
        async with self._one_at_a_time:
            with self._room.changing("remember the metadata"):
                missing = await asyncio.to_thread(
                    self._remembered.remember, request.checkpoint, request.parts
                )
        return worker_pb2.RememberReply(missing=missing)

    async def recall(self) -> AsyncIterator[worker_pb2.RecallPart]:
        """Stream what metadata can be made of again.

        Raises
        ------
        InvalidRequest
            If this worker never joined a czar.
        """
        parts = self._parts()
        while (part := await asyncio.to_thread(next, parts, None)) is not None:
            yield part

    def _parts(self) -> Iterator[worker_pb2.RecallPart]:
        if not self._directory.identity.exists():
            raise InvalidRequest("this worker is of no cluster yet: it has nothing")
        identity = json.loads(self._directory.identity.read_bytes())
        newest = self._remembered.newest()
        yield worker_pb2.RecallPart(
            header=worker_pb2.RecallHeader(
                worker_id=identity["worker_id"],
                cluster_id=identity["cluster_id"],
                checkpoint=newest.encode() if newest else b"",
            )
        )
        for name in self._remembered.kept(newest):
            yield worker_pb2.RecallPart(text=self._remembered.packed(name))
        for one in listed(self._directory):
            for start in range(0, max(1, len(one.entries)), ENTRIES):
                some = replace(one, entries=one.entries[start : start + ENTRIES])
                yield worker_pb2.RecallPart(manifest=_manifest(some))


def _manifest(one: Listed) -> worker_pb2.RecalledManifest:
    return worker_pb2.RecalledManifest(
        transaction=one.transaction,
        manifest=common_pb2.Manifest(
            release=one.release,
            table=one.table,
            version=one.version,
            entries=map(entry_to_proto, one.entries),
        ),
    )
