"""The loads under way, in memory as in the metadata, and who may change them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from math import inf
from typing import Any, Final, TypeVar

from qserv.catalog import loadhistory, loadstore
from qserv.catalog.database import since
from qserv.catalog.loadhistory import PastLoad
from qserv.catalog.provenance import Origin
from qserv.catalog.store import Store
from qserv.czar.openload import OpenLoad, revived
from qserv.errors import Conflict, QservError
from qserv.ingest import transaction as life
from qserv.telemetry import logger

_log = logger(__name__)

T = TypeVar("T")

_PASSING: Final[frozenset[object]] = frozenset({loadstore.change, loadstore.contribute})
"""What they write ends with the load: no worker remembers it, no copy depends on it."""


class Registry:
    """Keeps the loads that are neither committed nor aborted.

    Parameters
    ----------
    store
        The metadata.
    clock
        Monotonic seconds.
    expiry
        Seconds of a loader's silence after which its load is given up.

    Attributes
    ----------
    open
        By id.
    """

    def __init__(
        self, *, store: Store, clock: Callable[[], float], expiry: float = inf
    ) -> None:
        self._store = store
        self._clock = clock
        self.expiry = expiry
        self.open: dict[str, OpenLoad] = {}

    @property
    def now(self) -> float:
        """Monotonic seconds."""
        return self._clock()

    def silence(self, load: OpenLoad) -> float:
        """Return the seconds since a loader's last sign of life."""
        return self._clock() - load.heard

    def left(self, load: OpenLoad) -> float:
        """Return the seconds of silence after which a load is given up."""
        return self.expiry - load.unheard - self.silence(load)

    async def write(self, change: Callable[..., T], *given: Any, **values: Any) -> T:
        """Change the metadata: whole or not at all, durable when it returns."""

        def written() -> T:
            with self._store.writing(passing=change in _PASSING) as connection:
                return change(connection, self._store.tables, *given, **values)

        return await asyncio.to_thread(written)

    async def read(self, ask: Callable[..., T], *given: Any, **values: Any) -> T:
        """Ask the metadata."""

        def found() -> T:
            with self._store.reading() as connection:
                return ask(connection, self._store.tables, *given, **values)

        return await asyncio.to_thread(found)

    async def origins(
        self, release: str, wanted: list[tuple[str, str]]
    ) -> dict[tuple[str, str], Origin]:
        """Return which contents (table, sha256) of a release are live."""
        if not wanted:
            return {}
        return await self.read(loadhistory.origins, release, wanted)

    async def past(self, number: str) -> PastLoad | None:
        """Return what the history knows of a load; None if there was none."""
        found = await self.read(loadhistory.loads, load=number)
        return found[0] if found else None

    async def find(self, number: str, attempt: int) -> OpenLoad:
        """Return a load under way; that it is asked for is a sign of life.

        Raises
        ------
        Superseded
            If the caller is not its newest loader.
        Conflict
            If it has ended, or there is none.
        """
        if (load := self.open.get(number)) is None:
            past = await self.past(number)
            raise Conflict(
                f"load {number} is {past.state}: {past.reason or 'it is over'}"
                if past
                else f"there is no load {number}; begin a new one"
            )
        life.fence(load.transaction, attempt)
        load.heard, load.unheard = self._clock(), 0.0
        return load

    @asynccontextmanager
    async def call(self, number: str, attempt: int) -> AsyncIterator[OpenLoad]:
        """Give a load under way to be changed; raises as `find`."""
        load = await self.find(number, attempt)
        async with load.one_call:
            # While this call waited, the load may have ended or changed hands.
            yield await self.find(number, attempt)

    async def revive(self) -> list[tuple[str, str]]:
        """Read what an earlier czar left under way.

        Returns
        -------
        list of (str, str)
            Ids of loads that cannot go on, and why.
        """
        lost = [
            (number, "its czar stopped before the commit")
            for number in await self.read(loadstore.abandoned)
        ]
        snapshot = self._store.snapshot()
        for known in await self.read(loadstore.unfinished):
            try:
                load = revived(known, snapshot, now=self._clock())
            except QservError as error:
                lost.append((known.id, f"its czar stopped, and now {error.text}"))
            else:
                load.unheard = since(known.heard)
                self.open[known.id] = load
                _log.info("load goes on", load=known.id, state=known.state)
        return lost
