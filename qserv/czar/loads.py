"""The life of loads on the czar: begin, place, contribute, commit or abort.

What a state allows stands in `qserv.ingest.transaction`; here are the calls. Whatever a
call changes is written down before it is answered, so that a czar that restarts goes
on with every load. A commit installs on the workers first and publishes last, in one
metadata transaction: before it nothing is visible, after it everything. A failure on
the way leaves the tables as they were.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Final

from qserv.catalog import loadhistory, loadstore
from qserv.catalog.bounds import Bounds
from qserv.catalog.counters import reserve
from qserv.catalog.loadhistory import PastLoad
from qserv.catalog.provenance import Contribution
from qserv.catalog.store import Store
from qserv.czar import choosing, contents
from qserv.czar.beginning import Beginning
from qserv.czar.choosing import Placed
from qserv.czar.ending import Ending
from qserv.czar.families import family_for
from qserv.czar.installation import Installation
from qserv.czar.members import Members
from qserv.czar.opening import Begun, Opening
from qserv.czar.openload import (
    Committed,
    OpenLoad,
    Progress,
    Wanted,
    held,
    placement_to_json,
    where,
)
from qserv.czar.registry import Registry
from qserv.czar.replacing import Replacing
from qserv.czar.rollcall import RollCall
from qserv.errors import UnknownName
from qserv.failpoint import reached
from qserv.ingest import transaction as life
from qserv.ingest.events import Contribute, Place, StagedFile, State
from qserv.wire.calls import Calls, finished

LEASE: Final = 30.0
"""Seconds of a loader's silence after which another may take its place."""


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
        Copies of each chunk of a new family, unless its load says otherwise; None: 2
        where two workers are there, else 1.
    lease
        Seconds of a loader's silence after which another may take its place.
    grace
        Seconds that workers have to come back after the czar's start before it goes on
        without them.
    expiry
        Seconds of silence after which a load is given up though nobody waits for it.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        *,
        store: Store,
        members: Members,
        installation: Installation,
        replicas: int | None,
        lease: float = LEASE,
        grace: float = 0.0,
        expiry: float = inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._members = members
        self._replicas = replicas
        self.lease = lease
        self._roll_call = RollCall(members=members, grace=grace)
        self.calls = Calls()
        self.registry = Registry(store=store, clock=clock, expiry=expiry)
        self.replacing = Replacing(store)
        self._ending = Ending(
            store=store,
            registry=self.registry,
            roll_call=self._roll_call,
            installation=installation,
            replacing=self.replacing,
        )
        self._opening = Opening(
            store=store,
            registry=self.registry,
            replicas=self.replicas,
            lease=lease,
            replacing=self.replacing,
            abort=self.abort,
            calls=self.calls,
        )

    @property
    def one_commit(self) -> asyncio.Lock:
        """Held by whoever makes a snapshot: their numbers come in order."""
        return self._ending.one_commit

    def replicas(self) -> int:
        """Return the copies of each chunk of a family that is made now."""
        return self._replicas or min(2, max(1, len(self._members.placeable)))

    @property
    def families(self) -> frozenset[str]:
        """Names of the families that open loads go into."""
        return frozenset(
            load.target.layout.family for load in self.registry.open.values()
        )

    @property
    def open(self) -> tuple[str, ...]:
        """Ids of the loads that are neither committed nor aborted."""
        return tuple(self.registry.open)

    def making(self, release: str, table: str) -> str | None:
        """Return the id of the open load that makes, fills or reads a table, if any."""
        for number, load in self.registry.open.items():
            if load.needs(release, table):
                return number
        return None

    async def recover(self) -> None:
        """Go on with the loads of an earlier czar, before anybody is served."""
        workers = await self.registry.read(loadstore.workers)
        self._roll_call.expect(workers)
        for number, reason in await self.registry.revive():
            await asyncio.to_thread(self._store.abort, number, reason, workers)
        found = [load for load in self.registry.open.values() if load.wanted]
        # The one that had a number comes first: numbers come in order.
        for load in sorted(found, key=lambda load: load.version is None):
            if load.transaction.state is State.COMMITTING:
                self._ending.start(load)

    async def begin(self, asked: Beginning) -> Begun:
        """Begin a load, or go on with the one that its loader left.

        Raises
        ------
        Conflict
            If another load is under way that it cannot run beside.
        InvalidRequest
            If what is asked for does not fit what there is.
        """
        await self._roll_call.over()
        self._store.check_newest()
        return await self._opening.begin(asked)

    @finished
    async def place(
        self,
        number: str,
        chunks: Sequence[int],
        shards: int,
        *,
        attempt: int = 0,
        avoid: Iterable[str] = (),
        renew: bool = False,
    ) -> Placed:
        """Choose the workers of a load; the same ones again, if it is asked again.

        Parameters
        ----------
        number
            The load's id.
        chunks
            The tree that the loader made where no table is cut by one yet; else none,
            or as it is.
        shards
            How many new index shards there are.
        attempt
            Which loader in turn asks.
        avoid
            Workers that took no files: others get their places.
        renew
            Whether those that are not alive lose their places, too.

        Raises
        ------
        WorkerUnavailable
            If too few workers take files, or none that a chunk is read from.
        InvalidRequest
            If the tree is none, or not the family's.
        """
        await self._roll_call.over()
        async with self.registry.call(number, attempt) as load:
            usable = self._members.placeable.keys() - set(avoid)
            if load.placed is None:
                placed = await self._first(load, chunks, shards, usable)
            else:
                choosing.check_same(load.placed, chunks, shards)
                if not (avoid or renew):
                    return load.placed
                replicas = load.target.layout.replicas
                placed = choosing.again(load.placed, replicas=replicas, usable=usable)
            transaction, _ = life.step(load.transaction, Place(**where(placed)))
            await self.registry.write(
                loadstore.change,
                number,
                state=transaction.state,
                placement=placement_to_json(placed, transaction.former),
            )
            reached("czar.place.written")
            load.transaction, load.placed = transaction, placed
            return placed

    async def _first(
        self, load: OpenLoad, chunks: Sequence[int], shards: int, usable: set[str]
    ) -> Placed:
        layout = load.target.layout
        family = family_for(layout, chunks, usable)
        first = await self.registry.write(reserve, "shards", shards)
        reached("czar.place.reserved")
        return choosing.choose(
            family,
            made=not layout.cut,
            shards=range(first, first + shards),
            replicas=layout.replicas,
            usable=usable,
        )

    @finished
    async def contribute(
        self,
        number: str,
        contributions: Iterable[Contribution],
        files: Iterable[StagedFile],
        *,
        attempt: int = 0,
    ) -> None:
        """Take in which input files were read, and which files are staged where.

        Raises
        ------
        Conflict
            If the content of a file that was read is in its table already.
        """
        async with self.registry.call(number, attempt) as load:
            release = load.target.release
            read = [replace(c, table=load.spelling(c.table)) for c in contributions]
            live = await self.registry.origins(
                release, [(each.table, each.sha256) for each in read if each.rows]
            )
            staying = load.target.staying(live)
            contents.admit(release, read, here=load.contents, live=staying)
            staged = tuple(replace(f, table=load.spelling(f.table)) for f in files)
            before = load.transaction
            after, _ = life.step(before, Contribute(staged))
            paths = {file.entry.path: after.files[file.entry.path] for file in staged}
            changed = {p: f for p, f in paths.items() if f != before.files.get(p)}
            reached("czar.contribute.checked")
            inputs = await self.registry.write(
                loadstore.contribute,
                number,
                state=after.state,
                read=[load.input(each) for each in read],
                files=map(held, changed.values()),
                known=changed.keys() & before.files.keys(),
            )
            reached("czar.contribute.written")
            load.take(inputs)
            load.transaction = after

    async def staged(self, number: str, attempt: int = 0) -> tuple[StagedFile, ...]:
        """Return the files of a load that workers have acknowledged."""
        load = await self.registry.find(number, attempt)
        return tuple(load.transaction.files.values())

    async def history(
        self, *, release: str = "", load: str = "", ended: int | None = None
    ) -> tuple[PastLoad, ...]:
        """Return loads, the newest first; see `qserv.catalog.loadhistory.loads`.

        Raises
        ------
        UnknownName
            If one is asked for that there never was.
        """
        found = await self.registry.read(
            loadhistory.loads, release=release, load=load, ended=ended
        )
        if load and not found:
            raise UnknownName(f"there is no load {load}; see qserv loads list --all")
        return found

    async def brought(self, number: str) -> tuple[Contribution, ...]:
        """Return what each file of a load brought."""
        if (load := self.registry.open.get(number)) is not None:
            return load.contributions
        return await self.registry.read(loadhistory.contributions, number)

    async def keep(self, number: str, progress: Progress, attempt: int = 0) -> None:
        """Hear of a loader that it is there, and how far it is.

        Raises
        ------
        Superseded
            If another loader goes on in its place.
        Conflict
            If the load has ended.
        """
        load = await self.registry.find(number, attempt)
        load.tell(progress)
        if load.heard - load.noted > self.lease / 3:
            load.noted = load.heard
            await self.registry.write(loadstore.change, number)

    @finished
    async def commit(
        self,
        number: str,
        rows: Mapping[str, int],
        bounds: Mapping[str, Bounds] | None = None,
        *,
        checked: Mapping[str, int] | None = None,
        attempt: int = 0,
    ) -> Committed:
        """Make a load visible, whole.

        It goes on to its end even if the loader goes away; asked again, it answers the
        same.

        Parameters
        ----------
        number
            The load's id.
        rows
            Expected new rows by table.
        bounds
            Of the new rows, by table.
        checked
            Versions of tables that new keys were compared with; of others those that
            the loader was told of at its beginning.
        attempt
            Which loader in turn asks.

        Raises
        ------
        InvalidRequest
            If files or rows are missing; the load stays open.
        ClusterError
            If too few workers can install it now; the load stays open.
        QservError
            If it cannot be published; the load is aborted, the tables are as they
            were.
        """
        wanted = Wanted(rows, bounds or {}, checked or {})
        return await self._ending.commit(number, wanted, attempt)

    @finished
    async def abort(self, number: str, reason: str, attempt: int = 0) -> None:
        """Give a load up; its workers forget it. Repeating it does nothing.

        Parameters
        ----------
        number
            The load's id.
        reason
            For its history.
        attempt
            Which loader in turn asks; 0: whoever.

        Raises
        ------
        Superseded
            If another loader goes on with it.
        Conflict
            If it is committed, or being published.
        """
        await self._ending.abort(number, reason, attempt)

    def joined(self) -> None:
        """Hear that a worker is there: a commit may wait for it."""
        self._roll_call.joined()

    async def close(self) -> None:
        """Wait for what must not stop half-way."""
        await self.calls.close()
        await self._ending.close()
