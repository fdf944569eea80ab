"""The executor processes of a worker, seen from its event loop.

Processes are spawned, never forked: gRPC's threads do not survive a fork. Frames are
read by the event loop itself, without a thread in between; a reader that does not keep
up leaves the socket full, and so holds the executor back. One that does not stop when
asked, or dies, is replaced.
"""

import asyncio
import contextlib
import multiprocessing
import socket
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess
from typing import Final

from qserv.errors import ExecutorDied, InternalError, QservError, from_wire
from qserv.telemetry import logger
from qserv.worker import engine, process
from qserv.worker.process import HEAD, NUMBER, Done, Failure, Kind, Order

__all__ = ["Executor"]

_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 2.0
_BUFFER: Final = 1 << 20

_log = logger(__name__)


@dataclass(slots=True)
class _Link:
    """A living process and the sockets that lead to it."""

    process: SpawnProcess
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    stops: socket.socket
    head: tuple[int, int] | None = None

    async def frame(self) -> tuple[Kind, bytes]:
        try:
            # Kept when the reader is cancelled between a frame's head and its body.
            if self.head is None:
                self.head = HEAD.unpack(await self.reader.readexactly(HEAD.size))
            kind, length = self.head
            body = await self.reader.readexactly(length)
        except (asyncio.IncompleteReadError, OSError):
            raise ExecutorDied(
                "an executor process of the worker died; it may have run out of memory"
            ) from None
        self.head = None
        return Kind(kind), body

    async def end(self) -> None:
        self.process.kill()
        self.stops.close()
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()
        await asyncio.to_thread(self.process.join)
        self.process.close()


class Executor:
    """One executor process, replaced when it is lost.

    Parameters
    ----------
    settings
        Of its DuckDB.
    stop_seconds
        How long it may take to stop a batch before it is killed.
    """

    def __init__(
        self, settings: engine.Settings, *, stop_seconds: float = _STOP_SECONDS
    ) -> None:
        self._settings = settings
        self._stop_seconds = stop_seconds
        self._link: _Link | None = None
        self._number = 0
        self._idle = False

    @property
    def idle(self) -> bool:
        """Whether it is ready for a batch."""
        return self._idle

    @property
    def pid(self) -> int | None:
        """Id of the process, while there is one."""
        return self._link.process.pid if self._link else None

    async def start(self) -> None:
        """Spawn the process and wait until its DuckDB is open (about 0.5 s).

        Raises
        ------
        QservError
            If it cannot be set up.
        """
        self._link = await _spawn(self._settings)
        try:
            async with asyncio.timeout(_START_SECONDS):
                kind, body = await self._link.frame()
            self._idle = kind is Kind.READY
        finally:
            if not self._idle:
                await self.stop()
        if kind is Kind.FAILED:
            raise _error(Failure.unpack(body))

    async def run(self, batch: engine.Batch) -> AsyncGenerator[bytes | Done]:
        """Run one batch; `settle` must follow, however it ends.

        Yields
        ------
        bytes or Done
            IPC messages as they come, then what the batch came to.

        Raises
        ------
        QservError
            As the engine raised it; `ExecutorDied` if the process died.
        """
        assert self._link is not None, "an executor is started before it runs"
        self._number += 1
        self._idle = False
        self._link.writer.write(Order(self._number, batch).pack())
        while not self._idle:
            match await self._link.frame():
                case Kind.ROWS, body:
                    yield body
                case Kind.DONE, body:
                    self._idle = True
                    yield Done.unpack(body)
                case Kind.FAILED, body:
                    self._idle = True
                    raise _error(Failure.unpack(body))
                case kind, _:
                    raise InternalError(f"an executor sent a frame of kind {kind}")

    async def settle(self) -> None:
        """Make it ready for the next batch: stop what still runs, replace the dead."""
        if self._idle:
            return
        try:
            async with asyncio.timeout(self._stop_seconds):
                await self._interrupt()
        except (ExecutorDied, TimeoutError, OSError):
            _log.warning("replaces an executor that died or hangs", pid=self.pid)
            await self.stop()
            await self.start()

    async def stop(self) -> None:
        """End the process, whatever it does."""
        self._idle = False
        if self._link is not None:
            link, self._link = self._link, None
            await link.end()

    async def _interrupt(self) -> None:
        assert self._link is not None, "an executor is started before it runs"
        self._link.stops.sendall(NUMBER.pack(self._number))
        while (await self._link.frame())[0] is Kind.ROWS:
            pass
        self._idle = True


async def _spawn(settings: engine.Settings) -> _Link:
    frames, its_frames = socket.socketpair()
    stops, its_stops = socket.socketpair()
    spawned = multiprocessing.get_context("spawn").Process(
        target=process.main,
        args=(settings, its_frames, its_stops),
        name="qserv-executor",
        daemon=True,
    )
    spawned.start()
    its_frames.close()
    its_stops.close()
    reader, writer = await asyncio.open_unix_connection(sock=frames, limit=_BUFFER)
    return _Link(spawned, reader, writer, stops)


def _error(failure: Failure) -> QservError:
    if failure.trace:
        _log.error("an executor failed", error=failure.text, exception=failure.trace)
    return from_wire(failure.code, failure.text)
