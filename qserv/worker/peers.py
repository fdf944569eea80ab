"""Rows that other workers send: checked, counted and written down as they come."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import grpc.aio
import pyarrow as pa

from qserv.errors import CorruptData
from qserv.wire.channel import aio_channel
from qserv.wire.codec import decode_batch
from qserv.wire.frames_in import checked_frames
from qserv.wire.v1 import worker_pb2, worker_pb2_grpc
from qserv.worker.disk import Folder, unwritten

__all__ = ["Peers", "Received", "received", "received_together"]


@dataclass(frozen=True, slots=True)
class Received:
    """One batch that came whole.

    Parameters
    ----------
    batch
        Its number.
    chunks
        That it is made of.
    path, size
        The file with its messages and their bytes; an empty path where it has no rows.
    """

    batch: int
    chunks: tuple[int, ...]
    path: str
    size: int


class Peers:
    """Channels to other workers, opened when first used."""

    def __init__(self) -> None:
        self._channels: dict[str, grpc.aio.Channel] = {}

    def stub(self, peer: worker_pb2.Peer) -> "worker_pb2_grpc.WorkerAsyncStub":
        """Return what calls a worker."""
        endpoint = peer.endpoint
        if endpoint not in self._channels:
            self._channels[endpoint] = aio_channel(endpoint)
        stub: Any = worker_pb2_grpc.WorkerStub(self._channels[endpoint])
        return cast("worker_pb2_grpc.WorkerAsyncStub", stub)

    async def close(self) -> None:
        """Close all channels; calls that still run fail."""
        channels, self._channels = self._channels, {}
        await asyncio.gather(*(channel.close() for channel in channels.values()))


async def received(
    call: "grpc.aio.UnaryStreamCall[Any, worker_pb2.TaskFrames]",
    *,
    attempt: int,
    peer: worker_pb2.Peer,
    schema: pa.Schema,
    folder: Folder,
    name: str,
) -> AsyncGenerator[Received, None]:
    """Write down what a peer sends; memory holds one message at a time.

    Parameters
    ----------
    call, attempt, peer
        As for `checked_frames`.
    schema
        Of the rows.
    folder, name
        Where files go, and how their names begin; unique to this call.

    Yields
    ------
    Received
        Each batch that ended with the right digest and number of rows.

    Raises
    ------
    CorruptData
        If rows, their digest or their number is wrong.
    LimitExceeded
        If there is no room.
    TaskFailed
        If the disk takes no rows.
    QservError
        As `checked_frames`.
    """
    where = f"worker {peer.worker_id} at {peer.endpoint}"
    files: dict[int, _File] = {}
    frames = checked_frames(call, attempt=attempt, endpoint=peer.endpoint, where=where)
    try:
        async with aclosing(frames):
            async for frame in frames:
                number = frame.batch
                file = files.get(number)
                if isinstance(frame, worker_pb2.Data):
                    if file is None:
                        file = files[number] = _File(folder, f"{name}-{number}", schema)
                    file.add(frame.record_batch)
                    continue
                files.pop(number, None)
                rows, path, size = file.end() if file else (0, "", 0)
                if rows != frame.rows:
                    raise CorruptData(f"{where}: batch {number} lacks rows")
                yield Received(number, tuple(frame.chunks), path, size)
    finally:
        for left in files.values():
            left.discard()


async def received_together(
    call: "grpc.aio.UnaryStreamCall[Any, worker_pb2.TaskFrames]",
    *,
    attempt: int,
    peer: worker_pb2.Peer,
    schema: pa.Schema,
    folder: Folder,
    name: str,
    batches: Collection[int],
) -> tuple[str, int]:
    """Write down what a peer sends, all of it in one file.

    Parameters
    ----------
    call, attempt, peer, schema, folder
        As for `received`.
    name
        Of the file.
    batches
        That must come.

    Returns
    -------
    tuple
        Path and bytes of the file.

    Raises
    ------
    CorruptData
        As `received`, and if other batches came.
    QservError
        As `received`.
    """
    where = f"worker {peer.worker_id} at {peer.endpoint}"
    file = _File(folder, name, schema)
    frames = checked_frames(call, attempt=attempt, endpoint=peer.endpoint, where=where)
    try:
        async with aclosing(frames):
            await _into(file, frames, where, set(batches))
    except BaseException:
        file.discard()
        raise
    _, path, size = file.end()
    return path, size


async def _into(
    file: "_File",
    frames: AsyncGenerator[worker_pb2.Data | worker_pb2.BatchEnd],
    where: str,
    wanted: set[int],
) -> None:
    rows: Counter[int] = Counter()
    async for frame in frames:
        if isinstance(frame, worker_pb2.Data):
            rows[frame.batch] += file.add(frame.record_batch)
        elif frame.batch not in wanted or rows[frame.batch] != frame.rows:
            raise CorruptData(f"{where}: batch {frame.batch} is not as it was asked")
        else:
            wanted.remove(frame.batch)
    if wanted:
        raise CorruptData(f"{where} sent too few batches")


class _File:
    """The rows of a batch that is still open."""

    def __init__(self, folder: Folder, name: str, schema: pa.Schema) -> None:
        self._folder, self._name, self._schema = folder, name, schema
        self._file = Path(folder.path(name)).open("wb")  # noqa: SIM115 open for long
        self._rows = self._size = 0

    def add(self, message: bytes) -> int:
        rows = int(decode_batch(message, self._schema).num_rows)
        self._rows += rows
        self._size += len(message)
        self._folder.took(self._name, len(message))
        try:
            self._file.write(message)
        except OSError as error:
            raise unwritten(error) from error
        return rows

    def end(self) -> tuple[int, str, int]:
        self._file.close()
        return self._rows, self._folder.path(self._name), self._size

    def discard(self) -> None:
        self._file.close()
        self._folder.remove(self._name)
