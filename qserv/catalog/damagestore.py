"""Bad copies in the metadata: which replicas are in quarantine, and why."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeVar

import sqlalchemy as sa

from qserv.catalog.database import now

Tables = Mapping[str, sa.Table]

LIVE: Final = "live"
QUARANTINED: Final = "quarantined"

T = TypeVar("T")

_AT_ONCE: Final = 500
"""Values of one IN list."""


@dataclass(frozen=True, slots=True)
class Damaged:
    """A copy that was found bad or missing.

    Parameters
    ----------
    worker
        Who should have it.
    path
        Below the worker's data directory.
    found
        When, UTC.
    reason
        What was found.
    repaired
        When it was there again; None while it is not.
    """

    worker: str
    path: str
    found: str
    reason: str
    repaired: str | None = None


def moment(seconds: float) -> str:
    """Return seconds since 1970 as the metadata writes times."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def quarantine(
    connection: sa.Connection, tables: Tables, found: Collection[Damaged]
) -> list[Damaged]:
    """Put replicas into quarantine; return those that were not there before.

    A path that the metadata does not know on that worker is no damage.
    """
    fresh = []
    for worker in sorted({each.worker for each in found}):
        told = {each.path: each for each in found if each.worker == worker}
        past = history(connection, tables, worker, repaired=True)
        known = {each.path for each in past if each.repaired is None}
        # What was told late, of a damage that is repaired, is no new one.
        known |= {
            e.path for e in past if e.path in told and told[e.path].found == e.found
        }
        held = _entries(connection, tables, worker, told)
        _set(connection, tables, worker, held.values(), QUARANTINED)
        fresh += [told[path] for path in sorted(held.keys() - known)]
    if fresh:
        damage = tables["damage"]
        connection.execute(sa.insert(damage), [_row(each) for each in fresh])
    return fresh


def restore(
    connection: sa.Connection, tables: Tables, worker: str, still: Collection[str]
) -> list[str]:
    """Take a worker's replicas out of quarantine that are there again.

    Parameters
    ----------
    connection, tables
        Of the metadata.
    worker
        Its id.
    still
        The paths that it still lacks.

    Returns
    -------
    list of str
        The paths that it has again.
    """
    lacked = {each.path for each in history(connection, tables, worker)}
    there = sorted(lacked - set(still))
    held = _entries(connection, tables, worker, there)
    _set(connection, tables, worker, held.values(), LIVE, verified=now())
    damage = tables["damage"]
    for paths in _cut(there):
        connection.execute(
            sa.update(damage)
            .where(
                damage.c.worker_id == worker,
                damage.c.repaired.is_(None),
                damage.c.path.in_(paths),
            )
            .values(repaired=now())
        )
    return there


def history(
    connection: sa.Connection,
    tables: Tables,
    worker: str | None = None,
    *,
    repaired: bool = False,
) -> list[Damaged]:
    """Return what was found, oldest first.

    Parameters
    ----------
    connection, tables
        Of the metadata.
    worker
        Of this worker; None: of all.
    repaired
        Also what was repaired.
    """
    damage = tables["damage"]
    wanted = [] if worker is None else [damage.c.worker_id == worker]
    wanted += [] if repaired else [damage.c.repaired.is_(None)]
    rows = connection.execute(
        sa.select(damage)
        .where(*wanted)
        .order_by(damage.c.found, damage.c.worker_id, damage.c.path)
    )
    return [
        Damaged(row.worker_id, row.path, row.found, row.reason, row.repaired)
        for row in rows
    ]


def _entries(
    connection: sa.Connection, tables: Tables, worker: str, paths: Iterable[str]
) -> dict[str, int]:
    """Return the files that a worker has a replica of: path -> entry's id."""
    entries, replicas = tables["manifest_entry"], tables["replica"]
    found: dict[str, int] = {}
    for some in _cut(sorted(paths)):
        rows = connection.execute(
            sa.select(entries.c.path, entries.c.id)
            .join(replicas, replicas.c.entry_id == entries.c.id)
            .where(replicas.c.worker_id == worker, entries.c.path.in_(some))
        )
        found |= {row.path: row.id for row in rows}
    return found


def _set(
    connection: sa.Connection,
    tables: Tables,
    worker: str,
    entries: Iterable[int],
    state: str,
    **values: str,
) -> None:
    replicas = tables["replica"]
    for some in _cut(sorted(entries)):
        connection.execute(
            sa.update(replicas)
            .where(replicas.c.worker_id == worker, replicas.c.entry_id.in_(some))
            .values(state=state, **values)
        )


def _row(damaged: Damaged) -> dict[str, str]:
    return {
        "worker_id": damaged.worker,
        "path": damaged.path,
        "found": damaged.found,
        "reason": damaged.reason,
    }


def _cut(values: list[T]) -> Iterable[list[T]]:
    return (values[at : at + _AT_ONCE] for at in range(0, len(values), _AT_ONCE))
