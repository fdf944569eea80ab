"""Has workers scrub, all at once, and tells how far each is."""

import asyncio
from collections.abc import AsyncGenerator, Collection

import grpc.aio

from qserv.czar.members import Member, Members
from qserv.errors import InvalidRequest, QservError
from qserv.wire.errors import error_to_proto, from_rpc
from qserv.wire.v1 import czar_pb2, worker_pb2


async def scrub(
    members: Members, workers: Collection[str], rate: int
) -> AsyncGenerator[czar_pb2.ScrubClusterReply, None]:
    """Have workers read all their files.

    Parameters
    ----------
    members
        The workers.
    workers
        Ids; none: all that are alive.
    rate
        Bytes a second of each; 0: as fast as its disk gives.

    Yields
    ------
    ScrubClusterReply
        How far a worker is; at last, of each, that it has finished or failed.

    Raises
    ------
    InvalidRequest
        If a worker is none of this cluster.
    """
    known = members.all
    if strangers := sorted(set(workers) - known.keys()):
        raise InvalidRequest(
            f"there is no worker {', '.join(strangers)}; there are: "
            f"{', '.join(sorted(known)) or 'none'}"
        )
    chosen = [known[worker] for worker in sorted(workers or members.alive)]
    replies: asyncio.Queue[czar_pb2.ScrubClusterReply | None] = asyncio.Queue()
    tasks = [asyncio.create_task(_one(each, rate, replies)) for each in chosen]
    try:
        running = len(tasks)
        while running:
            reply = await replies.get()
            if reply is None:
                running -= 1
            else:
                yield reply
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _one(
    member: Member,
    rate: int,
    replies: "asyncio.Queue[czar_pb2.ScrubClusterReply | None]",
) -> None:
    request = worker_pb2.ScrubRequest(bytes_per_second=rate)
    try:
        async for progress in member.stub.Scrub(request):
            await replies.put(
                czar_pb2.ScrubClusterReply(worker_id=member.id, progress=progress)
            )
    except grpc.aio.AioRpcError as error:
        await replies.put(_failed(member, from_rpc(error, member.endpoint)))
    finally:
        replies.put_nowait(None)


def _failed(member: Member, error: QservError) -> czar_pb2.ScrubClusterReply:
    return czar_pb2.ScrubClusterReply(worker_id=member.id, error=error_to_proto(error))
