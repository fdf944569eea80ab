"""Work that begins before its reader asks for it."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Generic, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """An asynchronous generator whose first item is on its way already.

    Workers read their chunks while the header of the result is written.

    Parameters
    ----------
    items
        The generator; it belongs to this object from now on.
    """

    def __init__(self, items: AsyncGenerator[T, None]) -> None:
        self._items = items
        self._first: asyncio.Task[T | None] | None = asyncio.create_task(self._next())

    async def next(self) -> T | None:
        """Return the next item; None after the last."""
        first, self._first = self._first, None
        return await (first or self._next())

    async def aclose(self) -> None:
        """Stop the work, wherever it is."""
        if self._first is not None:
            self._first.cancel()
            await asyncio.gather(self._first, return_exceptions=True)
        await self._items.aclose()

    async def _next(self) -> T | None:
        return await anext(self._items, None)
