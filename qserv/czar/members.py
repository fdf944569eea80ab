"""Which workers there are, which of them are alive, and the open channels to them."""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import grpc.aio

from qserv.catalog import workerstore
from qserv.catalog.store import Store
from qserv.catalog.workerstore import WorkerState
from qserv.errors import ClusterError, InvalidRequest, WorkerUnavailable
from qserv.telemetry import logger
from qserv.wire.channel import aio_channel
from qserv.wire.v1 import worker_pb2
from qserv.wire.v1.worker_pb2_grpc import WorkerStub

if TYPE_CHECKING:
    from qserv.wire.v1.worker_pb2_grpc import WorkerAsyncStub

_log = logger(__name__)

_RUN_TASK: Final = "/qserv.wire.v1.Worker/RunTask"

RunPacked = grpc.aio.UnaryStreamMultiCallable[bytes, worker_pb2.TaskFrames]
Watcher = Callable[[str, ClusterError], None]


@dataclass(frozen=True, slots=True)
class Member:
    """A worker that has joined since this czar started.

    Parameters
    ----------
    id
        Kept by the worker over its restarts.
    endpoint
        ``host:port``.
    threads
        Of DuckDB, over all its executors.
    disk_free, disk_total
        Bytes that its disk may still take, and has; -1 where it does not say.
    seen
        When it last gave a sign of life, on the czar's monotonic clock.
    alive
        Whether it counts as alive.
    stub, run
        Its calls; `run` is RunTask of a task that was serialized before.
    channel
        The open channel to it.
    """

    id: str
    endpoint: str
    threads: int
    disk_free: int
    disk_total: int
    seen: float
    alive: bool
    stub: "WorkerAsyncStub" = field(repr=False, compare=False)
    run: "RunPacked" = field(repr=False, compare=False)
    channel: grpc.aio.Channel = field(repr=False, compare=False)


class Members:
    """The workers of a cluster.

    Parameters
    ----------
    store
        Remembers workers over restarts of the czar.
    dead_after
        Seconds of silence after which a worker counts as dead.
    clock
        Monotonic seconds.
    connect
        Opens a channel to ``host:port``.
    """

    def __init__(
        self,
        *,
        store: Store,
        dead_after: float,
        clock: Callable[[], float] = time.monotonic,
        connect: Callable[[str], grpc.aio.Channel] = aio_channel,
    ) -> None:
        self._store = store
        self._dead_after = dead_after
        self._clock = clock
        self._connect = connect
        self._members: dict[str, Member] = {}
        with store.reading() as connection:
            self._states = workerstore.states(connection, store.tables)
        self.changes = 0
        """Grows whenever a worker comes, goes, or changes its state."""
        self._watchers: set[Watcher] = set()

    async def join(
        self,
        worker: str,
        endpoint: str,
        threads: int,
        disk: tuple[int, int] = (-1, 0),
    ) -> tuple[str, bool]:
        """Take a sign of life.

        Parameters
        ----------
        worker
            The worker's id; empty for a worker that has none yet.
        endpoint
            Where it listens.
        threads
            Of DuckDB, over all its executors.
        disk
            Bytes that its disk may still take, and has.

        Returns
        -------
        tuple
            Its id, and whether it is new, was dead or has moved.

        Raises
        ------
        InvalidRequest
            If it was given up for lost.
        """
        if not endpoint:
            raise InvalidRequest("a worker that joins must name its host:port")
        if self.state(worker) is WorkerState.LOST:
            raise InvalidRequest(
                f"worker {worker} was given up for lost, and its copies were made "
                f"elsewhere: start it with an empty directory, or take it back with "
                f"`qserv placement readmit {worker}`"
            )
        worker = worker or f"w-{secrets.token_hex(4)}"
        known = self._members.get(worker)
        if known and known.alive and known.endpoint == endpoint:
            now = self._clock()
            self._members[worker] = replace(
                known,
                seen=now,
                threads=threads,
                disk_free=disk[0],
                disk_total=disk[1],
            )
            return worker, False
        if known is None or known.endpoint != endpoint:
            await asyncio.to_thread(self._store.join, worker, endpoint)
        await self._replace(worker, endpoint, threads, disk)
        _log.info("worker joined", worker=worker, endpoint=endpoint, threads=threads)
        return worker, True

    async def _replace(
        self, worker: str, endpoint: str, threads: int, disk: tuple[int, int]
    ) -> None:
        # A channel that has seen its worker die waits before it tries again.
        channel = self._connect(endpoint)
        channel.get_state(try_to_connect=True)
        stub: WorkerAsyncStub = WorkerStub(channel)
        before = self._members.get(worker)
        run: RunPacked = channel.unary_stream(
            _RUN_TASK, response_deserializer=worker_pb2.TaskFrames.FromString
        )
        self._members[worker] = Member(
            worker, endpoint, threads, *disk, self._clock(), True, stub, run, channel
        )
        self.changes += 1
        if before is not None:
            self._tell(worker, WorkerUnavailable(f"worker {worker} was restarted"))
            await before.channel.close()

    @property
    def all(self) -> Mapping[str, Member]:
        """Every worker that has joined since the czar started, by id."""
        return self._members

    @property
    def alive(self) -> dict[str, Member]:
        """The workers that are alive, by id."""
        return {m.id: m for m in self._members.values() if m.alive}

    @property
    def placeable(self) -> dict[str, Member]:
        """The workers that are alive and may be given something new, by id."""
        return {
            worker: member
            for worker, member in self.alive.items()
            if self.state(worker) is WorkerState.ACTIVE
        }

    @property
    def known(self) -> set[str]:
        """Ids of all workers that ever joined."""
        return {*self._states, *self._members}

    def state(self, worker: str) -> WorkerState:
        """Return what a worker is to do."""
        return self._states.get(worker, WorkerState.ACTIVE)

    async def set_state(self, worker: str, state: WorkerState) -> None:
        """Remember what a worker is to do."""

        def remember() -> None:
            with self._store.writing() as connection:
                workerstore.set_state(connection, self._store.tables, worker, state)

        await asyncio.to_thread(remember)
        self._states[worker] = state
        self.changes += 1

    def get(self, worker: str) -> Member:
        """Return a live worker.

        Raises
        ------
        WorkerUnavailable
            If it is not alive.
        """
        member = self._members.get(worker)
        if member is None or not member.alive:
            raise WorkerUnavailable(f"worker {worker} is not alive")
        return member

    def silence(self, member: Member) -> float:
        """Return the seconds since a worker's last sign of life."""
        return self._clock() - member.seen

    def lost(self, worker: str, error: ClusterError) -> None:
        """Count a worker as dead until it joins again, and tell who watches."""
        member = self._members.get(worker)
        if member is None or not member.alive:
            return
        self._members[worker] = replace(member, alive=False)
        self.changes += 1
        _log.warning("worker lost", worker=worker, endpoint=member.endpoint)
        self._tell(worker, error)

    def _tell(self, worker: str, error: ClusterError) -> None:
        for watcher in tuple(self._watchers):
            watcher(worker, error)

    @contextmanager
    def watching(self, watcher: Watcher) -> Iterator[None]:
        """Have `watcher` called in the block whenever a worker is lost."""
        self._watchers.add(watcher)
        try:
            yield
        finally:
            self._watchers.discard(watcher)

    def check(self) -> None:
        """Count those as dead that have been silent for too long."""
        for member in tuple(self._members.values()):
            silence = self.silence(member)
            if member.alive and silence > self._dead_after:
                self.lost(
                    member.id,
                    WorkerUnavailable(
                        f"worker {member.id} at {member.endpoint} has given no sign of "
                        f"life for {silence:.1f} s"
                    ),
                )

    async def watch(self) -> None:
        """Check for silent workers until cancelled.

        While the czar itself was too busy to listen, nobody was silent.
        """
        pause = self._dead_after / 8
        while True:
            before = self._clock()
            await asyncio.sleep(pause)
            deaf = self._clock() - before - pause
            if deaf > pause:
                self._excuse(deaf)
            self.check()

    def _excuse(self, seconds: float) -> None:
        for worker, member in tuple(self._members.items()):
            self._members[worker] = replace(member, seen=member.seen + seconds)

    async def close(self) -> None:
        """Close all channels."""
        for member in self._members.values():
            await member.channel.close()
