"""Waits, after the czar's start, for the workers that it knows to come back.

A czar that has just started knows of no living worker. What would be decided then, such
as how many copies a family gets or who takes the place of a dead worker, waits until
all are back, or had the time to be.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress

from qserv.czar.members import Members


class RollCall:
    """The workers that are expected back.

    Parameters
    ----------
    members
        The workers that are there.
    grace
        Seconds that the others have.
    """

    def __init__(self, *, members: Members, grace: float) -> None:
        self._members = members
        self._grace = grace
        self._expected: frozenset[str] = frozenset()
        self._until = 0.0
        self._joined = asyncio.Event()

    def expect(self, workers: Iterable[str]) -> None:
        """Begin to wait for workers."""
        self._expected = frozenset(workers)
        self._until = asyncio.get_running_loop().time() + self._grace

    def joined(self) -> None:
        """Hear that a worker is there."""
        self._joined.set()

    async def over(self) -> None:
        """Wait until all are back, or had the time to be."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._until):
                while self._expected - self._members.alive.keys():
                    self._joined.clear()
                    await self._joined.wait()
        # Who dies later is not waited for.
        self._expected = frozenset()
