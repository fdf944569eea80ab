"""Tables are dropped: what reads them is asked first, older snapshots keep them.

Nothing changes on a worker, no file goes. It happens between two commits, so that
nothing changes meanwhile and the numbers of snapshots come in order.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace

from qserv.catalog import system
from qserv.catalog.snapshot import Release, Snapshot
from qserv.catalog.store import Store
from qserv.czar.installation import Installation
from qserv.czar.loads import Loads
from qserv.czar.replacing import children
from qserv.czar.views import Views
from qserv.errors import Conflict, UnknownName
from qserv.telemetry import logger

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Dropped:
    """What went.

    Parameters
    ----------
    snapshot
        The first without the tables.
    names
        Of the tables, in the catalog's spelling.
    """

    snapshot: int
    names: tuple[str, ...]


class Dropping:
    """Drops tables.

    Parameters
    ----------
    store
        The metadata.
    loads
        The loads, which make snapshots too.
    views
        The views, which read tables.
    installation
        Has workers remember what is live.
    """

    def __init__(
        self, *, store: Store, loads: Loads, views: Views, installation: Installation
    ) -> None:
        self._store = store
        self._loads = loads
        self._views = views
        self._installation = installation

    async def drop(
        self, release: str, name: str, *, with_children: bool = False
    ) -> Dropped:
        """Drop a table, whole; the files that brought its rows may be loaded again.

        Parameters
        ----------
        release, name
            Which, in any case.
        with_children
            Whether the tables that name it as their director go, too.

        Raises
        ------
        UnknownName
            If there is no such table.
        Conflict
            If other tables, views or open loads need it.
        """
        return await self._views.whole(self._drop(release, name, with_children))

    async def _drop(self, release: str, name: str, with_children: bool) -> Dropped:
        async with self._loads.one_commit:
            system.check_release(release)
            snapshot = self._store.snapshot()
            home = snapshot.release(release)
            names = self._going(snapshot, home, name, with_children=with_children)
            self._check_loads(home, names)
            await asyncio.to_thread(self._check_views, snapshot, home, names)
            fresh = await asyncio.to_thread(self._store.drop_tables, home.name, names)
            # What no worker remembers would come back if the metadata were rebuilt.
            await self._installation.remember()
        _log.info("tables dropped", tables=_full(home, names), snapshot=fresh.id)
        return Dropped(fresh.id, names)

    def _going(
        self, snapshot: Snapshot, home: Release, name: str, *, with_children: bool
    ) -> tuple[str, ...]:
        """Return the names of a table and, if they go too, of its children."""
        if name.lower() in home.views:
            raise UnknownName(
                f"{home.name}.{name} is a view: it is dropped by qserv view drop, or "
                "drop_view"
            )
        table = snapshot.table(home.name, name).table
        their = children(home, table.name)
        if their and not with_children:
            raise Conflict(
                f"{home.name}.{table.name} is the director of "
                f"{_full(home, their)}: drop them first, or ask to drop them too "
                "(--with-children, with_children=True)"
            )
        return table.name, *their

    def _check_loads(self, home: Release, names: Iterable[str]) -> None:
        for name in names:
            if (load := self._loads.making(home.name, name)) is not None:
                raise Conflict(
                    f"load {load} goes into {home.name}.{name} or its children: wait "
                    f"for its end, or end it (qserv loads abort {load})"
                )

    def _check_views(
        self, snapshot: Snapshot, home: Release, names: Iterable[str]
    ) -> None:
        gone = {name.lower() for name in names}
        rest = {k: table for k, table in home.tables.items() if k not in gone}
        without = {home.name.lower(): replace(home, tables=rest)}
        after = replace(snapshot, releases={**snapshot.releases, **without})
        if broken := [view for view, _ in self._views.broken(snapshot, after)]:
            raise Conflict(
                f"{_full(home, names)} is read by the views {', '.join(broken)}: drop "
                "or replace them first"
            )


def _full(home: Release, names: Iterable[str]) -> str:
    return ", ".join(f"{home.name}.{name}" for name in names)
