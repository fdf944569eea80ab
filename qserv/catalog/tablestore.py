"""Writes into the metadata how tables go: older snapshots keep what they show.

No file is touched, and none ends its life: whoever reads an older snapshot reads the
table's last version whole, and lost copies of it are made again, as before.
"""

from collections.abc import Iterable, Mapping

import sqlalchemy as sa

from qserv.catalog import history

Tables = Mapping[str, sa.Table]


def end(
    connection: sa.Connection,
    tables: Tables,
    number: int,
    release: str,
    names: Iterable[str],
) -> None:
    """End the life of tables at a snapshot; their names are free from then on.

    What brought their rows stays in the history, but no longer counts as live.

    Parameters
    ----------
    connection, tables
        Inside the transaction that makes the snapshot.
    number
        The snapshot, the first without them.
    release, names
        Which; in any case. One that is there no more has ended.
    """
    known = history.read_tables(connection, tables, release)
    for name in names:
        if name.lower() in known:
            end_one(connection, tables, number, known[name.lower()][0], name)


def end_one(
    connection: sa.Connection, tables: Tables, number: int, table_id: int, name: str
) -> None:
    """End the life of the table of an id in the metadata; parameters as of `end`."""
    rows, brought = tables["catalog_table"], tables["contribution"]
    gone = {"valid_to": number, "folded": f"{name.lower()}#{table_id}"}
    connection.execute(sa.update(rows).where(rows.c.id == table_id).values(gone))
    connection.execute(
        sa.update(brought)
        .where(brought.c.table_id == table_id, brought.c.valid_to.is_(None))
        .values(valid_to=number)
    )
