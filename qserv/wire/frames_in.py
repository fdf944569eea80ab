"""A task's stream as its reader takes it: no row counts before its digest was right.

The czar reads its tasks this way, and so does a worker that pulls rows from a peer.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator
from typing import Any

import grpc
import grpc.aio

from qserv.errors import Cancelled, CorruptData, TaskFailed, WorkerUnavailable
from qserv.wire.codec import Digest
from qserv.wire.errors import from_rpc
from qserv.wire.v1 import worker_pb2

__all__ = ["checked_frames"]

Frame = worker_pb2.Data | worker_pb2.BatchEnd


async def checked_frames(
    call: "grpc.aio.UnaryStreamCall[Any, worker_pb2.TaskFrames]",
    *,
    attempt: int,
    endpoint: str,
    where: str,
) -> AsyncGenerator[Frame, None]:
    """Read a stream of task frames to its last; the call ends with the generator.

    Parameters
    ----------
    call
        `RunTask` or `Exchange`, just begun.
    attempt
        That all frames must name.
    endpoint
        Of the worker.
    where
        Names the worker in errors.

    Yields
    ------
    Data or BatchEnd
        Data as it comes: of a batch that is still open, so that nothing is known of
        it yet. A batch's end only if the digest over its data is the one it names.

    Raises
    ------
    CorruptData
        If a digest or an attempt is wrong.
    TaskFailed
        If the stream stops before its last frame.
    QservError
        What the worker says; `WorkerUnavailable` if it gave up or is gone.
    """
    try:
        async for frame in _frames(call, attempt, where):
            yield frame
    except grpc.aio.AioRpcError as error:
        typed = from_rpc(error, endpoint)
        if isinstance(typed, Cancelled):
            # It was not us: a worker that stops cancels its calls.
            typed = WorkerUnavailable(f"{endpoint} gave its task up")
        raise typed from error
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        # It was not us: the channel was closed under the call.
        raise WorkerUnavailable(f"the channel to {endpoint} closed") from None
    finally:
        call.cancel()


async def _frames(
    call: "grpc.aio.UnaryStreamCall[Any, worker_pb2.TaskFrames]",
    attempt: int,
    where: str,
) -> AsyncGenerator[Frame, None]:
    digests: defaultdict[int, Digest] = defaultdict(Digest)
    async for message in call:
        for frame in message.frames:
            if frame.attempt != attempt:
                raise CorruptData(f"{where} sent frames of another attempt")
            match frame.WhichOneof("frame"):
                case "data":
                    digests[frame.data.batch].update(frame.data.record_batch)
                    yield frame.data
                case "batch_end":
                    end = frame.batch_end
                    if digests.pop(end.batch, Digest()).value() != end.digest:
                        raise CorruptData(
                            f"{where}: batch {end.batch} differs from its digest"
                        )
                    yield end
                case "task_end":
                    return
                case "progress" | None:
                    pass
    raise TaskFailed(f"{where} stopped before the end of its task")
