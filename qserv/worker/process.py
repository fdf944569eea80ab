"""The program of an executor process: it holds one DuckDB and runs batch after batch.

Two sockets lead to its parent. On one come orders and go frames: a kind, a length and
so many bytes. On the other come numbers of batches to stop. When the parent dies, the
kernel kills the executor, and so does the end of the second socket.
"""

import ctypes
import json
import os
import pickle
import signal
import socket
import struct
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import duckdb

from qserv import serving
from qserv.errors import Cancelled, InternalError, QservError
from qserv.wire.codec import Digest, encode_batches
from qserv.worker import engine
from qserv.worker.buckets import Kept, Writer

_TOGETHER: Final = 64 * 1024

HEAD: Final = struct.Struct("!BI")
"""Of every frame: its kind and how many bytes follow."""
NUMBER: Final = struct.Struct("!q")
"""Of a batch, to stop it; unique within an executor."""
_DONE: Final = struct.Struct("!qqq32s")
_KEPT: Final = struct.Struct("!qqq32s")
_AGAIN: Final = 0.02
_PR_SET_PDEATHSIG: Final = 1


class Kind(IntEnum):
    """What a frame holds."""

    ORDER = 0
    READY = 1
    ROWS = 2
    DONE = 3
    FAILED = 4


@dataclass(frozen=True, slots=True)
class Order:
    """A batch to run under a number."""

    number: int
    batch: engine.Batch

    def pack(self) -> bytes:
        """Return the order as a frame."""
        body = pickle.dumps(self)
        return HEAD.pack(Kind.ORDER, len(body)) + body


@dataclass(frozen=True, slots=True)
class Done:
    """What a batch came to.

    Parameters
    ----------
    rows
        That it gave.
    size
        Bytes of its messages.
    microseconds
        That DuckDB and the encoding took, without waiting for who reads.
    digest
        `qserv.wire.codec.Digest` of the messages; of none, where rows are kept.
    kept
        The buckets of rows that are.
    """

    rows: int
    size: int
    microseconds: int
    digest: bytes
    kept: tuple[Kept, ...] = ()

    def pack(self) -> bytes:
        """Return the bytes of a DONE frame."""
        head = _DONE.pack(self.rows, self.size, self.microseconds, self.digest)
        each = (_KEPT.pack(k.bucket, k.rows, k.size, k.digest) for k in self.kept)
        return head + b"".join(each)

    @staticmethod
    def unpack(data: bytes) -> "Done":
        """Read the bytes of a DONE frame."""
        kept = (Kept(*each) for each in _KEPT.iter_unpack(data[_DONE.size :]))
        rows, size, microseconds, digest = _DONE.unpack_from(data)
        return Done(rows, size, microseconds, digest, tuple(kept))


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a batch failed: an error's code and text, and for a bug its traceback."""

    code: str
    text: str
    trace: str = ""

    def pack(self) -> bytes:
        """Return the bytes of a FAILED frame."""
        return json.dumps([self.code, self.text, self.trace]).encode()

    @staticmethod
    def unpack(data: bytes) -> "Failure":
        """Read the bytes of a FAILED frame."""
        return Failure(*json.loads(data))


def main(
    settings: engine.Settings, frames: socket.socket, stops: socket.socket
) -> None:
    """Serve the parent until it closes the sockets; the entry of the process.

    Parameters
    ----------
    settings
        Of DuckDB.
    frames, stops
        The ends of the two sockets.
    """
    # Ctrl-C reaches the whole terminal; the parent decides when executors end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    serving.begin()
    running = _Running()
    threading.Thread(target=_watch, args=(stops, running), daemon=True).start()
    try:
        connection = engine.connect(settings)
    except Exception as error:  # noqa: BLE001 the boundary: the parent must be told
        _send(frames, Kind.FAILED, _failure(error).pack())
        return
    serving.settle()
    _send(frames, Kind.READY, b"")
    while (body := _receive(frames)) is not None:
        # Our own parent wrote it to a socket that nobody else has.
        order: Order = pickle.loads(body)  # noqa: S301
        _answer(connection.cursor(), order, running, frames)


def _answer(
    cursor: duckdb.DuckDBPyConnection,
    order: Order,
    running: "_Running",
    frames: socket.socket,
) -> None:
    try:
        running.begin(order.number, cursor)
        outbox = _Outbox(frames)
        if keep := order.batch.keep:
            done = _keep(cursor, order.batch, keep, running.check)
        else:
            done = _run(cursor, order.batch, running.check, outbox)
        running.check()
        outbox.add(Kind.DONE, done.pack())
        outbox.flush()
    except Exception as error:  # noqa: BLE001 the boundary: the parent must be told
        _send(frames, Kind.FAILED, _failure(error).pack())
    finally:
        running.end()
        cursor.close()


def _run(
    cursor: duckdb.DuckDBPyConnection,
    batch: engine.Batch,
    check: Callable[[], None],
    outbox: "_Outbox",
) -> Done:
    digest, count, size = Digest(), 0, 0
    began = time.perf_counter()
    for rows in engine.run(cursor, batch):
        count += rows.num_rows
        for message in encode_batches(rows):
            check()
            digest.update(message)
            size += len(message)
            outbox.add(Kind.ROWS, message)
    busy = time.perf_counter() - began - outbox.waited
    return Done(count, size, int(busy * 1e6), digest.value())


def _keep(
    cursor: duckdb.DuckDBPyConnection,
    batch: engine.Batch,
    keep: engine.Keep,
    check: Callable[[], None],
) -> Done:
    began = time.perf_counter()
    with Writer(keep.prefix, keep.room) as writer:
        for rows in engine.run(cursor, batch):
            check()
            writer.add(rows)
        kept = writer.end()
        check()
    busy = time.perf_counter() - began
    return Done(
        rows=sum(each.rows for each in kept),
        size=sum(each.size for each in kept),
        microseconds=int(busy * 1e6),
        digest=Digest().value(),
        kept=kept,
    )


class _Running:
    """Which batch runs on which cursor, for the thread that stops it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._cursor: duckdb.DuckDBPyConnection | None = None
        self._number = -1
        self._stopped = -1

    def begin(self, number: int, cursor: duckdb.DuckDBPyConnection) -> None:
        with self._changed:
            self._number, self._cursor = number, cursor
        self.check()

    def end(self) -> None:
        with self._changed:
            self._number, self._cursor = -1, None
            self._changed.notify_all()

    def check(self) -> None:
        if self._stopped == self._number:
            raise Cancelled("the batch was stopped")

    def stop(self, number: int) -> None:
        with self._changed:
            self._stopped = number
            # An interrupt between two queries is lost, so it is repeated.
            while self._number == number and self._cursor is not None:
                self._cursor.interrupt()
                self._changed.wait(_AGAIN)


def _watch(stops: socket.socket, running: _Running) -> None:
    while data := stops.recv(NUMBER.size, socket.MSG_WAITALL):
        running.stop(NUMBER.unpack(data)[0])
    os._exit(0)


def _failure(error: Exception) -> Failure:
    if isinstance(error, QservError) and not isinstance(error, InternalError):
        return Failure(error.code, error.text)
    text = error.text if isinstance(error, InternalError) else type(error).__name__
    return Failure(InternalError.code, text, "".join(traceback.format_exception(error)))


class _Outbox:
    """Frames that go to the parent together: each sending wakes it up."""

    def __init__(self, frames: socket.socket) -> None:
        self._frames = frames
        self._waiting = bytearray()
        self.waited = 0.0
        """Seconds spent in sending, most of them in waiting for who reads."""

    def add(self, kind: Kind, body: bytes) -> None:
        self._waiting += HEAD.pack(kind, len(body))
        self._waiting += body
        if len(self._waiting) >= _TOGETHER:
            self.flush()

    def flush(self) -> None:
        began = time.perf_counter()
        self._frames.sendall(self._waiting)
        self._waiting = bytearray()
        self.waited += time.perf_counter() - began


def _send(frames: socket.socket, kind: Kind, body: bytes) -> None:
    outbox = _Outbox(frames)
    outbox.add(kind, body)
    outbox.flush()


def _receive(frames: socket.socket) -> bytes | None:
    head = frames.recv(HEAD.size, socket.MSG_WAITALL)
    if len(head) < HEAD.size:
        return None
    _, length = HEAD.unpack(head)
    return frames.recv(length, socket.MSG_WAITALL)
