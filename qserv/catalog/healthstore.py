"""What the metadata says of itself, when a cluster is checked."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import sqlalchemy as sa

from qserv.catalog.health import LoadFacts, TableFacts
from qserv.catalog.snapshot import Role, Snapshot, TableVersion
from qserv.catalog.tables import TableKind

Tables = Mapping[str, sa.Table]

_NAMED: Final = 10
_MANY: Final = 12
"""Chunks with rows from which on some rows must lie near a border."""


def trouble(connection: sa.Connection, tables: Tables) -> list[str]:
    """Return what the database finds wrong with itself; reads all of it."""
    if connection.dialect.name != "sqlite":
        # Keys are kept by the server; what is left is that all can be read.
        for table in tables.values():
            connection.execute(sa.select(sa.func.count()).select_from(table))
        return []
    found = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
    strays = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    counts = Counter(
        f"rows of {row[0]} refer to {row[2]} that are gone" for row in strays
    )
    return [
        *(f"the database is damaged: {text}" for text in found if text != "ok"),
        *(f"{count} {what}" for what, count in sorted(counts.items())),
    ]


def table_facts(
    connection: sa.Connection, tables: Tables, snapshot: Snapshot
) -> list[TableFacts]:
    """Return what is known of all tables; `TableFacts.lists` is left empty."""
    files = _files(connection, tables)
    facts = []
    for release in snapshot.releases.values():
        copies = snapshot.families[release.family].copies
        for version in release.tables.values():
            of_table = files.get((release.name, version.table.name), [])
            facts.append(_facts(version, of_table, copies))
    return facts


def open_loads(
    connection: sa.Connection, tables: Tables, lease: float
) -> list[LoadFacts]:
    """Return the loads that are neither committed nor aborted."""
    loads, open_ones = tables["load"], tables["open_load"]
    rows = connection.execute(
        sa.select(loads.c.id, loads.c.release_name, open_ones.c.heard)
        .join(open_ones, open_ones.c.load_id == loads.c.id)
        .order_by(loads.c.id)
    )
    now = datetime.now(UTC)
    return [
        LoadFacts(
            row.id,
            row.release_name,
            (now - datetime.fromisoformat(row.heard)).total_seconds(),
            lease,
        )
        for row in rows
    ]


def discards(connection: sa.Connection, tables: Tables) -> dict[str, int]:
    """Return worker -> how many aborted loads it has yet to forget."""
    rows = tables["discard"].c
    counted = sa.select(rows.worker_id, sa.func.count()).group_by(rows.worker_id)
    return {worker: int(count) for worker, count in connection.execute(counted)}


# Role, path, live rows and good copies of a file.
_File = tuple[str, str, int, int]


def _files(
    connection: sa.Connection, tables: Tables
) -> dict[tuple[str, str], list[_File]]:
    entries, replicas = tables["manifest_entry"], tables["replica"]
    definitions, releases = tables["catalog_table"], tables["catalog_release"]
    good = sa.case((replicas.c.state == "live", 1), else_=0)
    rows = connection.execute(
        sa.select(
            releases.c.name.label("release"),
            definitions.c.name,
            entries.c.role,
            entries.c.path,
            entries.c.live_rows,
            sa.func.sum(good).label("copies"),
        )
        .join(definitions, definitions.c.id == entries.c.table_id)
        .join(releases, releases.c.id == definitions.c.release_id)
        .join(replicas, replicas.c.entry_id == entries.c.id, isouter=True)
        .where(entries.c.valid_to.is_(None), definitions.c.valid_to.is_(None))
        .group_by(
            releases.c.name,
            definitions.c.name,
            entries.c.role,
            entries.c.path,
            entries.c.live_rows,
        )
        .order_by(entries.c.path)
    )
    found = defaultdict(list)
    for release, table, role, path, live_rows, copies in rows:
        found[release, table].append((role, path, live_rows, int(copies)))
    return found


def _facts(version: TableVersion, files: list[_File], wanted: int) -> TableFacts:
    rows = Counter[str]()
    for role, _, live_rows, _ in files:
        rows[role] += live_rows
    has_index = bool(version.index) or version.table.kind is TableKind.DIRECTOR
    cut = version.table.kind is TableKind.DIRECTOR
    borders = cut and version.statistics.chunks.size >= _MANY
    return TableFacts(
        release=version.release,
        table=version.table.name,
        version=version.manifest_version,
        rows=version.rows,
        counted=rows[Role.BASE] + rows[Role.DELTA],
        indexed=rows[Role.INDEX] if has_index else None,
        overlap=rows[Role.OVERLAP] > 0 if borders else None,
        copies=Counter(copies for *_, copies in files),
        wanted=wanted,
        lost=tuple(path for _, path, _, copies in files if not copies)[:_NAMED],
    )
