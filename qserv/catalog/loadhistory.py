"""What became of loads, and which files brought the rows that are live."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from qserv.catalog import history
from qserv.catalog.database import batches, integer
from qserv.catalog.provenance import Contribution, Origin

Tables = Mapping[str, sa.Table]

LAST: Final = 20
"""Loads that ended which a list shows if it is not asked for all."""


@dataclass(frozen=True, slots=True)
class PastLoad:
    """A load as it stands in the history.

    Parameters
    ----------
    id, release, family, who, pipeline, configuration, input_ids, tables
        As in `qserv.catalog.provenance.Load`.
    state
        ``begun``, ``committed`` or ``aborted``.
    begun, ended
        UTC, ISO 8601; `ended` empty while it has not.
    reason
        Why it was aborted.
    snapshot
        That made it visible; None where none did.
    rows, rejected
        Rows read, and left out; 0 while it has not ended.
    replaced
        As in `qserv.catalog.provenance.Load`.
    again
        Rows that were live before, and that it read again.
    """

    id: str
    release: str
    family: str
    state: str
    who: str
    pipeline: str
    configuration: str
    input_ids: tuple[str, ...]
    tables: tuple[str, ...]
    begun: str
    ended: str
    reason: str
    snapshot: int | None
    rows: int
    rejected: int
    replaced: tuple[str, ...] = ()
    again: int = 0


def loads(
    connection: sa.Connection,
    tables: Tables,
    *,
    release: str = "",
    load: str = "",
    ended: int | None = LAST,
) -> tuple[PastLoad, ...]:
    """Return loads, the newest first.

    Parameters
    ----------
    connection, tables
        Of the metadata.
    release
        Only of this one; empty: of all.
    load
        Only this one.
    ended
        How many of those that ended, beside those that have not; None: all.
    """
    known, snapshots = tables["load"], tables["snapshot"]
    again = _read_again(tables).label("again")
    rows = (
        sa.select(known, snapshots.c.id.label("snapshot"), again)
        .outerjoin(snapshots, snapshots.c.load_id == known.c.id)
        .order_by(known.c.begun.desc(), known.c.id.desc())
    )
    if release:
        rows = rows.where(sa.func.lower(known.c.release_name) == release.lower())
    if load:
        rows = rows.where(known.c.id == load)
    under_way = connection.execute(rows.where(known.c.state == "begun")).all()
    over = connection.execute(rows.where(known.c.state != "begun").limit(ended)).all()
    return tuple(map(_past, (*under_way, *over)))


def _read_again(tables: Tables) -> sa.ScalarSelect[Any]:
    """Return how many rows of older files the load of a snapshot read again."""
    brought, before = tables["contribution"].c, tables["contribution_before"].c
    return (
        sa.select(integer(sa.func.coalesce(sa.func.sum(brought.total_rows), 0)))
        .where(
            brought.id == before.contribution_id,
            before.held_until == tables["snapshot"].c.id,
        )
        .correlate(tables["snapshot"])
        .scalar_subquery()
    )


def _past(row: Any) -> PastLoad:
    return PastLoad(
        id=row.id,
        release=row.release_name,
        family=row.family_name,
        state=row.state,
        who=row.who,
        pipeline=row.pipeline,
        configuration=row.configuration,
        input_ids=tuple(json.loads(row.input_ids)),
        tables=tuple(json.loads(row.table_names)),
        begun=row.begun,
        ended=row.ended or "",
        reason=row.reason,
        snapshot=row.snapshot,
        rows=row.total_rows,
        rejected=row.rejected,
        replaced=tuple(json.loads(row.replaced)),
        again=row.again,
    )


def contributions(
    connection: sa.Connection, tables: Tables, load: str
) -> tuple[Contribution, ...]:
    """Return the files that a committed load brought, in the order of their numbers."""
    files, definitions = tables["contribution"], tables["catalog_table"]
    rows = connection.execute(
        sa.select(files, definitions.c.name.label("table_name"))
        .join(definitions, definitions.c.id == files.c.table_id)
        .where(files.c.load_id == load)
        .order_by(files.c.id)
    )
    return tuple(
        Contribution(
            table=row.table_name,
            source=row.source,
            sha256=row.sha256,
            rows=row.total_rows,
            nulled=row.nulled,
            wrapped=row.wrapped,
            rejected=row.rejected,
            number=row.id,
            gone=row.valid_to or 0,
        )
        for row in rows
    )


def origins(
    connection: sa.Connection,
    tables: Tables,
    release: str,
    wanted: Iterable[tuple[str, str]],
) -> dict[tuple[str, str], Origin]:
    """Return which of some files' contents are live.

    Parameters
    ----------
    connection, tables
        Of the metadata.
    release
        The release.
    wanted
        (table, sha256) of files.

    Returns
    -------
    dict
        Of those of them that are live: who brought them.
    """
    asked: dict[str, set[str]] = {}
    for table, content in wanted:
        asked.setdefault(table, set()).add(content)
    known = history.read_tables(connection, tables, release) if asked else {}
    return {
        (table, row.sha256): Origin(
            row.source, row.load_id, row.snapshot, row.id, row.held_since
        )
        for table, contents in asked.items()
        if table.lower() in known
        for some in batches(sorted(contents))
        for row in _brought(connection, tables, known[table.lower()][0], some)
    }


def _brought(
    connection: sa.Connection, tables: Tables, table_id: int, contents: list[str]
) -> Iterable[Any]:
    files, snapshots = tables["contribution"], tables["snapshot"]
    return connection.execute(
        sa.select(
            files.c.id,
            files.c.sha256,
            files.c.source,
            files.c.load_id,
            files.c.held_since,
            snapshots.c.id.label("snapshot"),
        )
        .join(snapshots, snapshots.c.load_id == files.c.load_id)
        .where(
            files.c.table_id == table_id,
            files.c.valid_to.is_(None),
            files.c.sha256.in_(contents),
        )
    ).all()
