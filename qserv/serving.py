"""What a process that serves does, so that queries do not pay for it."""

import asyncio
import gc
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_LITTLE: Final = 2**18
"""Bytes that are worked on sooner than a thread would begin to."""
_YOUNG: Final = 50_000
"""Objects made before the young are looked through: many queries' worth."""


def settle() -> None:
    """Import what would be imported late, and hide what is there from the collector.

    Arrow imports pandas (0.4 s) when it first converts a list. What start-up made
    (modules, schemas, connections) lives as long as the process; walking it again and
    again took a tenth of a point query's time.
    """
    import pyarrow as pa

    pa.array([0])
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, 10, 10)


async def aside(
    size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Work on so many bytes: on many in a thread, so that nobody else waits."""
    if size <= _LITTLE:
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)
