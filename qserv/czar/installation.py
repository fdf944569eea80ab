"""Makes a load durable on its workers, or has them forget it."""

import asyncio
from collections import Counter, defaultdict
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
from qserv.catalog.snapshot import EVERYWHERE, Family, ManifestEntry, Role
from qserv.catalog.store import Store
from qserv.catalog.tables import Table
from qserv.czar.answering import answering
from qserv.czar.members import Members
from qserv.errors import ClusterError, QservError, WorkerUnavailable
from qserv.ingest.manifests import Change, sent
from qserv.storage.manifest import Manifest
from qserv.telemetry import logger
from qserv.wire.v1 import worker_pb2

_log = logger(__name__)

_PATIENCE: Final = 600.0
"""Seconds that a worker may take to install or discard one load."""


def family_workers(family: Family) -> list[str]:
    """Return the ids of all workers that hold anything of a family, sorted."""
    return sorted({w for workers in family.replicas.values() for w in workers})


def manifests(
    load: str,
    *,
    release: str,
    table: Table,
    version: int,
    family: Family,
    files: Collection[HeldFile],
) -> dict[str, Manifest]:
    """Return what each worker shall keep of a table at a version.

    Parameters
    ----------
    load
        That makes the version.
    release, table, version, family
        What the manifests are of.
    files
        All files of the table that are live then, on whatever worker.

    Notes
    -----
    They name only chunks of which a worker holds every file, so that it refuses the
    others: half a chunk would be a wrong answer. One walk serves all workers.
    """
    placed = {
        chunk: set(workers)
        for chunk, workers in family.replicas.items()
        if (chunk != EVERYWHERE) == table.partitioned
    }
    held: dict[str, list[ManifestEntry]] = defaultdict(list)
    # In an order of their own: a czar that goes on with a commit makes the same again.
    for file in sorted(files, key=lambda file: file.entry.path):
        for worker in file.workers:
            held[worker].append(file.entry)
        if file.entry.role is not Role.INDEX and file.entry.chunk in placed:
            placed[file.entry.chunk] &= file.workers
    chunks: dict[str, list[int]] = defaultdict(list)
    for chunk in sorted(placed):
        for worker in placed[chunk]:
            chunks[worker].append(chunk)
    return {
        worker: Manifest(
            release=release,
            table=table.name,
            version=version,
            tree_version=family.tree_version,
            transaction=load,
            chunks=tuple(chunks[worker]),
            entries=tuple(held[worker]),
        )
        for worker in sorted(held.keys() | set(family_workers(family)))
    }


def check_copies(files: Iterable[HeldFile], copies: int) -> None:
    """Refuse files that too few workers keep: losing one could lose rows.

    Raises
    ------
    WorkerUnavailable
        If one is such; names it.
    """
    for file in files:
        if len(file.workers) < copies:
            raise WorkerUnavailable(
                f"{file.entry.path} is kept by {len(file.workers)} workers of "
                f"{copies} that it needs"
            )


def check_chunks(
    family: Family,
    tables: Collection[Table],
    kept: Mapping[str, Iterable[Manifest]],
) -> None:
    """Refuse a version that could not be read whole.

    Parameters
    ----------
    family, tables
        What the version is of.
    kept
        Worker -> its manifests of these tables.

    Raises
    ------
    WorkerUnavailable
        If no worker keeps a chunk of all the tables; names it.
    """
    cut = sum(table.partitioned for table in tables)
    covered: set[int] = set()
    whole: set[str] = set()
    for worker, made in kept.items():
        counts = Counter(chunk for manifest in made for chunk in manifest.chunks)
        if counts.pop(EVERYWHERE, 0) == len(tables) - cut:
            whole.add(worker)
            covered |= {chunk for chunk, count in counts.items() if count == cut}
    for chunk in family.tree.chunks.tolist():
        holders = family.replicas[chunk]
        if chunk not in covered if cut else whole.isdisjoint(holders):
            raise WorkerUnavailable(
                f"no live worker keeps chunk {chunk} of family {family.name} whole: "
                f"{', '.join(holders)} shall"
            )


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
        live = {
            table.name: await asyncio.to_thread(
                self._staying, release, table.name, going.get(table.name.lower())
            )
            for table in tables
        }
        for file in fresh:
            live[file.table] += (file,)
        holders = {worker for file in fresh for worker in file.workers}
        made = [
            await asyncio.to_thread(
                manifests,
                load,
                release=release,
                table=table,
                version=version,
                family=family,
                files=live[table.name],
            )
            for table in tables
        ]
        wanted = {
            worker: [of[worker] for of in made if worker in of]
            for worker in sorted(holders.union(family_workers(family)))
        }
        bases = self._bases(release, tables, going)
        done, trouble = await self._all(load, wanted, bases)
        held = tuple(replace(file, workers=file.workers & done) for file in fresh)
        kept = {worker: wanted[worker] for worker in done}
        try:
            check_copies(held, copies)
            check_chunks(family, tables, kept)
        except WorkerUnavailable as error:
            raise WorkerUnavailable(f"{error.text}{trouble}") from None
        return held

    def _staying(
        self, release: str, table: str, going: Replaced | None
    ) -> tuple[HeldFile, ...]:
        """Return the live files of a table that do not go."""
        live = self._store.files(release, table)
        return tuple(f for f in live if going is None or not going.takes(f.entry))

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

    async def _all(
        self,
        load: str,
        wanted: Mapping[str, list[Manifest]],
        bases: Mapping[str, int],
    ) -> tuple[frozenset[str], str]:
        """Have all workers install; return which did, and why others did not."""
        calls = [
            self._install(load=load, worker=w, wanted=m, bases=bases)
            for w, m in wanted.items()
        ]
        # All are waited for: nobody installs after it was told to forget.
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        done, trouble = set(), ""
        for worker, outcome in zip(wanted, outcomes, strict=True):
            if outcome is None:
                done.add(worker)
            elif isinstance(outcome, ClusterError):
                _log.warning(
                    "install skipped", worker=worker, load=load, why=str(outcome)
                )
                trouble += f"; {outcome.text}"
            else:
                raise outcome
        return frozenset(done), trouble

    async def _install(
        self,
        worker: str,
        load: str,
        wanted: Sequence[Manifest],
        bases: Mapping[str, int],
    ) -> None:
        """Tell a worker what is new; all, if it has not what that is added to."""
        member = self._members.get(worker)
        changes = [
            Change(each, base) if (base := bases.get(each.table)) else each
            for each in wanted
        ]
        with answering(member):
            said = await member.stub.Install(
                _requests(load, changes), timeout=_PATIENCE
            )
            if said.unknown:
                _log.info("manifests sent whole", worker=worker, tables=[*said.unknown])
                whole = _requests(load, wanted)
                await member.stub.Install(whole, timeout=_PATIENCE)

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
