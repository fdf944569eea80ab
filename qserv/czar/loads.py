"""The life of a load on the czar: begin, place, contribute, commit or abort.

What a state allows stands in `qserv.ingest.transaction`; here are the calls. A commit
installs on every worker of the family first and publishes last, in one metadata
transaction: before it nothing is visible, after it everything. A failure on the way
leaves the tables as they were, and the workers are told to forget.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from qserv.catalog.bounds import Bounds
from qserv.catalog.placement import place
from qserv.catalog.publication import Contribution, HeldFile, Load, Publication
from qserv.catalog.snapshot import EVERYWHERE, Family
from qserv.catalog.store import Store
from qserv.czar import contents
from qserv.czar.beginning import Beginning, Target, target
from qserv.czar.families import family_for
from qserv.czar.installation import Installation, family_workers
from qserv.czar.members import Members
from qserv.errors import Conflict
from qserv.ingest import transaction as life
from qserv.ingest.transaction import StagedFile, State, Transaction
from qserv.telemetry import logger

_log = logger(__name__)

PATIENCE: Final = 900.0
"""Seconds of a loader's silence after which another may take its place."""


@dataclass(slots=True)
class _Open:
    """A load that is neither committed nor aborted."""

    transaction: Transaction
    target: Target
    heard: float
    family: Family | None = None
    contributions: dict[tuple[str, str], Contribution] = field(default_factory=dict)
    contents: dict[tuple[str, str], str] = field(default_factory=dict)
    bounds: Mapping[str, Bounds] = field(default_factory=dict)

    def spelling(self, table: str) -> str:
        for known in self.target.tables:
            if known.name.lower() == table.lower():
                return known.name
        return table


@dataclass(frozen=True, slots=True)
class Placed:
    """Which workers take the files of a load.

    Parameters
    ----------
    family
        Its tree, and the workers of each chunk.
    shards
        New index shard -> worker ids.
    first_shard
        The number of the first new index shard.
    """

    family: Family
    shards: Mapping[int, tuple[str, ...]]
    first_shard: int


class Loads:
    """All loads of this czar.

    Parameters
    ----------
    store
        The metadata.
    members
        The workers.
    installation
        Calls them.
    replicas
        Copies of each chunk of a new family, unless its load says otherwise.
    patience
        Seconds of a loader's silence after which another may take its place.
    clock
        Monotonic seconds.

    Attributes
    ----------
    one_commit
        Held by whoever makes a snapshot: their numbers come in order.
    """

    def __init__(
        self,
        *,
        store: Store,
        members: Members,
        installation: Installation,
        replicas: int,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._members = members
        self._installation = installation
        self._replicas = replicas
        self._patience = patience
        self._clock = clock
        self._open: dict[str, _Open] = {}
        self._ended: dict[str, Transaction] = {}
        self.one_commit = asyncio.Lock()
        self._commits: set[asyncio.Task[int]] = set()

    @property
    def open(self) -> tuple[str, ...]:
        """Ids of the loads that are neither committed nor aborted."""
        return tuple(self._open)

    def making(self, release: str, table: str) -> str | None:
        """Return the id of the open load that makes or fills a table, if one does."""
        for number, load in self._open.items():
            names = {known.name.lower() for known in load.target.tables}
            if (
                load.target.release.lower() == release.lower()
                and table.lower() in names
            ):
                return number
        return None

    async def begin(self, asked: Beginning) -> tuple[str, Target]:
        """Begin a load.

        Returns
        -------
        tuple
            Its id, and what it goes into.

        Raises
        ------
        Conflict
            If another load of the family is under way.
        InvalidRequest
            If what is asked for does not fit what there is.
        """
        wanted = target(asked, self._store.snapshot(), replicas=self._replicas)
        while await self._take_over(wanted):
            # Time has passed: somebody else may have begun, or even committed.
            wanted = target(asked, self._store.snapshot(), replicas=self._replicas)
        begun = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        number = f"{begun}-{secrets.token_hex(3)}"
        names = tuple(table.name for table in wanted.tables)
        self._open[number] = _Open(
            Transaction(id=number, release=wanted.release, tables=names),
            wanted,
            self._clock(),
        )
        record = Load(
            number, wanted.release, wanted.layout.family, asked.who, asked.pipeline
        )
        try:
            await asyncio.to_thread(self._store.begin, record)
        except BaseException:
            del self._open[number]
            raise
        _log.info("load begun", load=number, release=wanted.release, tables=names)
        return number, wanted

    async def _take_over(self, wanted: Target) -> bool:
        """Abort a silent load that is in the way; return whether there was one."""
        for number, load in tuple(self._open.items()):
            if not _collide(load.target, wanted):
                continue
            silence = self._clock() - load.heard
            if silence < self._patience or load.transaction.state is State.COMMITTING:
                raise Conflict(
                    f"load {number} of release {load.target.release} (family "
                    f"{load.target.layout.family}) is under way, last heard of "
                    f"{silence:.0f} s ago; wait for it, or until it is silent for "
                    f"{self._patience:.0f} s"
                )
            await self.abort(number, f"its loader was silent for {silence:.0f} s")
            return True
        return False

    def place(self, number: str, chunks: Sequence[int], shards: int) -> Placed:
        """Choose the workers of a load.

        Parameters
        ----------
        number
            The load's id.
        chunks
            The tree that the loader made where no table is cut by one yet; else none,
            or as it is.
        shards
            How many new index shards there are.

        Raises
        ------
        WorkerUnavailable
            If too few workers are alive, or one that holds the family is not.
        InvalidRequest
            If the tree is none, or not the family's.
        """
        load = self._get(number)
        layout = load.target.layout
        family = family_for(layout, chunks, self._members.alive.keys())
        first = _first_shard(load.target)
        workers = family_workers(family)
        placed = Placed(
            family=family,
            shards=place(range(first, first + shards), workers, layout.replicas),
            first_shard=first,
        )
        event = life.Place(
            chunks={c: w for c, w in family.replicas.items() if c != EVERYWHERE},
            replicated=family.replicas[EVERYWHERE],
            shards=placed.shards,
        )
        load.transaction, _ = life.step(load.transaction, event)
        load.family = family
        return placed

    async def contribute(
        self,
        number: str,
        contributions: Iterable[Contribution],
        files: Iterable[StagedFile],
    ) -> None:
        """Take in which input files were read, and which files are staged where.

        Raises
        ------
        Conflict
            If the content of a file that was read is in its table already.
        """
        load = self._get(number)
        release = load.target.release
        read = [replace(c, table=load.spelling(c.table)) for c in contributions]
        live = await asyncio.to_thread(self._store.origins, release, read)
        load = self._get(number)
        known = contents.admit(release, read, here=load.contents, live=live)
        staged = tuple(replace(f, table=load.spelling(f.table)) for f in files)
        load.transaction, _ = life.step(load.transaction, life.Contribute(staged))
        load.contents = known
        # A repeated call says the same again.
        load.contributions |= {(c.table, c.source): c for c in read}

    async def commit(
        self,
        number: str,
        rows: Mapping[str, int],
        bounds: Mapping[str, Bounds] | None = None,
    ) -> int:
        """Make a load visible, whole, and return its snapshot id.

        It goes on to its end even if the loader goes away. `bounds` are those of the
        new rows by table.

        Raises
        ------
        InvalidRequest
            If files or rows are missing; the load stays open.
        QservError
            If a worker cannot install it; the load is aborted, the tables are as they
            were.
        """
        ended = self._ended.get(number)
        if ended is not None and ended.snapshot is not None:
            return ended.snapshot
        load = self._get(number)
        expected = {load.spelling(table): count for table, count in rows.items()}
        load.bounds = {load.spelling(t): ends for t, ends in (bounds or {}).items()}
        # Refused at once, before the queue of commits.
        load.transaction, _ = life.step(load.transaction, life.Commit(expected))
        task = asyncio.create_task(self._commit(load))
        self._commits.add(task)
        task.add_done_callback(self._commits.discard)
        return await asyncio.shield(task)

    async def _commit(self, load: _Open) -> int:
        number = load.transaction.id
        async with self.one_commit:
            try:
                snapshot = await self._publish(load)
            except Exception as error:  # any failure must undo what was installed
                failed = life.Failed(str(error))
                transaction, _ = life.step(load.transaction, failed)
                await self._undo(transaction)
                raise
        self._end(load.transaction)
        _log.info("load committed", load=number, snapshot=snapshot)
        return snapshot

    async def _publish(self, load: _Open) -> int:
        transaction, family, goal = load.transaction, load.family, load.target
        assert family is not None, "a load that commits was placed"
        version = await asyncio.to_thread(self._store.allocate)
        files = [
            HeldFile(file.table, file.entry, file.workers)
            for file in transaction.files.values()
        ]
        fresh = await self._installation.install(
            transaction.id,
            release=goal.release,
            tables=goal.tables,
            version=version,
            family=family,
            files=files,
        )
        for worker in sorted(transaction.installers):
            transaction, _ = life.step(transaction, life.Installed(worker))
        publication = Publication(
            load=transaction.id,
            version=version,
            release=goal.release,
            family=family,
            replicas=goal.layout.replicas,
            tables=goal.tables,
            files=fresh,
            contributions=tuple(load.contributions.values()),
            bounds=load.bounds,
        )
        snapshot = await asyncio.to_thread(self._store.publish, publication)
        load.transaction, _ = life.step(transaction, life.Published(snapshot.id))
        return snapshot.id

    async def abort(self, number: str, reason: str) -> None:
        """Give a load up; its workers forget it. Repeating it does nothing.

        Raises
        ------
        Conflict
            If it is committed, or being published.
        """
        ended = self._ended.get(number)
        if ended is not None and ended.state is State.ABORTED:
            return
        load = self._get(number)
        if load.transaction.state is State.COMMITTING:
            raise Conflict(
                f"load {number} is being published: it cannot be aborted now"
            )
        transaction, _ = life.step(load.transaction, life.Abort(reason))
        await self._undo(transaction)

    async def _undo(self, transaction: Transaction) -> None:
        self._end(transaction)
        _log.warning("load aborted", load=transaction.id, reason=transaction.reason)
        holders = transaction.holders
        await asyncio.to_thread(
            self._store.abort, transaction.id, transaction.reason, holders
        )
        await self._installation.forget(holders)

    def _end(self, transaction: Transaction) -> None:
        del self._open[transaction.id]
        self._ended[transaction.id] = replace(transaction, files={}, chunks={})

    def _get(self, number: str) -> _Open:
        if (load := self._open.get(number)) is None:
            ended = self._ended.get(number)
            raise Conflict(
                f"load {number} is {ended.state}: {ended.reason or 'it is over'}"
                if ended
                else f"there is no load {number}; begin a new one"
            )
        load.heard = self._clock()
        return load

    async def close(self) -> None:
        """Wait for commits that are under way."""
        await asyncio.gather(*self._commits, return_exceptions=True)


def _collide(one: Target, other: Target) -> bool:
    """Whether two loads are of one family, or make one release in two families."""
    return (
        one.layout.family.lower() == other.layout.family.lower()
        or one.release.lower() == other.release.lower()
    )


def _first_shard(goal: Target) -> int:
    shards = [shard.shard for table in goal.existing for shard in table.index]
    return max(shards, default=-1) + 1
