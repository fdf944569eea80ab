"""Who may run: what a query is expected to cost, and how many run already."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from qserv.errors import LimitExceeded, TooManyQueries
from qserv.plan.cost import Cost
from qserv.plan.plan import Fragment, Plan, ScanClass

_REMEDY: Final = {
    "rows": "join them by a key or a distance, or restrict the tables further",
    "bytes": "restrict it to an area or to keys, or select fewer columns",
    "seconds": "restrict it to an area or to keys, or take it apart",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What this czar takes on.

    Parameters
    ----------
    interactive, scans
        How many queries of each kind run at a time.
    waiting
        How many of each kind may wait for their turn.
    rows, size, seconds
        Rows that a join may be expected to make, bytes of files that a query may be
        expected to read, and seconds that it may be expected to take; None: any.
    """

    interactive: int
    scans: int
    waiting: int
    rows: float | None = None
    size: float | None = None
    seconds: float | None = None


class Admission:
    """Lets queries run, one after the other where they are too many.

    Parameters
    ----------
    limits
        What this czar takes on.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._interactive = _Gate("interactive", limits.interactive, limits.waiting)
        self._scans = _Gate("scan", limits.scans, limits.waiting)

    @asynccontextmanager
    async def turn(self, plan: Plan, spent: Cost) -> AsyncIterator[None]:
        """Let a query run in the block, once it is its turn.

        Parameters
        ----------
        plan
            How it is answered.
        spent
            What that is expected to cost.

        Raises
        ------
        LimitExceeded
            If it costs too much.
        TooManyQueries
            If as many wait as may.
        """
        self._check(spent)
        gate = self._scans if _is_scan(plan) else self._interactive
        async with gate.passed():
            yield

    def _check(self, spent: Cost) -> None:
        most = self._limits
        if most.rows is not None and spent.rows > most.rows:
            what = f"join its tables to {_about(spent.rows)} rows"
            raise _refused(what, "rows", _about(most.rows))
        if most.size is not None and spent.bytes_read > most.size:
            what = f"read {_bytes(spent.bytes_read)} of files"
            raise _refused(what, "bytes", _bytes(most.size))
        if most.seconds is not None and spent.seconds > most.seconds:
            what = f"take {_about(spent.seconds)} s"
            raise _refused(what, "seconds", f"{most.seconds:g} s")


def _is_scan(plan: Plan) -> bool:
    """Whether a query reads every chunk: what reads none is soon done."""
    chunks = any(isinstance(s, Fragment) and s.family for s in plan.stages)
    return chunks and plan.scan_class is ScanClass.SCAN


class _Gate:
    def __init__(self, kind: str, running: int, waiting: int) -> None:
        self._kind = kind
        self._running = running
        self._most = waiting
        self._free = asyncio.Semaphore(running)
        self._waiting = 0

    @asynccontextmanager
    async def passed(self) -> AsyncIterator[None]:
        if self._free.locked() and self._waiting >= self._most:
            raise TooManyQueries(
                f"{self._running} {self._kind} queries run and {self._waiting} wait, "
                "as many as this czar takes: ask again later"
            )
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._free.release()


def _refused(what: str, unit: str, most: str) -> LimitExceeded:
    return LimitExceeded(
        f"this query is expected to {what}, more than the {most} that "
        f"max_estimated_{unit} allows; {_REMEDY[unit]}, or have max_estimated_{unit} "
        "raised"
    )


def _about(number: float) -> str:
    return f"{number:,.0f}" if number < 1e7 else f"{number:.1e}"


def _bytes(size: float) -> str:
    if size < 2**30:
        return f"{size / 2**20:.3g} MiB"
    return f"{size / 2**30:,.1f} GiB"
