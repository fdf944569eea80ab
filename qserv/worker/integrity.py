"""What a worker does so that no answer is made of bad files.

Before a batch its files are verified where they are not known to be good; after it they
are asked for once more, before its end frame makes its rows count: a batch that has
read a file which changed, or was found bad meanwhile, is refused.
"""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from importlib.metadata import version
from typing import Final

from qserv.catalog.snapshot import ManifestEntry
from qserv.errors import ClusterError, InternalError, QservError
from qserv.storage.inventory import Inventory, Pinned
from qserv.storage.layout import WorkerDirectory
from qserv.storage.manifests import ManifestStore
from qserv.storage.room import Room
from qserv.wire.v1 import common_pb2, worker_pb2
from qserv.worker.damage import TOLD, Damages, message
from qserv.worker.scrub import Progress, Scrub

__all__ = ["Integrity"]

_SHOWN: Final = 100


class Integrity:
    """Guards the files of one worker.

    Parameters
    ----------
    directory, manifests, inventory, damages
        Its disk, what it shall hold, what is good, and what is not.
    scrub
        Reads all files.
    room
        What its disk may still take.
    """

    def __init__(
        self,
        *,
        directory: WorkerDirectory,
        manifests: ManifestStore,
        inventory: Inventory,
        damages: Damages,
        scrub: Scrub,
        room: Room,
    ) -> None:
        self._directory = directory
        self._manifests = manifests
        self._inventory = inventory
        self._damages = damages
        self._scrub = scrub
        self._room = room

    async def ready(self, entries: Sequence[ManifestEntry]) -> Pinned:
        """Verify files before a batch reads them, where that is needed.

        Raises
        ------
        ClusterError
            If one is bad, or cannot be read.
        """
        pinned = self._inventory.pin(entries)
        if pinned is None:
            pinned = await asyncio.to_thread(self._inventory.ready, entries)
        return pinned

    def check(self, pinned: Pinned) -> None:
        """Make sure that what a batch has read is what was verified.

        Raises
        ------
        CorruptData
            If a file changed, or was found bad meanwhile.
        """
        self._inventory.check(pinned)

    async def blamed(self, pinned: Pinned, error: Exception) -> Exception:
        """Return the error that a batch ends with: of its files, if one is bad.

        Parameters
        ----------
        pinned
            Its files.
        error
            What its executor said.
        """
        try:
            self._inventory.check(pinned)
            if isinstance(error, ClusterError | InternalError):
                entries = [entry for entry, _ in pinned]
                await asyncio.to_thread(self._inventory.verify, entries, from_disk=True)
        except QservError as found:
            return found
        return error

    async def scrub(
        self, request: worker_pb2.ScrubRequest
    ) -> AsyncGenerator[common_pb2.ScrubProgress, None]:
        """Read every file, and say what was found as it is found."""
        told, complained = 0, 0
        passing = self._scrub.passing(request.bytes_per_second)
        async with aclosing(passing) as states:
            async for now in states:
                step = _step(now)
                step.damaged.extend(_damaged(e, r) for e, r in now.damaged[told:])
                step.trouble.extend(now.trouble[complained:])
                told += len(step.damaged)
                complained += len(step.trouble)
                yield step
        step.ClearField("damaged")
        step.ClearField("trouble")
        step.unknown.extend(await asyncio.to_thread(self._scrub.unknown))
        step.finished = True
        yield step

    async def examine(self, worker_id: str) -> worker_pb2.ExamineReply:
        """Tell what a check of the cluster wants to know."""
        return await asyncio.to_thread(self._examined, worker_id)

    def _examined(self, worker_id: str) -> worker_pb2.ExamineReply:
        trouble = [*self._manifests.check(), *_unusable(self._directory)]
        files = self._scrub.files()
        self._damages.look(files)
        damaged = self._damages.needed()
        unknown = self._scrub.unknown()
        verified = [self._inventory.verified(entry) for entry in files]
        known = [when for when in verified if when is not None]
        return worker_pb2.ExamineReply(
            worker_id=worker_id,
            version=version("qserv"),
            clock=time.time(),
            disk_free=self._room.free,
            disk_total=self._room.total,
            held=self._newest(),
            damaged=map(message, damaged[:TOLD]),
            damaged_total=len(damaged),
            trouble=trouble,
            unknown=unknown[:_SHOWN],
            unknown_total=len(unknown),
            files=len(files),
            size=sum(entry.size for entry in files),
            never_verified=len(verified) - len(known),
            oldest_verification=time.time() - min(known) if known else 0.0,
            last_pass=self._scrub.last_pass,
            verify_age=self._scrub.age,
            scrub_bytes_per_second=self._scrub.rate,
            transactions=sorted(self._directory.transactions),
        )

    def _newest(self) -> Iterator[worker_pb2.HeldManifest]:
        told = self._manifests.told()
        newest = {(release, table): at for release, table, at in sorted(told)}
        for (release, table), at in newest.items():
            yield worker_pb2.HeldManifest(
                release=release,
                table=table,
                version=at,
                content=told[release, table, at].content,
            )


def _step(progress: Progress) -> common_pb2.ScrubProgress:
    return common_pb2.ScrubProgress(
        files=progress.files,
        files_total=progress.files_total,
        size=progress.size,
        size_total=progress.size_total,
    )


def _damaged(entry: ManifestEntry, reason: str) -> common_pb2.DamagedFile:
    return common_pb2.DamagedFile(path=entry.path, reason=reason, found=time.time())


def _unusable(directory: WorkerDirectory) -> list[str]:
    wanted = (directory.root, directory.data, directory.staging, directory.manifests)
    return [
        f"directory {path.relative_to(directory.root.parent)} cannot be written"
        for path in wanted
        if not os.access(path, os.R_OK | os.W_OK | os.X_OK)
    ]
