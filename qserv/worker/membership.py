"""A worker's place in its cluster: its id on disk, its signs of life to the czars."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import grpc
import grpc.aio

from qserv.errors import InvalidRequest, QservError, UserError
from qserv.storage.durable import write_file
from qserv.storage.layout import WorkerDirectory
from qserv.telemetry import logger
from qserv.wire.channel import aio_channel
from qserv.wire.errors import from_rpc
from qserv.wire.v1 import common_pb2, czar_pb2, czar_pb2_grpc

__all__ = ["Identity", "Membership"]

_TIMEOUT: Final = 5.0
_AGAIN: Final = 0.5

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a worker is, for as long as its directory lives.

    Parameters
    ----------
    worker_id
        Given by the first czar that it joined.
    cluster_id
        Of the cluster that its data belongs to.
    """

    worker_id: str
    cluster_id: str


class Membership:
    """Joins the czars again and again.

    Parameters
    ----------
    directory
        Keeps the identity.
    endpoint
        Where this worker listens, ``host:port``.
    version
        Of qserv.
    threads
        DuckDB threads over all executors.
    joined
        Called at every join with the worker's id and what was staged for loads that
        have ended.
    staged
        Returns the loads that have staged something.
    remembered
        Returns the newest snapshot that is remembered for the czar.
    disk
        Returns the bytes that its disk may still take, and has.
    damaged
        Returns the first files that it lacks, and how many it lacks.
    """

    def __init__(
        self,
        *,
        directory: WorkerDirectory,
        endpoint: str,
        version: str,
        threads: int,
        joined: Callable[[str, Collection[str]], Awaitable[None]],
        staged: Callable[[], Collection[str]],
        remembered: Callable[[], int],
        disk: Callable[[], tuple[int, int]],
        damaged: Callable[[], tuple[Sequence[common_pb2.DamagedFile], int]],
    ) -> None:
        self._path = directory.identity
        self._endpoint = endpoint
        self._version = version
        self._threads = threads
        self._joined = joined
        self._staged = staged
        self._remembered = remembered
        self._epoch = 0
        self._disk = disk
        self._damaged = damaged
        self._identity = self._read()
        self._first = asyncio.Lock()

    async def keep_joined(self, czar: str) -> None:
        """Join one czar for ever, every interval that it asks for.

        A czar that is not up is tried again until it is, and named in the log once.

        Raises
        ------
        InvalidRequest
            If the czar is of another cluster than this worker's data.
        UserError
            If the czar refuses.
        """
        reached = True
        async with aio_channel(czar) as channel:
            stub: Any = czar_pb2_grpc.CzarStub(channel)
            while True:
                try:
                    interval = await self._join(stub, czar)
                except UserError:
                    raise
                except QservError as error:
                    if reached:
                        _log.warning("cannot join a czar yet", error=error.text)
                    reached, interval = False, _AGAIN
                else:
                    if not reached:
                        _log.info("joined a czar", czar=czar)
                    reached = True
                await asyncio.sleep(interval)

    async def _join(self, stub: Any, czar: str) -> float:
        if self._identity is None:
            # Two czars asked at once would give two ids.
            async with self._first:
                return await self._join_as(self._identity, stub, czar)
        return await self._join_as(self._identity, stub, czar)

    async def _join_as(self, identity: Identity | None, stub: Any, czar: str) -> float:
        free, total = await asyncio.to_thread(self._disk)
        # A loader that was given up may still send files. What is there now, and is of
        # no load that the czar then has open, is of none that began meanwhile.
        staged = await asyncio.to_thread(self._staged)
        remembered = await asyncio.to_thread(self._remembered)
        damaged, damaged_total = await asyncio.to_thread(self._damaged)
        request = czar_pb2.JoinRequest(
            worker_id=identity.worker_id if identity else "",
            endpoint=self._endpoint,
            version=self._version,
            threads=self._threads,
            disk_free=free,
            disk_total=total,
            damaged=damaged,
            damaged_total=damaged_total,
            remembered=remembered,
        )
        try:
            reply = await stub.Join(request, timeout=_TIMEOUT)
        except grpc.RpcError as error:
            raise from_rpc(error, czar, czar=True) from None
        self._recognize(Identity(reply.worker_id, reply.cluster_id), czar)
        ended = set(staged) - set(reply.open_transactions)
        # A czar that was replaced knows nothing of the newest loads.
        self._epoch = max(self._epoch, reply.epoch)
        await self._joined(reply.worker_id, ended if reply.epoch == self._epoch else ())
        return float(reply.interval)

    def _recognize(self, given: Identity, czar: str) -> None:
        if self._identity is None:
            write_file(self._path, json.dumps(asdict(given)).encode())
            self._identity = given
            _log.info("became a worker of the cluster", worker=given.worker_id)
        elif given.cluster_id != self._identity.cluster_id:
            raise InvalidRequest(
                f"the czar at {czar} is of cluster {given.cluster_id}, but the data in "
                f"this worker's directory is of cluster {self._identity.cluster_id}: "
                "use an empty directory, or the address of the right czar"
            )
        elif given.worker_id != self._identity.worker_id:
            raise InvalidRequest(
                f"the czar at {czar} takes worker {self._identity.worker_id} for "
                f"{given.worker_id}: is one directory used by two workers?"
            )

    def _read(self) -> Identity | None:
        if not self._path.exists():
            return None
        return Identity(**json.loads(self._path.read_bytes()))
