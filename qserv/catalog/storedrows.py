"""The own rows of a live table: the files that hold them, and what brought them."""

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from qserv.catalog import history
from qserv.catalog.database import batches
from qserv.catalog.snapshot import ManifestEntry, Role
from qserv.catalog.tables import Table
from qserv.errors import UnknownName

Tables = Mapping[str, sa.Table]


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of own rows, the workers with a good copy, and the load that made it."""

    entry: ManifestEntry
    workers: tuple[str, ...]
    load: str


@dataclass(frozen=True, slots=True)
class StoredContribution:
    """A file that brought live rows, and the load whose files hold them.

    Parameters
    ----------
    number, source, sha256
        As in `qserv.catalog.provenance.Contribution`.
    rows
        That it brought.
    load
        Not always the one that brought them: a later one may have read them again.
    """

    number: int
    source: str
    sha256: str
    rows: int
    load: str


@dataclass(frozen=True, slots=True)
class StoredRows:
    """The own rows of a table.

    Parameters
    ----------
    release
        In the catalog's spelling.
    table
        What it is.
    version
        Of its list of files.
    contributions, files
        What brought the rows, and what holds them.
    children
        Whether tables with rows name it as a director of theirs.
    """

    release: str
    table: Table
    version: int
    contributions: tuple[StoredContribution, ...]
    files: tuple[StoredFile, ...]
    children: bool


def stored_rows(
    connection: sa.Connection, tables: Tables, release: str, table: str
) -> StoredRows:
    """Read what there is of a table.

    Parameters
    ----------
    connection, tables
        Inside a transaction, so that all is of one moment.
    release, table
        Names, in any case.

    Raises
    ------
    UnknownName
        If there is no such table.
    """
    known = history.read_tables(connection, tables, release)
    if table.lower() not in known:
        names = ", ".join(sorted(each.name for _, each in known.values()))
        raise UnknownName(
            f"release {release} has no table {table}; it has: {names or 'none'}"
        )
    number, definition = known[table.lower()]
    releases = tables["catalog_release"].c
    name = connection.execute(
        sa.select(releases.name).where(releases.folded == release.lower())
    ).scalar_one()
    version, _ = _newest(connection, tables, number)
    return StoredRows(
        release=name,
        table=definition,
        version=version,
        contributions=_contributions(connection, tables, number),
        files=_files(connection, tables, number),
        children=any(
            _newest(connection, tables, child)[1]
            for child, each in known.values()
            if table.lower() in {director.lower() for _, director in each.links}
        ),
    )


def _newest(connection: sa.Connection, tables: Tables, number: int) -> tuple[int, int]:
    """Return the newest version of a table, and its rows."""
    versions = tables["table_version"].c
    row = connection.execute(
        sa.select(versions.version, versions.live_rows)
        .where(versions.table_id == number)
        .order_by(versions.version.desc())
        .limit(1)
    ).one()
    return row.version, row.live_rows


def _contributions(
    connection: sa.Connection, tables: Tables, number: int
) -> tuple[StoredContribution, ...]:
    brought, snapshots = tables["contribution"].c, tables["snapshot"]
    rows = connection.execute(
        sa.select(
            brought.id,
            brought.source,
            brought.sha256,
            brought.total_rows,
            snapshots.c.load_id,
        )
        .join(snapshots, snapshots.c.id == brought.held_since)
        .where(brought.table_id == number, brought.valid_to.is_(None))
        .order_by(brought.id)
    )
    return tuple(StoredContribution(*row) for row in rows)


def _files(
    connection: sa.Connection, tables: Tables, number: int
) -> tuple[StoredFile, ...]:
    entries, snapshots = tables["manifest_entry"], tables["snapshot"]
    rows = connection.execute(
        sa.select(entries, snapshots.c.load_id)
        .join(snapshots, snapshots.c.id == entries.c.valid_from)
        .where(
            entries.c.table_id == number,
            entries.c.valid_to.is_(None),
            entries.c.role.in_((Role.BASE, Role.DELTA)),
        )
        .order_by(entries.c.id)
    ).all()
    held = _held(connection, tables, [row.id for row in rows])
    return tuple(
        StoredFile(history.entry(row), tuple(held.get(row.id, ())), row.load_id)
        for row in rows
    )


def _held(
    connection: sa.Connection, tables: Tables, numbers: list[int]
) -> dict[int, list[str]]:
    replicas = tables["replica"].c
    found: dict[int, list[str]] = {}
    for some in batches(numbers):
        rows = connection.execute(
            sa.select(replicas.entry_id, replicas.worker_id)
            .where(replicas.entry_id.in_(some), replicas.state == "live")
            .order_by(replicas.entry_id, replicas.worker_id)
        )
        for entry, worker in rows:
            found.setdefault(entry, []).append(worker)
    return found
