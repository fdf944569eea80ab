"""Reads from the metadata which files are live, and who holds them."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import sqlalchemy as sa

from qserv.catalog import history
from qserv.catalog.publication import HeldFile

Tables = Mapping[str, sa.Table]


class Keepers(NamedTuple):
    """Who has a good copy of a file: as little of it as says what they can answer."""

    path: str
    chunk: int
    role: str
    workers: frozenset[str]


def files(
    connection: sa.Connection, tables: Tables, release: str, table: str
) -> tuple[HeldFile, ...]:
    """Return the live files of a table and who holds them; none for a new one.

    A file that nobody has a good copy of is one all the same: a list without it would
    pass for whole.
    """
    entries = tables["manifest_entry"]
    return tuple(
        HeldFile(name, history.entry(row), _workers(row.holders))
        for name, row in _live(connection, tables, release, table, *entries.c)
    )


def keepers(
    connection: sa.Connection, tables: Tables, release: str, table: str
) -> tuple[Keepers, ...]:
    """Return who holds the live files of a table; as `files`, an eighth of the time."""
    entries = tables["manifest_entry"].c
    told = (entries.path, entries.chunk, entries.role)
    return tuple(
        Keepers(path, chunk, role, _workers(holders))
        for _, (path, chunk, role, holders) in _live(
            connection, tables, release, table, *told
        )
    )


def _live(
    connection: sa.Connection,
    tables: Tables,
    release: str,
    table: str,
    *columns: sa.Column[Any],
) -> Iterator[tuple[str, Any]]:
    """Walk the live files of a table: its name, the columns, and who holds them."""
    entries, replicas = tables["manifest_entry"], tables["replica"]
    known = history.read_tables(connection, tables, release)
    if table.lower() not in known:
        return
    number, definition = known[table.lower()]
    good = sa.and_(replicas.c.entry_id == entries.c.id, replicas.c.state == "live")
    holders = sa.func.aggregate_strings(replicas.c.worker_id, "\n").label("holders")
    rows = connection.execute(
        sa.select(*columns, holders)
        .select_from(entries.outerjoin(replicas, good))
        .where(entries.c.table_id == number, entries.c.valid_to.is_(None))
        .group_by(entries.c.id)
        .order_by(entries.c.id)
    )
    for row in rows:
        yield definition.name, row


@lru_cache
def _workers(holders: str | None) -> frozenset[str]:
    # A million files have a few sets of workers: each is one object.
    return frozenset(holders.split("\n") if holders else ())
