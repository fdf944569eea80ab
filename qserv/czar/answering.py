"""What ends a call to a worker, as errors of ours."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import grpc.aio

from qserv.czar.members import Member
from qserv.errors import (
    Cancelled,
    DeadlineExceeded,
    QservError,
    TaskFailed,
    WorkerUnavailable,
)
from qserv.wire.errors import from_rpc


@contextmanager
def answering(member: Member) -> Iterator[None]:
    """Turn what ends a call to a worker in the block into our errors.

    Raises
    ------
    WorkerUnavailable
        If it does not answer, or joined again under the call.
    TaskFailed
        If it took too long.
    QservError
        What it raised.
    """
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise _told(from_rpc(error, member.endpoint), member) from error
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        # It was not us: the channel was closed under the call.
        raise WorkerUnavailable(f"the channel to {member.endpoint} closed") from None


def _told(error: QservError, member: Member) -> QservError:
    if isinstance(error, DeadlineExceeded | Cancelled):
        return TaskFailed(f"worker {member.id}: {error.text}")
    return error
