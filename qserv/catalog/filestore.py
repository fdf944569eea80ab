"""Reads from the metadata which files are live, and who holds them."""

from collections.abc import Mapping

import sqlalchemy as sa

from qserv.catalog import history
from qserv.catalog.publication import HeldFile

Tables = Mapping[str, sa.Table]


def files(
    connection: sa.Connection, tables: Tables, release: str, table: str
) -> tuple[HeldFile, ...]:
    """Return the live files of a table and who holds them; none for a new one."""
    entries, replicas = tables["manifest_entry"], tables["replica"]
    known = history.read_tables(connection, tables, release)
    if table.lower() not in known:
        return ()
    table_id, definition = known[table.lower()]
    rows = connection.execute(
        sa.select(entries, replicas.c.worker_id)
        .join(replicas, replicas.c.entry_id == entries.c.id)
        .where(
            entries.c.table_id == table_id,
            entries.c.valid_to.is_(None),
            replicas.c.state == "live",
        )
        .order_by(entries.c.id)
    ).all()
    workers: dict[int, set[str]] = {}
    for row in rows:
        workers.setdefault(row.id, set()).add(row.worker_id)
    found = {row.id: history.entry(row) for row in rows}
    return tuple(
        HeldFile(definition.name, entry, frozenset(workers[number]))
        for number, entry in found.items()
    )
