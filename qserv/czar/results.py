"""What a query asks for, the frames of its result, and how a result is cut."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

from qserv.dialects.statements import Mode
from qserv.errors import LimitExceeded
from qserv.wire.codec import Digest

LANGUAGE: Final = "ADQL-2.1"


@dataclass(frozen=True, slots=True)
class Request:
    """What a face asks for.

    Parameters
    ----------
    text, language
        The query and the language that it is in.
    snapshot
        The snapshot to read; None: the newest.
    default_release
        The release of table names without one.
    max_rows
        Rows after which the result is cut; None: the czar's limit.
    query_id
        The client's choice; empty: the czar draws one.
    batch_chunks
        Chunks of a batch at most; 0: the workers decide.
    mode
        Whether to run the query; a text may say EXPLAIN itself.
    """

    text: str
    language: str = LANGUAGE
    snapshot: int | None = None
    default_release: str | None = None
    max_rows: int | None = None
    query_id: str = ""
    batch_chunks: int = 0
    mode: Mode = Mode.RUN


@dataclass(frozen=True, slots=True)
class Header:
    """Comes first; `schema` is an Arrow IPC schema with unit, ucd and description."""

    schema: bytes
    query_id: str
    release: str
    snapshot: int
    chunks: int
    chunks_total: int


@dataclass(frozen=True, slots=True)
class Message:
    """Rows of a result.

    Parameters
    ----------
    data
        One Arrow IPC record batch message, without schema.
    rows
        The same rows, decoded.
    """

    data: bytes
    rows: pa.RecordBatch


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the query is."""

    chunks_done: int
    chunks: int
    rows: int


@dataclass(frozen=True, slots=True)
class Trailer:
    """Comes last; without it a result is not whole.

    Parameters
    ----------
    rows
        Of the result.
    overflow
        Whether rows were cut off because of `Request.max_rows`.
    warnings
        For people.
    microseconds, steps
        In all, and by step.
    bytes_scanned, attempts
        Bytes that workers read; tasks that were sent.
    digest
        sha256 of all data frames in order.
    """

    rows: int
    overflow: bool
    warnings: tuple[str, ...]
    microseconds: int
    steps: Mapping[str, int]
    bytes_scanned: int
    attempts: int
    digest: bytes


Frame = Header | bytes | Progress | Trailer
"""Bytes are one Arrow IPC record batch message."""


@dataclass(slots=True)
class Steps:
    """Where the time of a query goes, in microseconds."""

    started: float = field(default_factory=time.perf_counter)
    spent: dict[str, int] = field(default_factory=dict)
    last: float = field(default_factory=time.perf_counter)

    def done(self, step: str) -> None:
        """Charge the time since the last step to `step`."""
        now = time.perf_counter()
        self.spent[step] = self.spent.get(step, 0) + int((now - self.last) * 1e6)
        self.last = now

    @property
    def total(self) -> int:
        """Microseconds since the start."""
        return int((time.perf_counter() - self.started) * 1e6)


class Cut:
    """Cuts a stream of rows at a limit, exact to the row.

    Parameters
    ----------
    limit
        Rows that the query itself asks for; None: all.
    max_rows
        Rows after which the result overflows; None: never.
    max_bytes
        Bytes after which it ends with an error; None: never.
    """

    def __init__(
        self, *, limit: int | None, max_rows: int | None, max_bytes: int | None = None
    ) -> None:
        self._limit = limit
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._size = 0
        self.rows = 0
        self.overflow = False
        self.digest = Digest()

    @property
    def full(self) -> bool:
        """Whether no further row can change the result."""
        return self.overflow or (self._limit is not None and self.rows >= self._limit)

    def take(self, message: Message) -> bytes | None:
        """Return the message, what fits of it, or None where nothing does."""
        count = message.rows.num_rows
        room = count
        if self._limit is not None:
            room = min(room, self._limit - self.rows)
        if self._max_rows is not None and room > self._max_rows - self.rows:
            room = self._max_rows - self.rows
            self.overflow = True
        if room <= 0:
            return None
        data = (
            message.data
            if room == count
            else bytes(message.rows.slice(0, room).serialize())
        )
        self.rows += room
        self._size += len(data)
        self.digest.update(data)
        return data

    def check(self) -> None:
        """Check what was taken so far.

        Raises
        ------
        LimitExceeded
            If it has too many bytes.
        """
        if self._max_bytes is not None and self._size > self._max_bytes:
            raise LimitExceeded(
                f"the result has more than the {self._max_bytes / 2**20:,.3g} MiB that "
                "max_result_bytes allows; select fewer rows or columns, or have "
                "max_result_bytes raised"
            )
