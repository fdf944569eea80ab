"""Copies are made, moved and dropped in the background, until they are as wanted.

What is to be done is decided in `qserv.czar.replication` from what the metadata says;
here it is done. Bytes go from worker to worker. What a worker has copied counts when
its manifests, of all versions, list it and one metadata transaction says so: whatever
dies on the way, the next look at the metadata goes on from there. What is not needed
any longer is dropped when no query that runs may still ask for it.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from qserv import failpoint
from qserv.catalog import copystore
from qserv.catalog.store import Store
from qserv.czar import replication
from qserv.czar.answering import answering
from qserv.czar.holdings import Known, State
from qserv.czar.keeping import Contents, Keeping, contents
from qserv.czar.leaving import Leavers
from qserv.czar.members import Members
from qserv.czar.memo import Memo
from qserv.czar.replication import Copy
from qserv.czar.standing import standing
from qserv.errors import DiskFull, QservError, WorkerUnavailable
from qserv.telemetry import logger
from qserv.wire.v1 import worker_pb2

_log = logger(__name__)

_LOOK: Final = 0.25
"""Seconds between two looks at whether something has changed."""

Running = Callable[[], Collection[str]]


@dataclass(frozen=True, slots=True)
class Settings:
    """How fast repair may go.

    Parameters
    ----------
    bytes_per_second
        That a worker copies at most; 0: as fast as it goes.
    workers
        That copy at a time.
    interval
        Seconds after which everything is looked at again, and tried again.
    """

    bytes_per_second: int = 50 * 2**20
    workers: int = 4
    interval: float = 30.0


@dataclass(slots=True)
class UnderWay:
    """Files on their way to a worker; `size` of `copy.size` bytes have come."""

    copy: Copy
    since: float
    size: int = 0


class Repair:
    """Makes copies as they are wanted.

    Parameters
    ----------
    store, members
        The metadata, the workers.
    one_commit
        Held by whoever changes what workers hold.
    busy
        Returns the families that loads are under way into.
    running
        Returns the ids of the queries that run.
    settings
        How fast it may go.
    clock
        Monotonic seconds.

    Attributes
    ----------
    under_way
        By worker.
    troubles
        By worker: why something did not work a moment ago.
    counted
        What there was when it last looked.
    """

    def __init__(
        self,
        *,
        store: Store,
        members: Members,
        one_commit: asyncio.Lock,
        busy: Callable[[], frozenset[str]],
        running: Running,
        settings: Settings = Settings(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._members = members
        self._one_commit = one_commit
        self._busy = busy
        self._settings = settings
        self._clock = clock
        self._woken = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._leavers = Leavers(running)
        self._keeping = Keeping(store)
        self._failed: dict[tuple[int, str], float] = {}
        self._most: dict[str, int] = {}
        self._memo = Memo()
        self._read: tuple[object, Known] | None = None
        self.under_way: dict[str, UnderWay] = {}
        self.troubles: dict[str, str] = {}
        self.counted = standing(State({}, {}, {}), {})

    def seconds(self, way: UnderWay) -> float:
        """Return for how long files have been on their way."""
        return self._clock() - way.since

    @property
    def rate(self) -> float:
        """Bytes a second that come over all workers."""
        ways = self.under_way.values()
        return sum(way.size / max(self.seconds(way), 1e-3) for way in ways)

    def wake(self) -> None:
        """Look at everything now."""
        self._woken.set()

    async def run(self) -> None:
        """Go on for ever."""
        while True:
            self._woken.clear()
            seen = self._signature()
            try:
                await self.step()
            except QservError as error:
                _log.warning("repair is put off", why=error.text)
            except OSError:
                _log.exception("repair is put off")
            await self._change(seen)

    async def _change(self, seen: object) -> None:
        """Wait until something has changed, or the interval has passed."""
        until = self._clock() + self._settings.interval
        while self._signature() == seen and self._clock() < until:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK):
                    await self._woken.wait()
                    return

    def _signature(self) -> object:
        return (
            self._store.snapshot().id,
            self._members.changes,
            self._busy(),
            self._leavers.waiting,
        )

    async def close(self) -> None:
        """Stop what is under way; it goes on when a czar starts again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def step(self) -> None:
        """Decide and do what can be done now; copies go on in the background."""
        self._store.check_newest()
        known = await self.known()
        if await self._aim(known.state):
            known = await self.known()
        if await self._memo.of(_has_too_much, known.state):
            await self._narrow()
            known = await self.known()
        before = self._leavers.before(known.state)
        wanted = await self._memo.of(contents, before, known.versions)
        for worker in sorted(self._members.alive.keys() - self.under_way.keys()):
            await self._try(worker, self._look_at(worker, known, wanted))
        # What comes to its end from here on is not in what is read.
        busy = frozenset(self.under_way)
        known = await self.known()
        state, leaving = known.state, known.leaving
        self.counted = await self._memo.of(standing, state, leaving)
        await self._start(state, busy)

    async def _try(
        self, worker: str, doing: Coroutine[Any, Any, None]
    ) -> QservError | None:
        try:
            await doing
        except QservError as error:
            self.troubles[worker] = error.text
            _log.warning("repair of a worker is put off", worker=worker, why=error.text)
            if isinstance(error, WorkerUnavailable):
                self._members.lost(worker, error)
            return error
        self.troubles.pop(worker, None)
        return None

    async def known(self) -> Known:
        """Return what the metadata says now, and who answers."""
        alive = self._members.alive
        full = frozenset(w for w, member in alive.items() if not member.disk_free)
        now = (self._store.changes, self._members.changes, full, self._busy())
        if self._read is None or self._read[0] != now:
            self._read = None
            known = await asyncio.to_thread(self._known, frozenset(alive), *now[2:])
            # What is written meanwhile is read the next time.
            self._read = now, known
            return known
        return self._read[1]

    def _known(
        self, alive: frozenset[str], full: frozenset[str], busy: frozenset[str]
    ) -> Known:
        with self._store.reading() as connection:
            copies = copystore.read(connection, self._store.tables)
        workers = {*self._members.all, *copies.workers}
        states = {worker: self._members.state(worker) for worker in workers}
        return Known.of(copies, states=states, alive=alive, full=full, busy=busy)

    async def _write(self, change: Callable[[sa.Connection], None]) -> None:
        def write() -> None:
            with self._store.writing() as connection:
                change(connection)
            self._store.refreshed()

        await asyncio.to_thread(write)

    async def _aim(self, state: State) -> bool:
        """Write down where chunks shall lie; return whether that is news."""
        changed = {}
        found = await self._memo.of(replication.aims, state)
        for name, aims in found.items():
            group = state.groups[name]
            goals = {c: w for c, w in aims.items() if set(w) != set(group.placement[c])}
            if goals != dict(group.goal):
                changed[name] = goals
        if not changed:
            return False

        def write(connection: sa.Connection) -> None:
            for name, goals in changed.items():
                copystore.aim(connection, self._store.tables, name, goals)

        await self._write(write)
        failpoint.reached("czar.placement.aimed")
        return True

    async def _narrow(self) -> None:
        """Have queries no longer ask those who are not to hold what they hold."""
        async with self._one_commit:
            known = await self.known()
            placed = replication.narrowed(known.state)
            state = known.state.with_placement(placed)
            by_worker: defaultdict[str, list[int]] = defaultdict(list)
            for number, worker in replication.surplus(state):
                by_worker[worker].append(number)

            def write(connection: sa.Connection) -> None:
                tables = self._store.tables
                for name, chunks in placed.items():
                    copystore.put(connection, tables, name, chunks)
                for worker, numbers in by_worker.items():
                    drops = not state.is_lost(worker)
                    copystore.leave(connection, tables, worker, numbers, drops=drops)

            await self._write(write)
            failpoint.reached("czar.placement.narrowed")
            self._leavers.add(known.state, placed, by_worker)
            # What nobody asks for any longer may be dropped at once.
            self.wake()

    async def _look_at(self, worker: str, known: Known, wanted: Contents) -> None:
        """Settle a worker that is not as it should be."""
        member = self._members.get(worker)
        if (
            replication.widened(known.state, worker)
            or self._leavers.may_drop(worker, known.leaving)
            or not await self._keeping.agrees(member, known, wanted)
        ):
            await self._settle(worker)

    async def _settle(self, worker: str, gained: Collection[int] = ()) -> None:
        """Have a worker list what it has, drop what it shall, and make both count."""
        member = self._members.get(worker)
        async with self._one_commit:
            known = await self.known()
            state = known.state.with_copies(worker, gained)
            placed = replication.widened(state, worker)
            state = state.with_placement(placed)
            dropped = self._leavers.may_drop(worker, known.leaving)
            await self._keeping.take_over(
                member, known, self._leavers.before(state), dropped
            )
            if not (gained or placed or dropped):
                return

            def write(connection: sa.Connection) -> None:
                tables = self._store.tables
                copystore.gain(connection, tables, worker, gained)
                copystore.gone(connection, tables, worker, dropped)
                for name, chunks in placed.items():
                    copystore.put(connection, tables, name, chunks)

            failpoint.reached("czar.placement.taken-over")
            await self._write(write)
            failpoint.reached("czar.placement.written")

    async def _start(self, state: State, busy: frozenset[str]) -> None:
        """Begin copies on workers that have none under way."""
        now = self._clock()
        self._failed = {
            key: since
            for key, since in self._failed.items()
            if now - since < self._settings.interval
        }
        todo = await asyncio.to_thread(
            replication.copies, state, skip=self._failed, most=self._most
        )
        free = max(0, self._settings.workers - len(self.under_way))
        for worker in sorted(todo.keys() - busy)[:free]:
            self.under_way[worker] = UnderWay(todo[worker], now)
            task = asyncio.create_task(self._copy(worker, todo[worker]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _copy(self, worker: str, copy: Copy) -> None:
        error: Exception | None
        try:
            error = await self._try(worker, self._pull(worker, copy))
        except Exception as bug:  # noqa: BLE001 nobody awaits this task
            _log.exception("copies failed", worker=worker)
            error = bug
        finally:
            del self.under_way[worker]
            self.wake()
        self._learn(worker, copy, error)

    def _learn(self, worker: str, copy: Copy, error: Exception | None) -> None:
        """Try fewer files next time; what fails alone, or finds no room, waits."""
        match error:
            case None:
                self._most.pop(worker, None)
            case WorkerUnavailable():
                pass
            case _ if len(copy.files) > 1 and not isinstance(error, DiskFull):
                self._most[worker] = len(copy.files) // 2
            case _:
                waiting = {(file.number, worker): self._clock() for file in copy.files}
                self._failed |= waiting

    async def _pull(self, worker: str, copy: Copy) -> None:
        member = self._members.get(worker)
        numbers = [file.number for file in copy.files]
        entries = await self._keeping.entries(numbers)
        alive = self._members.alive
        peers = sorted({p for of in copy.sources.values() for p in of if p in alive})
        request = worker_pb2.PullRequest(
            files=[
                worker_pb2.PullFile(
                    entry=entries[n],
                    peers=[peers.index(p) for p in copy.sources[n] if p in peers],
                )
                for n in numbers
            ],
            peers=[
                worker_pb2.Peer(worker_id=p, endpoint=alive[p].endpoint) for p in peers
            ],
            bytes_per_second=self._settings.bytes_per_second,
        )
        with answering(member):
            async for progress in member.stub.Pull(iter([request])):
                self.under_way[worker].size = progress.size
        failpoint.reached("czar.placement.copied")
        await self._settle(worker, numbers)
        _log.info("copies made", worker=worker, files=len(numbers), size=copy.size)


def _has_too_much(state: State) -> bool:
    return bool(replication.narrowed(state) or replication.surplus(state))
