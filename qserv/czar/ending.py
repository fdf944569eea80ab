"""How a load ends: committed in its turn, or given up and forgotten by its workers."""

import asyncio

from qserv.catalog import loadstore
from qserv.catalog.snapshot import TableVersion
from qserv.catalog.store import Store
from qserv.czar.committing import Committing, newer
from qserv.czar.installation import Installation
from qserv.czar.openload import Committed, OpenLoad, Wanted, wanted_to_json
from qserv.czar.registry import Registry
from qserv.czar.replacing import Replacing
from qserv.czar.rollcall import RollCall
from qserv.errors import ClusterError, Conflict
from qserv.failpoint import reached
from qserv.ingest import transaction as life
from qserv.ingest.events import Abort, Commit, Failed, Reopen, State
from qserv.ingest.transaction import Transaction
from qserv.telemetry import logger

_log = logger(__name__)


class Ending:
    """Ends loads.

    Parameters
    ----------
    store
        The metadata.
    registry
        The loads under way.
    roll_call
        Waits for workers after the czar's start.
    installation
        Calls them.
    replacing
        Knows what may be replaced.

    Attributes
    ----------
    one_commit
        Held by whoever makes a snapshot: their numbers come in order.
    """

    def __init__(
        self,
        *,
        store: Store,
        registry: Registry,
        roll_call: RollCall,
        installation: Installation,
        replacing: Replacing,
    ) -> None:
        self._store = store
        self._registry = registry
        self._roll_call = roll_call
        self._installation = installation
        self._committing = Committing(
            store=store, installation=installation, replacing=replacing
        )
        self.one_commit = asyncio.Lock()

    async def commit(self, number: str, asked: Wanted, attempt: int) -> Committed:
        """Commit a load; see `Loads.commit`."""
        try:
            async with self._registry.call(number, attempt) as load:
                if load.commit is None and (compare := await self._asked(load, asked)):
                    return Committed(newer=compare)
                commit = load.commit
        except Conflict:
            past = await self._registry.past(number)
            if past is not None and past.snapshot is not None:
                return Committed(past.snapshot)
            raise
        assert commit is not None, "it has begun"
        return await asyncio.shield(commit)

    async def _asked(self, load: OpenLoad, asked: Wanted) -> tuple[TableVersion, ...]:
        wanted = Wanted(
            {load.spelling(table): rows for table, rows in asked.rows.items()},
            {load.spelling(table): ends for table, ends in asked.bounds.items()},
            {load.spelling(table): at for table, at in asked.checked.items()},
        )
        # Refused at once, before the queue of commits.
        transaction, _ = life.step(load.transaction, Commit(wanted.rows))
        if compare := newer(load, wanted, self._store.snapshot()):
            return compare
        reached("czar.commit.asked")
        await self._registry.write(
            loadstore.change,
            load.id,
            state=transaction.state,
            commit_request=wanted_to_json(wanted),
            reason="",
        )
        reached("czar.commit.written")
        load.transaction, load.wanted = transaction, wanted
        self.start(load)
        return ()

    def start(self, load: OpenLoad) -> None:
        """Begin the commit of a load, which goes on whoever waits for it."""
        load.commit = asyncio.create_task(self._commit(load))
        load.commit.add_done_callback(_seen)

    async def _commit(self, load: OpenLoad) -> Committed:
        async with self.one_commit:
            try:
                await self._roll_call.over()
                done = await self._committing.run(load)
            except ClusterError as error:
                await self._reopen(load, error.text)
                raise
            except Exception as error:  # any other failure must undo what was done
                load.commit = None
                failed, _ = life.step(load.transaction, Failed(str(error)))
                await self._undo(load, failed)
                raise
            if done.newer:
                await self._reopen(load, "other loads came first")
                return done
        try:
            # A version that no worker remembers was never acknowledged: whoever else
            # asks for the load waits for this, too.
            await self._installation.remember()
            reached("czar.commit.remembered")
        finally:
            del self._registry.open[load.id]
        _log.info("load committed", load=load.id, snapshot=done.snapshot)
        return done

    async def _reopen(self, load: OpenLoad, reason: str) -> None:
        """Let a loader bring what is missing, and commit again."""
        load.transaction, _ = life.step(load.transaction, Reopen(reason))
        load.version = load.wanted = load.commit = None
        load.heard = self._registry.now
        _log.warning("load not committed yet", load=load.id, reason=reason)
        await self._registry.write(
            loadstore.change,
            load.id,
            state=load.transaction.state,
            commit_request=None,
            version=None,
            reason=reason,
        )

    async def abort(self, number: str, reason: str, attempt: int) -> None:
        """Give a load up; see `Loads.abort`."""
        newest = _newest(self._registry.open.get(number))
        try:
            async with self._registry.call(number, attempt or newest) as load:
                await self._abort(load, reason)
        except Conflict:
            past = await self._registry.past(number)
            if past is None or past.state != State.ABORTED:
                raise

    async def _abort(self, load: OpenLoad, reason: str) -> None:
        if load.transaction.state is State.COMMITTING:
            raise Conflict(
                f"load {load.id} is being published: it cannot be aborted now"
            )
        transaction, _ = life.step(load.transaction, Abort(reason))
        await self._undo(load, transaction)

    async def _undo(self, load: OpenLoad, aborted: Transaction) -> None:
        reached("czar.abort.asked")
        holders = aborted.holders
        await asyncio.to_thread(self._store.abort, load.id, aborted.reason, holders)
        reached("czar.abort.written")
        del self._registry.open[load.id]
        load.transaction = aborted
        _log.warning("load aborted", load=load.id, reason=aborted.reason)
        await self._installation.forget(holders)
        reached("czar.abort.forgotten")

    async def close(self) -> None:
        """Wait for commits that are under way."""
        commits = [load.commit for load in self._registry.open.values() if load.commit]
        await asyncio.gather(*commits, return_exceptions=True)


def _newest(load: OpenLoad | None) -> int:
    return load.transaction.attempt if load else 0


def _seen(commit: "asyncio.Task[Committed]") -> None:
    # Its failure is in the log and the metadata, whether or not a loader waits.
    if not commit.cancelled():
        commit.exception()
