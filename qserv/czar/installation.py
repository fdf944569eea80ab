"""Makes a load durable on its workers, or has them forget it."""

import asyncio
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from dataclasses import replace
from typing import Final

from qserv.catalog.publication import HeldFile
from qserv.catalog.replacing import Replaced, named
from qserv.catalog.snapshot import Family
from qserv.catalog.store import Store
from qserv.catalog.tables import Table
from qserv.czar.answering import answering
from qserv.czar.members import Members
from qserv.czar.versions import Making, Version, check_chunks, check_copies
from qserv.errors import ClusterError, QservError, WorkerUnavailable
from qserv.ingest.manifests import Change, sent
from qserv.storage.manifest import Manifest
from qserv.telemetry import logger
from qserv.wire.v1 import worker_pb2

Wanted = dict[str, Sequence[Manifest | Change]]
"""Worker -> what it shall keep of each table."""

_log = logger(__name__)

_PATIENCE: Final = 600.0
"""Seconds that a worker may take to install or discard one load."""


async def _nothing() -> None:
    pass


class Installation:
    """Calls the workers of a load.

    Parameters
    ----------
    store
        Knows the live files, and who has yet to forget what.
    members
        The workers.

    Attributes
    ----------
    remember
        Called between a publication and its acknowledgement: has workers remember it.
    """

    def __init__(self, *, store: Store, members: Members) -> None:
        self._store = store
        self._members = members
        self.remember: Callable[[], Awaitable[None]] = _nothing

    async def install(
        self,
        load: str,
        *,
        release: str,
        tables: Collection[Table],
        version: int,
        family: Family,
        files: Collection[HeldFile],
        copies: int,
        replaces: Collection[Replaced] = (),
    ) -> tuple[HeldFile, ...]:
        """Have the workers of the family keep the new version of every table.

        A worker that cannot is left out: it catches up when it can.

        Parameters
        ----------
        load
            Its id.
        release, tables, version, family
            What it loads into.
        files
            What it adds.
        copies
            How many workers each of these needs.
        replaces
            What goes.

        Returns
        -------
        tuple of HeldFile
            `files`, valid from `version`, on the workers that keep them.

        Raises
        ------
        WorkerUnavailable
            If too few workers did for a file, or none for a chunk; others did.
        QservError
            If one must not.
        """
        fresh = tuple(
            replace(file, entry=replace(file.entry, validity=(version, None)))
            for file in files
        )
        going = named(replaces)
        bases = self._bases(release, tables, going)
        coming: dict[str, list[HeldFile]] = {table.name: [] for table in tables}
        for file in fresh:
            coming[file.table].append(file)
        made = [
            Making(
                Version(load, release, table, version, family),
                fresh=tuple(coming[table.name]),
                base=bases.get(table.name, 0),
                going=going.get(table.name.lower()),
            )
            for table in tables
        ]
        kept, trouble = await self._all(load, made)
        held = tuple(replace(f, workers=f.workers & kept.keys()) for f in fresh)
        try:
            check_copies(held, copies)
            check_chunks(family, tables, kept)
        except WorkerUnavailable as error:
            raise WorkerUnavailable(f"{error.text}{trouble}") from None
        return held

    def _bases(
        self, release: str, tables: Collection[Table], going: Collection[str]
    ) -> dict[str, int]:
        """Return the versions that tables have, where files are only added to them."""
        known = self._store.snapshot().releases.get(release.lower())
        live = known.tables if known else {}
        names = {table.name.lower(): table.name for table in tables}
        return {
            names[folded]: live[folded].manifest_version
            for folded in names.keys() & live.keys() - set(going)
        }

    async def _all(self, load: str, made: Sequence[Making]) -> tuple[Wanted, str]:
        """Have all workers install; return what those keep that did.

        Each is told what is new; all, if it has not what that is added to. With it
        comes why others did not.
        """
        wanted = await asyncio.to_thread(self._wanted, made, self._made)
        done, behind, trouble = await self._tell(load, wanted)
        if behind:
            _log.info("manifests sent whole", load=load, workers=sorted(behind))
            whole = await asyncio.to_thread(self._wanted, made, self._whole)
            again = {worker: whole[worker] for worker in behind & whole.keys()}
            also, _, more = await self._tell(load, again)
            wanted, done, trouble = wanted | again, done | also, trouble + more
        return {worker: wanted[worker] for worker in sorted(done)}, trouble

    def _wanted(
        self,
        made: Sequence[Making],
        how: Callable[[Making], Mapping[str, Manifest | Change]],
    ) -> Wanted:
        wanted: Wanted = {}
        for making in made:
            for worker, one in how(making).items():
                wanted[worker] = [*wanted.get(worker, ()), one]
        return wanted

    def _made(self, making: Making) -> Mapping[str, Manifest | Change]:
        """Return what a table's version adds; it is all where not all stays."""
        version = making.version
        if not making.base:
            return self._whole(making)
        # Of a million files that stay only this is read, and once.
        staying = self._store.keepers(version.release, version.table.name)
        return version.changes(making.base, staying, making.fresh)

    def _whole(self, making: Making) -> Mapping[str, Manifest]:
        version, going = making.version, making.going
        live = self._store.files(version.release, version.table.name)
        staying = (f for f in live if going is None or not going.takes(f.entry))
        return version.manifests([*staying, *making.fresh])

    async def _tell(
        self, load: str, wanted: Wanted
    ) -> tuple[frozenset[str], frozenset[str], str]:
        """Return who did, who lacks what is added to, and why others did not."""
        calls = [self._install(load, *each) for each in wanted.items()]
        # All are waited for: nobody installs after it was told to forget.
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        done, behind = set[str](), set[str]()
        trouble = ""
        for worker, outcome in zip(wanted, outcomes, strict=True):
            if isinstance(outcome, ClusterError):
                _log.warning(
                    "install skipped", worker=worker, load=load, why=str(outcome)
                )
                trouble += f"; {outcome.text}"
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                (done if outcome else behind).add(worker)
        return frozenset(done), frozenset(behind), trouble

    async def _install(
        self, load: str, worker: str, wanted: Sequence[Manifest | Change]
    ) -> bool:
        """Tell a worker; return whether it has what all this adds to."""
        member = self._members.get(worker)
        with answering(member):
            said = await member.stub.Install(_requests(load, wanted), timeout=_PATIENCE)
        return not said.unknown

    async def forget(self, workers: Iterable[str]) -> None:
        """Have workers forget the aborted loads that they have not forgotten yet.

        A worker that does not answer is asked again when it joins.
        """
        if self._store.ahead:
            # They may have been published after all.
            return
        await asyncio.gather(*(self._forget(worker) for worker in workers))

    async def _forget(self, worker: str) -> None:
        for load in await asyncio.to_thread(self._store.discards, worker):
            try:
                await self._discard(worker, load)
            except ClusterError as error:
                _log.warning(
                    "discard put off", worker=worker, load=load, why=str(error)
                )
                return
            except QservError as error:
                _log.error("discard refused", worker=worker, load=load, why=str(error))
            await asyncio.to_thread(self._store.discarded, load, worker)

    async def _discard(self, worker: str, load: str) -> None:
        member = self._members.get(worker)
        request = worker_pb2.DiscardRequest(transaction=load)
        with answering(member):
            await member.stub.Discard(request, timeout=_PATIENCE)


def _requests(
    load: str, wanted: Sequence[Manifest | Change]
) -> AsyncIterator[worker_pb2.InstallRequest]:
    return sent(
        wanted,
        lambda _, part: worker_pb2.InstallRequest(transaction=load, manifests=[part]),
    )
