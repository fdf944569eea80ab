"""All rows of the metadata, to be compared."""

import sqlalchemy as sa

OWN = {"format", "cluster"}
"""What belongs to one database: formats with their dates, numbers that only grow."""


def dump(store, without=(), ignored=()):
    """Return table -> its rows as dictionaries, but for some tables and columns."""
    found = {}
    with store.reading() as connection:
        for name, table in store.tables.items():
            if name in OWN or name in without:
                continue
            rows = connection.execute(sa.select(table)).mappings()
            plain = [{k: v for k, v in row.items() if k not in ignored} for row in rows]
            found[name] = sorted(plain, key=repr)
    return found
