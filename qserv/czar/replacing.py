"""Whether a load may replace tables: what reads them, and what changed meanwhile.

It is asked when a load begins, so that nobody loads in vain, and again at its commit,
between other commits. A director goes only together with the tables that name it, for
their rows lie where its keys were; it may go alone if the same rows come again.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from qserv.catalog import replacing
from qserv.catalog.replacing import Replaced, named
from qserv.catalog.snapshot import (
    ChunkStatistics,
    Release,
    Snapshot,
    TableVersion,
)
from qserv.catalog.store import Store
from qserv.catalog.tables import Table
from qserv.czar.beginning import Beginning, Target
from qserv.errors import Conflict, InvalidRequest

Broken = Callable[[Snapshot, Snapshot], Iterable[tuple[str, str]]]
"""Given what is and what would be, names the views that break, and says why."""


def children(home: Release, director: str) -> tuple[str, ...]:
    """Return the tables that name a table as a director of theirs."""
    return tuple(
        version.table.name
        for version in home.tables.values()
        if director.lower() in {name.lower() for _, name in version.table.links}
    )


def check_same(target: Target, snapshot: Snapshot) -> None:
    """Refuse to replace tables that changed since the load began.

    Raises
    ------
    Conflict
        If one did.
    """
    for each in _changed(target, snapshot):
        raise replacing.changed(target.release, each)


def is_same(target: Target, snapshot: Snapshot) -> bool:
    """Whether what a load replaces is what it was when it began."""
    return not any(_changed(target, snapshot))


def _changed(target: Target, snapshot: Snapshot) -> Iterator[Replaced]:
    live = _live(target.release, snapshot)
    for each in target.replaces:
        version = live.get(each.table.lower())
        if (version.manifest_version if version else 0) != each.version:
            yield each


def check_children(
    target: Target, snapshot: Snapshot, rows: Mapping[str, int] | None = None
) -> None:
    """Refuse directors whose children would lie where no key of theirs is.

    Parameters
    ----------
    target
        What is loaded.
    snapshot
        The newest.
    rows
        New rows by table; None while they are not known.

    Raises
    ------
    Conflict
        If one is such; names them.
    """
    home = snapshot.releases.get(target.release.lower())
    going = named(target.replaces)
    for each in target.replaces if home else ():
        assert home is not None
        left = [
            name
            for name in children(home, each.table)
            if not (name.lower() in going and going[name.lower()].whole)
            and (each.whole or home.tables[name.lower()].rows)
        ]
        if left and not _comes_again(each, rows):
            full = ", ".join(f"{home.name}.{name}" for name in left)
            raise Conflict(
                f"{home.name}.{each.table} is the director of {full}, whose rows lie "
                "where its keys are: replace them by the same load, or drop them first"
            )


def _comes_again(replaced: Replaced, rows: Mapping[str, int] | None) -> bool:
    """Whether the rows that go are those that come, as far as is known.

    Of keys that come again at their homes the loader makes sure, who knows them.
    """
    if replaced.same_homes:
        return True
    if not replaced.complete or rows is None:
        return replaced.complete
    name = replaced.table.lower()
    return replaced.rows == sum(n for table, n in rows.items() if table.lower() == name)


class Replacing:
    """Asks the metadata and the views what a load may replace.

    Parameters
    ----------
    store
        The metadata.

    Attributes
    ----------
    broken
        Names the views that a change would break.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.broken: Broken = _none

    async def resolved(self, asked: Beginning) -> Beginning:
        """Return what a loader asks for with what would go now.

        Raises
        ------
        InvalidRequest
            If it cannot be said what goes.
        """
        if not asked.replaces:
            return asked
        names = {table.name.lower() for table in asked.tables}
        if strange := named(asked.replaces).keys() - names:
            raise InvalidRequest(
                f"a load replaces {min(strange)}, which is not among its tables"
            )
        return replace(asked, replaces=await asyncio.to_thread(self._resolved, asked))

    def _resolved(self, asked: Beginning) -> tuple[Replaced, ...]:
        with self._store.reading() as connection:
            return tuple(
                replacing.resolved(connection, self._store.tables, asked.release, each)
                for each in asked.replaces
            )

    async def check(
        self, target: Target, snapshot: Snapshot, rows: Mapping[str, int] | None = None
    ) -> None:
        """Refuse what must not be replaced; parameters as of `check_children`.

        Raises
        ------
        Conflict
            If a table changed since the load began, or other tables or views need it.
        """
        if target.replaces:
            check_same(target, snapshot)
            check_children(target, snapshot, rows)
            await asyncio.to_thread(self._check_views, target, snapshot)

    def _check_views(self, target: Target, snapshot: Snapshot) -> None:
        home = snapshot.releases.get(target.release.lower())
        others = dict(_others(target, snapshot))
        if home is None or not others:
            return
        changed = replace(home, tables={**home.tables, **others})
        releases = {**snapshot.releases, home.name.lower(): changed}
        after = replace(snapshot, releases=releases)
        if broken := [f"{v}: {why}" for v, why in self.broken(snapshot, after)]:
            names = ", ".join(f"{home.name}.{v.table.name}" for v in others.values())
            raise Conflict(
                f"{names} cannot be replaced by a table of other columns, for views "
                f"could not be read any more: {'; '.join(broken)}; drop or replace "
                "them first"
            )


def _others(target: Target, snapshot: Snapshot) -> Iterator[tuple[str, TableVersion]]:
    """Give the tables that become others, without rows."""
    going, live = named(target.replaces), _live(target.release, snapshot)
    for table in target.tables:
        name = table.name.lower()
        if name in going and name in live and live[name].table != table:
            yield name, _empty(live[name], table)


def _empty(live: TableVersion, table: Table) -> TableVersion:
    nothing = np.array([], np.int64)
    return TableVersion(
        release=live.release,
        table=table,
        manifest_version=live.manifest_version,
        rows=0,
        statistics=ChunkStatistics(nothing, nothing, nothing),
    )


def _live(release: str, snapshot: Snapshot) -> Mapping[str, TableVersion]:
    home = snapshot.releases.get(release.lower())
    return home.tables if home else {}


def _none(_: Snapshot, __: Snapshot) -> tuple[tuple[str, str], ...]:
    return ()
