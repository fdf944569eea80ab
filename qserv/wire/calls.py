"""Calls that go on to their end, though whoever called has gone away."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from qserv.errors import QservError
from qserv.telemetry import logger

__all__ = ["Calls", "finished"]

Given = ParamSpec("Given")
Reply = TypeVar("Reply")

_log = logger(__name__)


class Calls:
    """Calls of one server that must not stop half-way.

    gRPC cancels a handler whose client is gone. What a thread writes goes on all the
    same: a handler that is cancelled while it waits for one gives up its locks before
    the write has ended, and what it would have noted afterwards is never noted.
    """

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    async def finish(self, call: Coroutine[Any, Any, Reply]) -> Reply:
        """Return what a call returns; it goes on if nobody waits any longer."""
        task = asyncio.create_task(call)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_told)
            raise

    async def close(self) -> None:
        """Wait for the calls that are under way."""
        await asyncio.gather(*self._running, return_exceptions=True)


def _told(task: "asyncio.Task[Any]") -> None:
    """Log how a call failed whose caller does not hear it."""
    error = None if task.cancelled() else task.exception()
    if isinstance(error, QservError):
        _log.info("a call failed that nobody waits for", error=error.text)
    elif error is not None:
        _log.error("a call failed that nobody waits for", exc_info=error)


class _Server(Protocol):
    calls: Calls


Server = TypeVar("Server", bound=_Server)


def finished(
    method: Callable[Concatenate[Server, Given], Coroutine[Any, Any, Reply]],
) -> Callable[Concatenate[Server, Given], Coroutine[Any, Any, Reply]]:
    """Have every call of a method of a server with `calls` go on to its end."""

    @wraps(method)
    async def call(
        server: Server, /, *given: Given.args, **named: Given.kwargs
    ) -> Reply:
        return await server.calls.finish(method(server, *given, **named))

    return call
