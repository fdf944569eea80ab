"""What a load tells of itself, while it runs and when it is done."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class Phase(StrEnum):
    """What a load is doing."""

    CHECKING = "checking"
    WAITING = "waiting"
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
    left
        Seconds that the phase will take yet, about; None while that is not known.
    reason
        While it waits: why; else empty.
    """

    phase: Phase
    table: str
    rows: int
    total_rows: int | None
    size: int
    elapsed: float
    left: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class TableReport:
    """What a load made of one table.

    Parameters
    ----------
    rows, overlap_rows
        New rows; copies of them beside other chunks.
    files, size
        Files that hold them, and their bytes, each counted once.
    """

    rows: int
    overlap_rows: int
    files: int
    size: int


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What a load did, or would do.

    Parameters
    ----------
    release
        The release it loaded into.
    snapshot
        The snapshot that shows the new rows; 0 of a dry run.
    rows
        New rows by table.
    files
        Input files by table.
    chunks
        Leaves of the family's tree.
    size
        Bytes sent to workers, all copies counted; of a dry run those it would send.
    nulled, wrapped, rejected
        NaN that became NULL; right ascensions that were wrapped into [0, 360); rows
        that were left out.
    seconds
        How long it took.
    already
        Input files that were left out because their content is live: the file, and
        the snapshot that shows it.
    rejects
        The file that tells the rows left out; None if there are none.
    tables
        More of each table.
    orders
        HEALPix order -> leaves of the tree.
    resumed
        Whether it went on where an earlier try stopped.
    dry
        Whether nothing was loaded.
    replaced
        Table -> the rows that it had, of those that were replaced.
    kept
        Table -> rows that it had before and that were read again.
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
    rejected: int = 0
    already: Mapping[str, int] = field(default_factory=dict)
    rejects: Path | None = None
    tables: Mapping[str, TableReport] = field(default_factory=dict)
    orders: Mapping[int, int] = field(default_factory=dict)
    resumed: bool = False
    dry: bool = False
    replaced: Mapping[str, int] = field(default_factory=dict)
    kept: Mapping[str, int] = field(default_factory=dict)


class Meter:
    """Counts rows and bytes, and tells a listener.

    Parameters
    ----------
    listener
        Called from the thread of the load; None if nobody listens.
    """

    def __init__(self, listener: Callable[[LoadProgress], None] | None) -> None:
        self._listener = listener
        self._began = self._entered = time.monotonic()
        self._phase = Phase.CHECKING
        self._rows = self._size = 0
        self._total: int | None = None
        self._reason = ""
        self.now = self._progress("")

    @property
    def elapsed(self) -> float:
        """Seconds since the load began."""
        return time.monotonic() - self._began

    def enter(self, phase: Phase, table: str = "", total: int | None = None) -> None:
        """Begin a phase whose rows are `total` in all."""
        self._begin(phase, table, total, reason="")

    def wait(self, reason: str) -> None:
        """Begin to wait."""
        self._begin(Phase.WAITING, "", None, reason=reason)

    def _begin(
        self, phase: Phase, table: str, total: int | None, *, reason: str
    ) -> None:
        self._phase, self._total, self._reason = phase, total, reason
        self._rows = self._size = 0
        self._entered = time.monotonic()
        self.add(table, 0, 0)

    def add(self, table: str, rows: int, size: int) -> None:
        """Count rows and bytes of a table."""
        self._rows += rows
        self._size += size
        self.now = self._progress(table)
        if self._listener is not None:
            self._listener(self.now)

    def _progress(self, table: str) -> LoadProgress:
        return LoadProgress(
            phase=self._phase,
            table=table,
            rows=self._rows,
            total_rows=self._total,
            size=self._size,
            elapsed=self.elapsed,
            left=self._left(),
            reason=self._reason,
        )

    def _left(self) -> float | None:
        if not self._total or not self._rows:
            return None
        done = time.monotonic() - self._entered
        return done * max(0, self._total - self._rows) / self._rows
