"""Reads from the metadata which files are live, and who holds them."""

from collections import defaultdict
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
    live = sa.and_(entries.c.table_id == table_id, entries.c.valid_to.is_(None))
    workers = _holders(connection, entries, replicas, live)
    nobody: frozenset[str] = frozenset()
    rows = connection.execute(sa.select(entries).where(live).order_by(entries.c.id))
    return tuple(
        HeldFile(definition.name, history.entry(row), workers.get(row.id, nobody))
        for row in rows
    )


def _holders(
    connection: sa.Connection,
    entries: sa.Table,
    replicas: sa.Table,
    live: sa.ColumnElement[bool],
) -> dict[int, frozenset[str]]:
    """Return file -> the workers that have a good copy."""
    found: dict[int, list[str]] = defaultdict(list)
    good = sa.select(replicas.c.entry_id, replicas.c.worker_id).join(
        entries, replicas.c.entry_id == entries.c.id
    )
    for number, worker in connection.execute(
        good.where(live, replicas.c.state == "live")
    ):
        found[number].append(worker)
    # Equal sets are one object: a million files have a few of them.
    shared: dict[frozenset[str], frozenset[str]] = {}
    sets = {number: frozenset(names) for number, names in found.items()}
    return {number: shared.setdefault(each, each) for number, each in sets.items()}
