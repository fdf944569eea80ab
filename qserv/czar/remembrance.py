"""Has workers remember the metadata, so that it can be made again if it is lost.

A checkpoint of all but files and what is transient goes to every live worker: before a
commit is acknowledged, and some seconds after any other change or when a worker joins.
Only the parts travel that a worker does not have.
"""

import asyncio
import time
from collections.abc import Collection, Iterator
from typing import Final

from qserv.catalog.checkpoint import Checkpoint, PartName
from qserv.catalog.rebuild import ENOUGH
from qserv.catalog.store import Store
from qserv.czar.answering import answering
from qserv.czar.members import Member, Members
from qserv.errors import MetadataUnavailable, QservError, TaskFailed
from qserv.storage.remembered import packed
from qserv.telemetry import logger
from qserv.wire.v1 import worker_pb2

_log = logger(__name__)

_INTERVAL: Final = 2.0
_PATIENCE: Final = 30.0
"""Seconds that a worker may take to keep some parts."""
_MESSAGE: Final = 8 * 2**20
_SHARE: Final = 0.05
"""Part of the time that may go into checkpoints that nobody waits for."""


class Remembrance:
    """Keeps what workers remember up to date.

    Parameters
    ----------
    store
        The metadata.
    members
        The workers.
    interval
        Seconds between two looks at whether something changed.
    """

    def __init__(
        self, *, store: Store, members: Members, interval: float = _INTERVAL
    ) -> None:
        self._store = store
        self._members = members
        self._interval = interval
        self._one_at_a_time = asyncio.Lock()
        self._changes = -1
        self._checkpoint: Checkpoint | None = None
        self._parts: dict[str, bytes] = {}
        self._has: dict[str, tuple[str, tuple[int, int]]] = {}

    async def run(self) -> None:
        """Share what changes until cancelled.

        Raises
        ------
        CzarReplaced
            If a newer czar has taken the metadata over.
        """
        pause = self._interval
        while True:
            await asyncio.sleep(pause)
            before = time.monotonic()
            try:
                await asyncio.to_thread(self._store.confirm)
                await self.share()
            except MetadataUnavailable as error:
                _log.warning("the metadata does not answer", why=error.text)
            pause = max(self._interval, (time.monotonic() - before) / _SHARE)

    async def remember(self) -> None:
        """Share what was just published; at the worst, say that too few know it.

        It is published all the same: only together with the loss of the metadata could
        it be lost.
        """
        try:
            knowing = await asyncio.wait_for(self.share(), _PATIENCE)
        except (QservError, TimeoutError) as error:
            _log.error("no worker remembers the newest snapshot", why=str(error))
            return
        if len(knowing) < min(ENOUGH, len(self._members.alive)):
            _log.error("too few workers remember the newest snapshot", by=len(knowing))

    async def share(self) -> frozenset[str]:
        """Have every live worker remember what is live now.

        Returns
        -------
        frozenset
            The workers that do. Those that do not are logged, and asked again.
        """
        if self._store.ahead:
            # What they remember is newer: it must not be forgotten for this.
            return frozenset()
        async with self._one_at_a_time:
            if self._changes != self._store.changes:
                await self._take()
            behind = [m for m in self._members.alive.values() if not self._knows(m)]
            await asyncio.gather(*(self._tell(member) for member in behind))
            return frozenset(
                m.id for m in self._members.alive.values() if self._knows(m)
            )

    async def _take(self) -> None:
        # What is written meanwhile is seen again the next time.
        changes = self._store.changes
        checkpoint, parts = await asyncio.to_thread(self._taken)
        if self._checkpoint is None or _says(checkpoint) != _says(self._checkpoint):
            self._checkpoint, self._parts = checkpoint, parts
        self._changes = changes

    def _taken(self) -> tuple[Checkpoint, dict[str, bytes]]:
        parts: dict[str, bytes] = {}

        def keep(part: PartName, text: bytes) -> None:
            known = self._parts.get(part.sha256)
            parts[part.sha256] = packed(text) if known is None else known

        return self._store.checkpoint(keep), parts

    def _knows(self, member: Member) -> bool:
        assert self._checkpoint is not None
        return self._has.get(member.id) == (member.endpoint, self._checkpoint.age)

    async def _tell(self, member: Member) -> None:
        checkpoint = self._checkpoint
        assert checkpoint is not None
        try:
            with answering(member):
                missing = await self._send(member, checkpoint, ())
                for some in self._messages(missing):
                    missing = await self._send(member, checkpoint, some)
            if missing:
                raise TaskFailed(f"it still misses {len(missing)} parts")
        except QservError as error:
            _log.warning("catalog not kept", worker=member.id, why=str(error))
        else:
            self._has[member.id] = member.endpoint, checkpoint.age

    async def _send(
        self, member: Member, checkpoint: Checkpoint, parts: Collection[bytes]
    ) -> tuple[str, ...]:
        request = worker_pb2.RememberRequest(
            checkpoint=checkpoint.encode(), parts=parts
        )
        reply = await member.stub.Remember(request, timeout=_PATIENCE)
        return tuple(reply.missing)

    def _messages(self, names: Collection[str]) -> Iterator[list[bytes]]:
        message: list[bytes] = []
        size = 0
        for name in names:
            part = self._parts[name]
            if message and size + len(part) > _MESSAGE:
                yield message
                message, size = [], 0
            message.append(part)
            size += len(part)
        if message:
            yield message


def _says(checkpoint: Checkpoint) -> list[str]:
    """Return what tells two checkpoints apart but for numbers that only grow."""
    parts = [part.sha256 for part in checkpoint.parts if part.table != "cluster"]
    return [str(checkpoint.epoch), *parts]
