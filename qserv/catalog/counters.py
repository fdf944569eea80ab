"""Numbers that are given once in the life of a cluster."""

from collections.abc import Mapping

import sqlalchemy as sa

Tables = Mapping[str, sa.Table]


def reserve(connection: sa.Connection, tables: Tables, what: str, count: int) -> int:
    """Take numbers; whoever asks next gets the ones after them.

    Parameters
    ----------
    connection, tables
        Inside a transaction.
    what
        A counter of the cluster: ``contributions`` (the last number of an input file),
        ``shards`` (how many index shards there were).
    count
        How many to take.

    Returns
    -------
    int
        The counter as it was before.
    """
    cluster = tables["cluster"]
    counter = cluster.c[what]
    connection.execute(sa.update(cluster).values({what: counter + count}))
    return int(connection.execute(sa.select(counter)).scalar_one()) - count
