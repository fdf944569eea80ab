"""What workers are to do with what they hold, as the metadata remembers it."""

from collections.abc import Mapping
from enum import StrEnum

import sqlalchemy as sa

Tables = Mapping[str, sa.Table]


class WorkerState(StrEnum):
    """What a worker is to do."""

    ACTIVE = "active"
    """Hold chunks, and take more."""
    DRAINING = "draining"
    """Keep what it has until others have it, and take nothing new."""
    LOST = "lost"
    """Never again expected: what it had is made again elsewhere."""


def states(connection: sa.Connection, tables: Tables) -> dict[str, WorkerState]:
    """Return the states of all workers that ever joined, by id."""
    workers = tables["worker"]
    rows = connection.execute(sa.select(workers.c.id, workers.c.state))
    return {row.id: WorkerState(row.state) for row in rows}


def set_state(
    connection: sa.Connection, tables: Tables, worker: str, state: WorkerState
) -> None:
    """Remember what a worker is to do."""
    workers = tables["worker"]
    connection.execute(
        sa.update(workers).where(workers.c.id == worker).values(state=str(state))
    )
