"""Writes into the metadata how views come and go."""

from collections.abc import Mapping

import sqlalchemy as sa

from qserv.catalog.views import View
from qserv.errors import Conflict

Tables = Mapping[str, sa.Table]


def put(
    connection: sa.Connection, tables: Tables, number: int, release: str, view: View
) -> None:
    """Make a view live from a snapshot on; one of its name ends there.

    Raises
    ------
    Conflict
        If a table of the release has its name.
    """
    release_id = _release(connection, tables, release)
    known = tables["catalog_table"].c
    folded = view.name.lower()
    same = (known.release_id == release_id, known.folded == folded)
    if connection.execute(sa.select(known.id).where(*same)).first():
        raise Conflict(f"{release}.{view.name} is a table: give the view another name")
    _end(connection, tables, number, release_id, folded)
    views = tables["catalog_view"]
    highest = connection.execute(sa.select(sa.func.max(views.c.id))).scalar_one()
    connection.execute(
        sa.insert(views).values(
            id=(highest or 0) + 1,
            release_id=release_id,
            name=view.name,
            folded=folded,
            definition=view.text,
            description=view.description,
            valid_from=number,
        )
    )


def end(
    connection: sa.Connection, tables: Tables, number: int, release: str, name: str
) -> None:
    """End the life of a view at a snapshot."""
    release_id = _release(connection, tables, release)
    _end(connection, tables, number, release_id, name.lower())


def refuse(
    connection: sa.Connection, tables: Tables, release_id: int, name: str
) -> None:
    """Refuse a table that has the name of a view.

    Raises
    ------
    Conflict
        If it has.
    """
    live = _live(tables["catalog_view"], release_id, name.lower())
    if connection.execute(sa.select(sa.literal(1)).where(live)).first():
        raise Conflict(
            f"{name} is a view of this release: drop it, or give the table another name"
        )


def _release(connection: sa.Connection, tables: Tables, name: str) -> int:
    releases = tables["catalog_release"].c
    known = sa.select(releases.id).where(releases.folded == name.lower())
    return int(connection.execute(known).scalar_one())


def _end(
    connection: sa.Connection, tables: Tables, number: int, release_id: int, name: str
) -> None:
    views = tables["catalog_view"]
    live = _live(views, release_id, name)
    connection.execute(sa.update(views).where(live).values(valid_to=number))


def _live(views: sa.Table, release_id: int, name: str) -> sa.ColumnElement[bool]:
    return sa.and_(
        views.c.release_id == release_id,
        views.c.folded == name,
        views.c.valid_to.is_(None),
    )
