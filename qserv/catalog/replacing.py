"""What a load replaces: whole tables, or the files that earlier loads made of one.

What goes is decided when the load begins, and ends with its commit. Nothing is removed:
older snapshots read it as before. A whole table ends as if it was dropped, and one of
its name begins; of files that go their table stays what it is.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import sqlalchemy as sa

from qserv.catalog import history, tablestore
from qserv.catalog.bounds import Bounds, from_text, widened
from qserv.catalog.database import batches, integer
from qserv.catalog.provenance import Origin
from qserv.catalog.snapshot import ManifestEntry, Role, TableVersion
from qserv.errors import Conflict, InvalidRequest

Tables = Mapping[str, sa.Table]

_OWN = (Role.BASE, Role.DELTA)


@dataclass(frozen=True, slots=True)
class Replaced:
    """A table of which all or some goes when a load commits.

    Parameters
    ----------
    table
        Its name.
    loads
        Those whose files go; none: all goes, and the table may become another.
    kept
        Numbers of contributions whose rows the load brings again: they stay live.
    same_homes
        Whether the loader sees to it that each key that goes comes again at its home.
    version
        Of the table's list of files when the load began; 0 where there was none.
    versions, shards
        The versions that made the files that go, where not all goes; their shards of
        the index.
    rows, files, size
        How much goes.
    complete
        Whether every contribution whose rows go is kept.
    """

    table: str
    loads: tuple[str, ...] = ()
    kept: tuple[int, ...] = ()
    same_homes: bool = False
    version: int = 0
    versions: tuple[int, ...] = ()
    shards: tuple[int, ...] = ()
    rows: int = 0
    files: int = 0
    size: int = 0
    complete: bool = False

    @property
    def whole(self) -> bool:
        """Whether all goes."""
        return not self.loads

    def takes(self, entry: ManifestEntry) -> bool:
        """Whether a live file of the table goes."""
        return self.whole or entry.validity[0] in self.versions

    def ends(self, origin: Origin) -> bool:
        """Whether what brought live rows of the table is live no more."""
        goes = self.whole or origin.held in self.versions
        return goes and origin.number not in self.kept

    def rest(self, live: TableVersion) -> TableVersion | None:
        """Return what stays of the table, for those who look its keys up."""
        if self.whole:
            return None
        index = tuple(s for s in live.index if s.shard not in self.shards)
        return replace(live, rows=live.rows - self.rows, index=index)


def named(replaced: Iterable[Replaced]) -> dict[str, Replaced]:
    """Return what a load replaces by the lower-case names of the tables."""
    return {each.table.lower(): each for each in replaced}


def resolved(
    connection: sa.Connection, tables: Tables, release: str, asked: Replaced
) -> Replaced:
    """Find out what goes of a table as it is live now.

    Raises
    ------
    InvalidRequest
        If a load has no live file in it, or a contribution to be kept is not there.
    """
    known = history.read_tables(connection, tables, release)
    if asked.table.lower() not in known:
        return _absent(release, asked)
    table_id, definition = known[asked.table.lower()]
    version = _newest(connection, tables, table_id)
    kept = tuple(sorted(set(asked.kept)))
    found = replace(asked, table=definition.name, version=version, kept=kept)
    if not asked.whole:
        name = f"{release}.{definition.name}"
        versions = _versions(connection, tables, table_id, asked.loads, name)
        found = replace(found, versions=versions)
    return _counted(connection, tables, table_id, found)


def _absent(release: str, asked: Replaced) -> Replaced:
    if asked.loads or asked.kept:
        raise InvalidRequest(
            f"there is no table {release}.{asked.table}, of which something is to be "
            "replaced or kept"
        )
    return asked


def _newest(connection: sa.Connection, tables: Tables, table_id: int) -> int:
    versions = tables["table_version"].c
    newest = sa.select(sa.func.max(versions.version))
    found = connection.execute(newest.where(versions.table_id == table_id))
    return int(found.scalar_one())


def _versions(
    connection: sa.Connection,
    tables: Tables,
    table_id: int,
    loads: Collection[str],
    name: str,
) -> tuple[int, ...]:
    """Return the versions by which loads made what is live of a table.

    A load that read only files without rows made no file.
    """
    entries, snapshots = tables["manifest_entry"].c, tables["snapshot"].c
    brought = tables["contribution"].c
    files = sa.select(entries.valid_from).where(
        entries.table_id == table_id, entries.valid_to.is_(None)
    )
    inputs = sa.select(brought.held_since).where(
        brought.table_id == table_id, brought.valid_to.is_(None)
    )
    made = sa.or_(snapshots.id.in_(files), snapshots.id.in_(inputs))
    rows = connection.execute(
        sa.select(snapshots.load_id, snapshots.id).where(
            snapshots.load_id.in_(loads), made
        )
    ).all()
    if missing := set(loads) - {row.load_id for row in rows}:
        raise InvalidRequest(
            f"{name} has nothing live of load {', '.join(sorted(missing))}"
        )
    return tuple(sorted(row.id for row in rows))


def _counted(
    connection: sa.Connection, tables: Tables, table_id: int, found: Replaced
) -> Replaced:
    """Say how much goes, and whether all that brought it is kept."""
    entries = tables["manifest_entry"].c
    going = _going(tables["manifest_entry"], table_id, found)
    own = sa.case((entries.role.in_(_OWN), entries.live_rows), else_=0)
    sums = integer(_sum(own)), sa.func.count(), integer(_sum(entries.size))
    rows, files, size = connection.execute(sa.select(*sums).where(*going)).one()
    index = sa.select(entries.chunk).where(entries.role == Role.INDEX, *going)
    shards = connection.execute(index.order_by(entries.chunk)).scalars()
    return replace(
        found,
        rows=rows,
        files=files,
        size=size,
        shards=() if found.whole else tuple(shards),
        complete=_all_kept(found, _contributions(connection, tables, table_id, found)),
    )


def _all_kept(found: Replaced, going: Mapping[int, int]) -> bool:
    """Say whether all are kept that brought rows; going is number -> rows."""
    if strange := set(found.kept) - going.keys():
        raise InvalidRequest(
            f"contribution {min(strange)} of table {found.table} brought no rows that "
            "are replaced: it cannot be kept"
        )
    with_rows = {number for number, brought in going.items() if brought}
    return with_rows <= set(found.kept)


def _sum(of: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    return sa.func.coalesce(sa.func.sum(of), 0)


def _going(
    entries: sa.Table, table_id: int, found: Replaced
) -> list[sa.ColumnElement[bool]]:
    live = [entries.c.table_id == table_id, entries.c.valid_to.is_(None)]
    return live if found.whole else [*live, entries.c.valid_from.in_(found.versions)]


def _contributions(
    connection: sa.Connection, tables: Tables, table_id: int, found: Replaced
) -> dict[int, int]:
    """Return number -> rows of the contributions whose rows go."""
    rows = tables["contribution"].c
    wanted = sa.select(rows.id, rows.total_rows).where(
        rows.table_id == table_id, rows.valid_to.is_(None)
    )
    if not found.whole:
        wanted = wanted.where(rows.held_since.in_(found.versions))
    return {row[0]: row[1] for row in connection.execute(wanted)}


def end(
    connection: sa.Connection,
    tables: Tables,
    number: int,
    release: str,
    replaced: Sequence[Replaced],
) -> None:
    """End what a load replaces, at the snapshot that shows the load.

    Raises
    ------
    Conflict
        If a table is not what it was when the load began.
    """
    known = history.read_tables(connection, tables, release)
    for each in replaced:
        table_id = known[each.table.lower()][0] if each.table.lower() in known else None
        found = 0 if table_id is None else _newest(connection, tables, table_id)
        if found != each.version:
            raise changed(release, each)
        if each.whole and table_id is not None:
            tablestore.end(connection, tables, number, release, [each.table])
        elif table_id is not None:
            _end_files(connection, tables, number, table_id, each)


def changed(release: str, replaced: Replaced) -> Conflict:
    """Return the refusal to replace what a load did not know when it began."""
    return Conflict(
        f"table {release}.{replaced.table} changed while a load ran that replaces it: "
        "look at what it is now, and load again"
    )


def _end_files(
    connection: sa.Connection,
    tables: Tables,
    number: int,
    table_id: int,
    replaced: Replaced,
) -> None:
    entries, brought = tables["manifest_entry"], tables["contribution"]
    connection.execute(
        sa.update(entries)
        .where(*_going(entries, table_id, replaced))
        .values(valid_to=number)
    )
    connection.execute(
        sa.update(brought)
        .where(
            brought.c.table_id == table_id,
            brought.c.valid_to.is_(None),
            brought.c.held_since.in_(replaced.versions),
        )
        .values(valid_to=number)
    )


def keep(
    connection: sa.Connection,
    tables: Tables,
    number: int,
    table_id: int,
    kept: Sequence[int],
) -> None:
    """Say that the rows of contributions are live again, in files of a new version."""
    brought, before = tables["contribution"], tables["contribution_before"]
    columns = (brought.c.id, brought.c.table_id, brought.c.held_since)
    until = sa.literal(number, sa.BigInteger)
    values = {"table_id": table_id, "held_since": number, "valid_to": None}
    for some in batches(kept):
        mine = brought.c.id.in_(some)
        was = sa.select(*columns, until).where(mine)
        connection.execute(sa.insert(before).from_select(list(before.c), was))
        connection.execute(sa.update(brought).where(mine).values(values))


def go_back(
    connection: sa.Connection, tables: Tables, table_id: int, version: int
) -> None:
    """Say what brought the rows of a table as it was at an older version.

    Parameters
    ----------
    connection, tables
        Of the metadata.
    table_id, version
        Which; at version 0 there was no such table.
    """
    brought, snapshots = tables["contribution"], tables["snapshot"].c
    loaded = sa.select(snapshots.id).where(snapshots.load_id == brought.c.load_id)
    began = loaded.scalar_subquery()
    mine = brought.c.table_id == table_id
    _read_before(connection, tables, table_id, version)
    for which, values in (
        ((began > version,), {"valid_to": began}),
        (
            (began <= version, brought.c.valid_to > version),
            {"valid_to": _end_of(tables, table_id)},
        ),
        ((brought.c.held_since > version,), {"held_since": began}),
    ):
        connection.execute(sa.update(brought).where(mine, *which).values(values))


def _read_before(
    connection: sa.Connection, tables: Tables, table_id: int, version: int
) -> None:
    """Have contributions that were read again after a version where they were then."""
    brought, before = tables["contribution"], tables["contribution_before"]
    rows = connection.execute(
        sa.select(before)
        .join(brought, brought.c.id == before.c.contribution_id)
        .where(
            brought.c.table_id == table_id,
            brought.c.held_since > version,
            # All is older that another table held, which became this one.
            sa.or_(before.c.held_since <= version, before.c.table_id != table_id),
        )
        .order_by(before.c.held_until)
    )
    for number, was in {row.contribution_id: row for row in rows}.items():
        values = {
            "table_id": was.table_id,
            "held_since": was.held_since,
            "valid_to": _end_of(tables, was.table_id),
        }
        connection.execute(
            sa.update(brought).where(brought.c.id == number).values(values)
        )
        connection.execute(
            sa.delete(before).where(
                before.c.contribution_id == number,
                before.c.held_until >= was.held_until,
            )
        )


def _end_of(tables: Tables, table_id: int) -> sa.ScalarSelect[Any]:
    definitions = tables["catalog_table"].c
    ended = sa.select(definitions.valid_to).where(definitions.id == table_id)
    return ended.scalar_subquery()


def bounds_left(
    connection: sa.Connection, tables: Tables, table_id: int, number: int
) -> Bounds | None:
    """Return the bounds of the rows that a version has of those before it.

    None if it has none; of columns that are not known of all these rows nothing.
    """
    entries, versions = tables["manifest_entry"], tables["table_version"].c
    made = sa.select(entries.c.valid_from).where(
        entries.c.table_id == table_id,
        entries.c.role.in_(_OWN),
        entries.c.valid_from < number,
        history.live(entries, number),
    )
    texts = connection.execute(
        sa.select(versions.own_bounds)
        .where(versions.table_id == table_id, versions.version.in_(made))
        .order_by(versions.version)
    ).scalars()
    known: list[Bounds] = [from_text(text) for text in texts]
    return reduce(widened, known) if known else None
