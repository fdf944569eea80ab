"""The rows that queries keep on this worker for their later stages.

They go when the query ends, when the worker starts again, and when no call of the
query came for an hour. Rows that are gone can be made again: `SpoolLost` says so.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from qserv.errors import LimitExceeded, SpoolLost
from qserv.telemetry import logger
from qserv.wire.codec import Digest
from qserv.wire.v1 import worker_pb2
from qserv.worker.buckets import Kept
from qserv.worker.disk import Disk, Folder
from qserv.worker.engine import Keep

__all__ = ["Spools", "Stored"]

_IDLE_SECONDS: Final = 3600.0

_NOTHING: Final = Kept(0, 0, 0, Digest().value())

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Stored:
    """The rows of one batch in one bucket.

    Parameters
    ----------
    batch
        The batch.
    path
        Of the file; empty where there are no rows.
    kept
        What it holds.
    """

    batch: int
    path: str
    kept: Kept


@dataclass(slots=True)
class _Query:
    folder: Folder
    timer: asyncio.TimerHandle | None = None
    batches: dict[tuple[int, int, int], dict[int, Kept]] = field(default_factory=dict)


class Spools:
    """The spools of all queries.

    Parameters
    ----------
    disk
        Where they lie.
    idle
        Seconds without a call after which a query's spools go.
    """

    def __init__(self, disk: Disk, *, idle: float = _IDLE_SECONDS) -> None:
        self._disk = disk
        self._idle = idle
        self._queries: dict[str, _Query] = {}
        self._ends: set[asyncio.Task[None]] = set()

    def touch(self, query_id: str) -> None:
        """Take note that a query lives."""
        if query := self._queries.get(query_id):
            if query.timer:
                query.timer.cancel()
            loop = asyncio.get_running_loop()
            query.timer = loop.call_later(self._idle, self._expire, query_id)

    def place(self, task: worker_pb2.Task, batch: int) -> Keep:
        """Return where a batch of a task that spools puts its rows."""
        if task.query_id not in self._queries:
            self._queries[task.query_id] = _Query(self._disk.folder())
        self.touch(task.query_id)
        folder = self._queries[task.query_id].folder
        prefix = folder.path(_name(task.stage, task.attempt, batch))
        return Keep(prefix, max(0, self._disk.left))

    def keep(self, task: worker_pb2.Task, batch: int, buckets: Iterable[Kept]) -> None:
        """Take note of what a batch has put there.

        Raises
        ------
        LimitExceeded
            If there is no room for it; it is gone.
        SpoolLost
            If the query ended meanwhile.
        """
        query = self._known(task.query_id, task.stage)
        name = _name(task.stage, task.attempt, batch)
        found = {kept.bucket: kept for kept in buckets}
        try:
            for kept in found.values():
                query.folder.took(f"{name}{kept.bucket}", kept.size)
        except LimitExceeded:
            for number in found:
                query.folder.remove(f"{name}{number}")
            raise
        query.batches[task.stage, task.attempt, batch] = found

    def has(self, query_id: str, stage: int, attempt: int) -> bool:
        """Whether an attempt of a stage, of which there is one, spooled here."""
        query = self._queries.get(query_id)
        known = query.batches if query else {}
        return any((s, a) == (stage, attempt) for s, a, _ in known)

    def find(
        self,
        query_id: str,
        stage: int,
        attempt: int,
        batches: Iterable[int],
        bucket: int,
    ) -> list[Stored]:
        """Return the rows of batches in a bucket.

        Raises
        ------
        SpoolLost
            If one of the batches is not here.
        """
        query = self._known(query_id, stage)
        self.touch(query_id)
        found = []
        for batch in batches:
            kept = query.batches.get((stage, attempt, batch))
            if kept is None:
                raise _lost(stage)
            name = f"{_name(stage, attempt, batch)}{bucket}"
            path = query.folder.path(name) if bucket in kept else ""
            found.append(Stored(batch, path, kept.get(bucket, _NOTHING)))
        return found

    async def end(self, query_id: str) -> None:
        """Forget a query; one that is unknown is fine."""
        if query := self._queries.pop(query_id, None):
            if query.timer:
                query.timer.cancel()
            await query.folder.close()

    def _expire(self, query_id: str) -> None:
        _log.warning("forgets spools of a query that is silent", query_id=query_id)
        task = asyncio.create_task(self.end(query_id))
        self._ends.add(task)
        task.add_done_callback(self._ends.discard)

    def _known(self, query_id: str, stage: int) -> _Query:
        if query := self._queries.get(query_id):
            return query
        raise _lost(stage)


def _name(stage: int, attempt: int, batch: int) -> str:
    return f"{stage}-{attempt}-{batch}-"


def _lost(stage: int) -> SpoolLost:
    return SpoolLost(
        f"rows of stage {stage} are no longer on the worker that kept them; it was "
        "started again, or heard nothing of the query for long"
    )
