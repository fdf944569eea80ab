"""The commit of one load: compared with what is live by then, installed, published.

Loads run beside each other, and each was begun against what was live then. So its
commit, one at a time, compares again: tables that went or changed, contents that
another load brought, keys that it has not seen. What workers install is what is live
now and what the load adds.
"""

import asyncio
from collections.abc import Collection, Container, Mapping

from qserv.catalog import loadhistory, loadstore
from qserv.catalog.provenance import Origin
from qserv.catalog.publication import Publication
from qserv.catalog.replacing import named
from qserv.catalog.snapshot import Family, Snapshot, TableVersion
from qserv.catalog.store import Store
from qserv.catalog.tables import Table
from qserv.czar import contents
from qserv.czar.beginning import Target, target
from qserv.czar.installation import Installation
from qserv.czar.openload import Committed, OpenLoad, Wanted, held
from qserv.czar.replacing import Replacing, check_same
from qserv.errors import Conflict, InvalidRequest
from qserv.failpoint import reached
from qserv.ingest import transaction as life
from qserv.ingest.events import Installed, Published, Skipped


def newer(
    load: OpenLoad, wanted: Wanted, snapshot: Snapshot
) -> tuple[TableVersion, ...]:
    """Return the tables whose keys changed since the loader compared with them.

    Parameters
    ----------
    load, wanted
        The load, and what is to be committed.
    snapshot
        The newest.

    Raises
    ------
    Conflict
        If a table that the load builds on is no more, or one that it replaces is not
        what it was.
    """
    check_same(load.target, snapshot)
    release = snapshot.releases.get(load.target.release.lower())
    live = release.tables if release else {}
    # What is replaced did not change: its keys are compared with what stays of it.
    going = named(load.target.replaces)
    told = _folded(load.told, going)
    checked = _folded(wanted.checked, going)
    for name, version in (told | checked).items():
        if version and name not in live:
            raise Conflict(
                f"table {load.target.release}.{name} was dropped while load {load.id} "
                "ran: begin a new one"
            )
    filled = _folded(wanted.rows, going)
    names = {t.name.lower() for t in load.target.tables if t.indexed} & {
        name for name, rows in filled.items() if rows
    }
    seen = told | checked
    return tuple(
        live[name]
        for name in sorted(names | checked.keys())
        if name in live and live[name].manifest_version > seen.get(name, 0)
    )


def _folded(values: Mapping[str, int], without: Container[str]) -> dict[str, int]:
    return {k.lower(): v for k, v in values.items() if k.lower() not in without}


class Committing:
    """Commits loads; its caller sees to it that there is one at a time.

    Parameters
    ----------
    store
        The metadata.
    installation
        Calls the workers.
    replacing
        Knows what may be replaced.
    """

    def __init__(
        self, *, store: Store, installation: Installation, replacing: Replacing
    ) -> None:
        self._store = store
        self._installation = installation
        self._replacing = replacing

    async def run(self, load: OpenLoad) -> Committed:
        """Commit a load whose state says so.

        Raises
        ------
        Conflict
            If it does not go together with what is live by now.
        ClusterError
            If too few workers can install it now.
        """
        assert load.wanted is not None, "a load that commits was asked to"
        if done := await asyncio.to_thread(self._done, load.id):
            return Committed(done)
        self._store.check_newest()
        snapshot = self._store.snapshot()
        if compare := newer(load, load.wanted, snapshot):
            return Committed(newer=compare)
        await self._replacing.check(load.target, snapshot, load.wanted.rows)
        tables, family = _tables(load, snapshot), _family(load, snapshot)
        await self._check_contents(load)
        resumed = load.version is not None
        version = await self._version(load)
        try:
            return await self._publish(load, tables, family, version)
        except Conflict:
            if not resumed:
                raise
            # What a czar before this one had workers install is not what they would
            # keep now, for a copy was lost or made meanwhile: it takes a new number,
            # and they forget what has the old one.
            load.version = None
            version = await self._version(load)
            return await self._publish(load, tables, family, version)

    def _done(self, load: str) -> int:
        """Return the snapshot of a commit whose answer the metadata did not give."""
        with self._store.reading() as connection:
            (past,) = loadhistory.loads(connection, self._store.tables, load=load)
        if past.snapshot is not None:
            self._store.refreshed()
        return past.snapshot or 0

    async def _check_contents(self, load: OpenLoad) -> None:
        release, read = load.target.release, load.contributions
        with_rows = [(each.table, each.sha256) for each in read if each.rows]

        def live() -> dict[tuple[str, str], Origin]:
            with self._store.reading() as connection:
                tables = self._store.tables
                return loadhistory.origins(connection, tables, release, with_rows)

        found = load.target.staying(await asyncio.to_thread(live))
        contents.admit(release, read, here={}, live=found)

    async def _version(self, load: OpenLoad) -> int:
        """Return the number of its manifests: the same one after a crash."""
        if load.version is None:
            load.version = await asyncio.to_thread(self._numbered, load.id)
        reached("czar.commit.numbered")
        return load.version

    def _numbered(self, load: str) -> int:
        version = self._store.allocate()
        with self._store.writing() as connection:
            loadstore.change(connection, self._store.tables, load, version=version)
        return version

    async def _publish(
        self, load: OpenLoad, tables: tuple[Table, ...], family: Family, version: int
    ) -> Committed:
        assert load.wanted is not None
        assert load.placed is not None
        release = load.target.release
        fresh = await self._installation.install(
            load.id,
            release=release,
            tables=tables,
            version=version,
            family=family,
            files=[held(file) for file in load.transaction.files.values()],
            replaces=load.target.replaces,
            copies=load.placed.copies,
        )
        reached("czar.commit.installed")
        self._reported(load, {worker for file in fresh for worker in file.workers})
        publication = Publication(
            load=load.id,
            version=version,
            release=release,
            family=family,
            replicas=load.target.layout.replicas,
            tables=tables,
            files=fresh,
            contributions=load.contributions,
            bounds=load.wanted.bounds,
            replaces=load.target.replaces,
            radii=load.target.radii,
        )
        snapshot = await asyncio.to_thread(self._store.publish, publication)
        reached("czar.commit.published")
        event = Published(snapshot.id)
        load.transaction, _ = life.step(load.transaction, event)
        return Committed(snapshot.id)

    def _reported(self, load: OpenLoad, done: Collection[str]) -> None:
        for worker in sorted(load.transaction.installers):
            event = Installed(worker) if worker in done else Skipped(worker)
            load.transaction, _ = life.step(load.transaction, event)


def _tables(load: OpenLoad, snapshot: Snapshot) -> tuple[Table, ...]:
    """Return the tables that get a new version: those with new files, and new ones.

    What is replaced gets one, too, even if nothing comes in its place.
    """
    tables = _as_begun(load, snapshot).tables
    release = snapshot.releases.get(load.target.release.lower())
    live = release.tables if release else {}
    filled = {file.table.lower() for file in load.transaction.files.values()}
    filled |= named(load.target.replaces).keys()
    return tuple(
        table
        for table in tables
        if table.name.lower() in filled or table.name.lower() not in live
    )


def _as_begun(load: OpenLoad, snapshot: Snapshot) -> Target:
    """Return what the load goes into by now, if it is made for that."""
    try:
        now = target(load.asked, snapshot, replicas=load.asked.replicas)
    except InvalidRequest as error:
        raise Conflict(f"another load came first: {error.text}") from error
    if (now.tables, now.radii) != (load.target.tables, load.target.radii):
        names = ", ".join(f"{now.release}.{table.name}" for table in now.tables)
        raise Conflict(
            f"another load came first: of {names} it made one of another overlap, or "
            f"that is spelled or described otherwise than load {load.id} has it: begin "
            "a new one"
        )
    return now


def _family(load: OpenLoad, snapshot: Snapshot) -> Family:
    """Return the family as it is by now, or as the load makes it."""
    assert load.placed is not None, "a load that commits was placed"
    family = load.placed.family
    same = (f for f in snapshot.families.values() if f.name == family.name)
    live = next(same, None)
    before = load.target.layout.existing if load.placed.made else family
    if (live and live.tree_version) != (before and before.tree_version):
        raise Conflict(
            f"family {family.name} was cut anew while load {load.id} ran: begin a new "
            "one"
        )
    return family if live is None or load.placed.made else live
