"""What a load tells of itself, while it runs and when it is done."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """What a load is doing."""

    READING = "reading"
    PARTITIONING = "partitioning"
    SENDING = "sending"
    COMMITTING = "committing"


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """How far a load has come.

    Parameters
    ----------
    phase
        What it is doing.
    table
        The table it is at; empty while it commits.
    rows, total_rows
        Rows of the phase that are done and all of them, over all tables; the total is
        None while it is not known.
    size
        Bytes that were read or sent in this phase.
    elapsed
        Seconds since the load began.
    """

    phase: Phase
    table: str
    rows: int
    total_rows: int | None
    size: int
    elapsed: float


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What a load did.

    Parameters
    ----------
    release
        The release it loaded into.
    snapshot
        The snapshot that shows the new rows.
    rows
        New rows by table.
    files
        Input files by table.
    chunks
        Leaves of the family's tree.
    size
        Bytes sent to workers, all copies counted.
    nulled, wrapped
        NaN that became NULL; right ascensions that were wrapped into [0, 360).
    seconds
        How long it took.
    """

    release: str
    snapshot: int
    rows: Mapping[str, int]
    files: Mapping[str, int]
    chunks: int
    size: int
    nulled: int
    wrapped: int
    seconds: float


class Meter:
    """Counts rows and bytes, and tells a listener.

    Parameters
    ----------
    listener
        Called from the thread of the load; None if nobody listens.
    """

    def __init__(self, listener: Callable[[LoadProgress], None] | None) -> None:
        self._listener = listener
        self._began = time.monotonic()
        self._phase = Phase.READING
        self._rows = self._size = 0
        self._total: int | None = None

    @property
    def elapsed(self) -> float:
        """Seconds since the load began."""
        return time.monotonic() - self._began

    def enter(self, phase: Phase, table: str = "", total: int | None = None) -> None:
        """Begin a phase whose rows are `total` in all."""
        self._phase, self._total = phase, total
        self._rows = self._size = 0
        self.add(table, 0, 0)

    def add(self, table: str, rows: int, size: int) -> None:
        """Count rows and bytes of a table."""
        self._rows += rows
        self._size += size
        if self._listener is not None:
            self._listener(
                LoadProgress(
                    phase=self._phase,
                    table=table,
                    rows=self._rows,
                    total_rows=self._total,
                    size=self._size,
                    elapsed=self.elapsed,
                )
            )
