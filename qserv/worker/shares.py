"""The rows of an earlier stage in one bucket, from all workers that spooled them."""

import asyncio
import itertools
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from qserv.errors import ClusterError, CorruptData, SpoolLost
from qserv.wire.codec import Digest, decode_schema
from qserv.wire.v1 import worker_pb2
from qserv.worker.arrowfile import messages
from qserv.worker.disk import Folder
from qserv.worker.peers import Peers, received_together
from qserv.worker.spools import Spools, Stored

__all__ = ["Shares"]

T = TypeVar("T")

_numbers = itertools.count(1)


class Shares:
    """Brings buckets here, for one task.

    Parameters
    ----------
    query_id
        Of the task.
    folder
        Where rows of others go.
    peers
        The other workers.
    spools
        What is kept here, and is read where it lies.
    """

    def __init__(
        self, query_id: str, *, folder: Folder, peers: Peers, spools: Spools
    ) -> None:
        self._query_id = query_id
        self._folder = folder
        self._peers = peers
        self._spools = spools

    async def bring(
        self, given: worker_pb2.BucketInput, buckets: Iterable[int]
    ) -> list[tuple[str, int]]:
        """Bring the rows of an input in some buckets here.

        Returns
        -------
        list
            Path and bytes of each file.

        Raises
        ------
        SpoolLost
            If a worker cannot give its share; names the worker.
        LimitExceeded
            If there is no room.
        """
        schema = decode_schema(given.schema)
        found = await _all(
            self._share(given.stage, schema, share, bucket)
            for bucket in buckets
            for share in given.shares
        )
        return [file for files in found for file in files]

    def drop(self, files: Iterable[tuple[str, int]]) -> None:
        """Remove files that `bring` made; what a spool keeps stays."""
        for path, _ in files:
            if self._folder.holds(path):
                self._folder.remove(Path(path).name)

    async def _share(
        self,
        stage: int,
        schema: pa.Schema,
        share: worker_pb2.SpoolShare,
        bucket: int,
    ) -> list[tuple[str, int]]:
        worker = share.peer.worker_id
        # An attempt runs on one worker: if it spooled here, this is the share's worker.
        here = self._spools.has(self._query_id, stage, share.attempt)
        try:
            if here:
                return await self._kept(stage, share, bucket)
            return [await self._pulled(stage, schema, share, bucket)]
        except ClusterError as error:
            raise SpoolLost(
                f"worker {worker} does not give its rows of stage {stage}: "
                f"{error.text}",
                worker,
            ) from error

    async def _kept(
        self, stage: int, share: worker_pb2.SpoolShare, bucket: int
    ) -> list[tuple[str, int]]:
        stored = self._spools.find(
            self._query_id, stage, share.attempt, share.batches, bucket
        )
        files = [each for each in stored if each.path]
        await asyncio.to_thread(_check, files)
        return [(each.path, each.kept.size) for each in files]

    async def _pulled(
        self,
        stage: int,
        schema: pa.Schema,
        share: worker_pb2.SpoolShare,
        bucket: int,
    ) -> tuple[str, int]:
        request = worker_pb2.SpoolRequest(
            query_id=self._query_id,
            stage=stage,
            attempt=share.attempt,
            batches=share.batches,
            bucket=bucket,
        )
        return await received_together(
            self._peers.stub(share.peer).Exchange(request),
            attempt=share.attempt,
            peer=share.peer,
            schema=schema,
            folder=self._folder,
            name=f"bucket-{next(_numbers)}",
            batches=share.batches,
        )


async def _all(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Do all, or stop all with the first that fails."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _check(files: Iterable[Stored]) -> None:
    for stored in files:
        digest = Digest()
        for message in messages(stored.path):
            digest.update(message)
        if digest.value() != stored.kept.digest:
            raise CorruptData("rows kept on a worker differ from their digest")
