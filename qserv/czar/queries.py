"""The queries that run now: their ids, how far they are, and how to stop them."""

import asyncio
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from qserv.czar.executive import Tally
from qserv.errors import Cancelled, Conflict, LimitExceeded, QservError


@dataclass(slots=True)
class Running:
    """One running query.

    Parameters
    ----------
    id, text
        Its id and what the user sent.
    task
        The task that runs it.
    tally
        What it has done so far.
    started
        On the monotonic clock, seconds.
    chunks, rows
        How many chunks it reads, once they are known; rows sent so far.
    spools
        Whether workers keep rows for it.
    """

    id: str
    text: str
    task: asyncio.Task[object] = field(repr=False)
    tally: Tally = field(default_factory=Tally)
    started: float = field(default_factory=time.monotonic)
    chunks: int = 0
    rows: int = 0
    spools: bool = False
    _stopped_by: QservError | None = None

    @property
    def seconds(self) -> float:
        """How long it has been running."""
        return time.monotonic() - self.started

    def plans(self, chunks: int) -> None:
        """Begin with a plan that reads so many chunks, as far as that is known."""
        self.chunks = chunks
        self.tally.chunks_done = 0
        self.tally.stages.clear()

    def stop(self, error: QservError) -> None:
        """Stop it wherever it waits; it ends with `error`."""
        if self._stopped_by is None:
            self._stopped_by = error
            self.task.cancel()

    @property
    def stopped_by(self) -> QservError | None:
        """The error that it was stopped with."""
        return self._stopped_by


class Queries:
    """All running queries of this czar.

    Parameters
    ----------
    timeout
        Seconds after which a query is stopped.
    """

    def __init__(self, *, timeout: float) -> None:
        self._timeout = timeout
        self._running: dict[str, Running] = {}

    @property
    def running(self) -> tuple[Running, ...]:
        """The running queries, oldest first."""
        return tuple(self._running.values())

    @contextmanager
    def run(self, query_id: str, text: str) -> Iterator[Running]:
        """Register a query while the block runs.

        Parameters
        ----------
        query_id
            The client's choice; empty: one is drawn.
        text
            What the user sent.

        Raises
        ------
        Conflict
            If a query of that id is running.
        Cancelled, LimitExceeded
            If it is stopped meanwhile.
        """
        query_id = query_id or secrets.token_hex(8)
        if query_id in self._running:
            raise Conflict(f"query {query_id} is running already; choose another id")
        task = asyncio.current_task()
        assert task is not None, "queries run in a task"
        running = self._running[query_id] = Running(query_id, text, task)
        late = LimitExceeded(
            f"the query took more than the {self._timeout:g} s that query_timeout "
            "allows; restrict it further, take it apart, or have query_timeout raised"
        )
        alarm = asyncio.get_running_loop().call_later(self._timeout, running.stop, late)
        try:
            yield running
        except asyncio.CancelledError:
            if running.stopped_by is None:
                raise
            task.uncancel()
            raise running.stopped_by from None
        finally:
            alarm.cancel()
            del self._running[query_id]

    def cancel(self, query_id: str) -> bool:
        """Stop a query; return whether it was running."""
        if (running := self._running.get(query_id)) is None:
            return False
        running.stop(Cancelled(f"query {query_id} was cancelled"))
        return True
