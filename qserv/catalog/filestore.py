"""Reads from the metadata which files are live, and who holds them."""

from collections.abc import Mapping

import sqlalchemy as sa

from qserv.catalog import history
from qserv.catalog.publication import HeldFile

Tables = Mapping[str, sa.Table]


def files(
    connection: sa.Connection, tables: Tables, release: str, table: str
) -> tuple[HeldFile, ...]:
    """Return the live files of a table and who holds them; none for a new one.

    A file that nobody has a good copy of is one all the same: a list without it would
    pass for whole.
    """
    entries, replicas = tables["manifest_entry"], tables["replica"]
    known = history.read_tables(connection, tables, release)
    if table.lower() not in known:
        return ()
    table_id, definition = known[table.lower()]
    rows = connection.execute(
        sa.select(entries, replicas.c.worker_id)
        .join(
            replicas,
            sa.and_(replicas.c.entry_id == entries.c.id, replicas.c.state == "live"),
            isouter=True,
        )
        .where(entries.c.table_id == table_id, entries.c.valid_to.is_(None))
        .order_by(entries.c.id)
    ).all()
    workers: dict[int, set[str]] = {}
    for row in rows:
        holders = workers.setdefault(row.id, set())
        if row.worker_id is not None:
            holders.add(row.worker_id)
    found = {row.id: history.entry(row) for row in rows}
    return tuple(
        HeldFile(definition.name, entry, frozenset(workers[number]))
        for number, entry in found.items()
    )
