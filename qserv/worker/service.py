"""The gRPC face of a worker: tasks, key look-ups, files, and who it is."""

import asyncio
import shutil
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
)
from contextlib import AsyncExitStack, aclosing
from importlib.metadata import version
from typing import Any, Final

import grpc
import grpc.aio
from typing_extensions import override

from qserv import failpoint
from qserv.errors import ChunkMissing, InvalidValue, SpoolLost
from qserv.ingest.receiver import Receiver
from qserv.sky.healpix import ORDER
from qserv.storage.inventory import Pinned
from qserv.storage.layout import WorkerDirectory
from qserv.storage.manifests import ManifestStore
from qserv.telemetry import logger, query_context
from qserv.wire.bundle import Bundle
from qserv.wire.messages import keys_from_proto
from qserv.wire.v1 import common_pb2, worker_pb2, worker_pb2_grpc
from qserv.worker.copying import Copier
from qserv.worker.disk import Disk
from qserv.worker.engine import Batch
from qserv.worker.frames import TaskStream, spooled
from qserv.worker.gathering import Gathering
from qserv.worker.integrity import Integrity
from qserv.worker.lookup import KeyIndex
from qserv.worker.peers import Peers
from qserv.worker.pool import Job, Pool
from qserv.worker.process import Done
from qserv.worker.remembering import Remembering
from qserv.worker.spools import Spools
from qserv.worker.tasks import Inputs, WorkerTask

__all__ = ["WorkerService"]

Context = grpc.aio.ServicerContext[Any, Any]

_FLUSH_SECONDS: Final = 0.2
_SENT: Final = {"data": "worker.task.data-sent", "batch_end": "worker.task.batch-sent"}
"""Failpoints by the kind of frame that was just sent."""

_log = logger(__name__)


class WorkerService(worker_pb2_grpc.WorkerServicer):
    """Serves one worker.

    Parameters
    ----------
    directory
        Where it keeps everything.
    manifests, integrity, index, receiver
        What it holds, which files are good, its index shards, its loads.
    copier
        Copies files from other workers, and serves them.
    remembering
        Remembers the metadata for its czar.
    pool
        Its executors.
    disk, peers
        Room for rows that move between workers, and these.
    batch_bytes, batch_chunks
        Limits of a batch.
    executors, threads
        How many executors, and DuckDB threads over all of them.
    """

    def __init__(
        self,
        *,
        directory: WorkerDirectory,
        manifests: ManifestStore,
        integrity: Integrity,
        index: KeyIndex,
        receiver: Receiver,
        copier: Copier,
        remembering: Remembering,
        pool: Pool,
        disk: Disk,
        peers: Peers,
        batch_bytes: int,
        batch_chunks: int,
        executors: int,
        threads: int,
    ) -> None:
        self.worker_id = ""
        """Given by the first czar that was joined."""
        self._directory = directory
        self._manifests = manifests
        self._integrity = integrity
        self._index = index
        self._receiver = receiver
        self._copier = copier
        self._remembering = remembering
        self._pool = pool
        self._disk = disk
        self._peers = peers
        self._spools = Spools(disk)
        self._batch_bytes = batch_bytes
        self._batch_chunks = batch_chunks
        self._executors = executors
        self._threads = threads

    @override
    async def RunTask(
        self, request: worker_pb2.Task, context: Context
    ) -> AsyncIterator[worker_pb2.TaskFrames]:
        """Run a task batch by batch and stream its frames."""
        with query_context(request.query_id):
            self._spools.touch(request.query_id)
            task = WorkerTask(
                request,
                manifests=self._manifests,
                batch_bytes=self._batch_bytes,
                batch_chunks=self._batch_chunks,
                executors=self._executors,
            )
            async with AsyncExitStack() as stack:
                gathering = None
                if task.gathers:
                    folder = self._disk.folder()
                    gathering = Gathering(
                        task,
                        folder=folder,
                        peers=self._peers,
                        spools=self._spools,
                        ahead=self._executors + 1,
                    )
                    await stack.enter_async_context(gathering)
                run = self._run(task, gathering)
                messages = await stack.enter_async_context(aclosing(run))
                async for message in messages:
                    yield message
                    await _may_fail_after(message)

    async def _run(
        self, task: WorkerTask, gathering: Gathering | None
    ) -> AsyncGenerator[worker_pb2.TaskFrames]:
        request = task.request
        stream = TaskStream(task, request.attempt)
        waiting = Bundle[worker_pb2.TaskFrame]()
        pinned: dict[int, Pinned] = {}
        prepare = self._prepare(task, stream, gathering, pinned)
        gather = gathering.gather if gathering else None
        job = Job(len(task.batches), task.scan_class, prepare, gather)
        async with aclosing(self._pool.run(job)) as events:
            async for event in events:
                match event.content:
                    case bytes():
                        waiting.add(stream.data(event.batch, event.content))
                    case Done():
                        self._integrity.check(pinned.pop(event.batch))
                        if gathering:
                            gathering.release(event.batch)
                        if request.HasField("spool"):
                            kept = event.content.kept
                            self._spools.keep(request, event.batch, kept)
                            failpoint.reached("worker.task.spooled")
                        waiting.add(*stream.ended(event.batch, event.content))
                        if stream.is_full or stream.is_last:
                            break
                    case Exception():
                        files = pinned.get(event.batch, ())
                        error = await self._integrity.blamed(files, event.content)
                        raise _placed(error, task.place(event.batch))
                # The end of a batch makes its rows count: it is not kept back.
                if waiting.full or isinstance(event.content, Done) or _is_watched():
                    yield worker_pb2.TaskFrames(frames=waiting.take())
        # Before the last frame: a czar that has it may not ask for more.
        _log.info(
            "task done",
            attempt=request.attempt,
            chunks=len(request.chunks),
            batches=len(task.batches),
        )
        waiting.add(stream.end())
        yield worker_pb2.TaskFrames(frames=waiting.take())

    def _prepare(
        self,
        task: WorkerTask,
        stream: TaskStream,
        gathering: Gathering | None,
        pinned: dict[int, Pinned],
    ) -> Callable[[int], Awaitable[Batch]]:
        async def prepare(number: int) -> Batch:
            entries = task.entries(number)
            files = [entry for of_source in entries for entry in of_source]
            pinned[number] = await self._integrity.ready(files)
            inputs = gathering.inputs(number) if gathering else Inputs()
            size = sum(entry.size for entry in files)
            stream.reads(number, len(files), size, inputs.size)
            spools = task.request.HasField("spool")
            keep = self._spools.place(task.request, number) if spools else None
            return task.batch(entries, inputs, stream.rows, keep)

        return prepare

    @override
    async def LookupKeys(
        self, request: worker_pb2.LookupRequest, context: Context
    ) -> worker_pb2.LookupReply:
        """Turn director keys into homes."""
        name = f"{request.release}.{request.table}"
        held = self._manifests.holding(
            request.release, request.table, request.manifest_version
        )
        if held is None:
            raise ChunkMissing(
                f"this worker does not hold {name} at version "
                f"{request.manifest_version}"
            )
        if request.HasField("low") or request.HasField("high"):
            homes = await asyncio.to_thread(
                self._index.between,
                held,
                request.shards,
                request.low,
                request.high,
                request.order if request.HasField("order") else ORDER,
            )
            return worker_pb2.LookupReply(homes=homes)
        keys = keys_from_proto(request.keys)
        if self._index.knows(held, request.shards, keys):
            homes = self._index.homes(held, request.shards, keys)
        else:
            homes = await asyncio.to_thread(
                self._index.homes, held, request.shards, keys
            )
        return worker_pb2.LookupReply(homes=homes)

    @override
    async def Stage(
        self, request_iterator: Any, context: Context
    ) -> worker_pb2.StageReply:
        """Receive one file."""
        return await self._receiver.stage(request_iterator)

    @override
    async def Install(
        self, request_iterator: Any, context: Context
    ) -> worker_pb2.InstallReply:
        """Put a transaction's files in place, durably."""
        unknown = await self._receiver.install(request_iterator)
        return worker_pb2.InstallReply(unknown=unknown)

    @override
    async def Discard(
        self, request: worker_pb2.DiscardRequest, context: Context
    ) -> worker_pb2.DiscardReply:
        """Forget a transaction."""
        await self._receiver.discard(request.transaction)
        return worker_pb2.DiscardReply()

    @override
    async def Describe(
        self, request: worker_pb2.DescribeRequest, context: Context
    ) -> worker_pb2.DescribeReply:
        """Tell who this worker is, what it holds and what runs on it."""
        held, manifests = await asyncio.to_thread(self._described, request.manifests)
        return worker_pb2.DescribeReply(
            worker_id=self.worker_id,
            version=version("qserv"),
            executors=self._executors,
            threads=self._threads,
            running_batches=self._pool.running,
            waiting_batches=self._pool.waiting,
            disk_free=shutil.disk_usage(self._directory.root).free,
            disk_used=sum(table.size for table in held),
            held=held,
            manifests=manifests,
        )

    def _described(
        self, manifests: bool
    ) -> tuple[list[worker_pb2.HeldTable], list[worker_pb2.HeldManifest]]:
        held = [
            worker_pb2.HeldTable(
                release=holding.manifest.release,
                table=holding.manifest.table,
                manifest_version=holding.manifest.version,
                chunks=holding.chunks,
                rows=holding.rows,
                size=holding.size,
            )
            for holding in self._manifests.newest()
        ]
        told = self._manifests.told() if manifests else {}
        return held, [
            worker_pb2.HeldManifest(
                release=release, table=table, version=version, content=each.content
            )
            for (release, table, version), each in told.items()
        ]

    @override
    async def Fetch(
        self, request: worker_pb2.FetchRequest, context: Context
    ) -> AsyncIterator[worker_pb2.FetchPart]:
        """Stream a file to a peer."""
        parts = self._copier.send(request.path, request.offset)
        async with aclosing(parts):
            async for data in parts:
                yield worker_pb2.FetchPart(data=data)

    @override
    async def Pull(
        self, request_iterator: Any, context: Context
    ) -> AsyncIterator[worker_pb2.PullProgress]:
        """Copy files from peers; take manifests over; drop files."""
        async with aclosing(self._copier.pull(request_iterator)) as steps:
            async for progress in steps:
                yield progress

    @override
    async def Scrub(
        self, request: worker_pb2.ScrubRequest, context: Context
    ) -> AsyncIterator[common_pb2.ScrubProgress]:
        """Read every file and compare it with its checksum."""
        async with aclosing(self._integrity.scrub(request)) as steps:
            async for progress in steps:
                yield progress

    @override
    async def Examine(
        self, request: worker_pb2.ExamineRequest, context: Context
    ) -> worker_pb2.ExamineReply:
        """Tell what a check of the cluster wants to know."""
        return await self._integrity.examine(self.worker_id)

    @override
    async def Remember(
        self, request: worker_pb2.RememberRequest, context: Context
    ) -> worker_pb2.RememberReply:
        """Keep a checkpoint of the metadata."""
        return await self._remembering.remember(request)

    @override
    async def Recall(
        self, request: worker_pb2.RecallRequest, context: Context
    ) -> AsyncIterator[worker_pb2.RecallPart]:
        """Stream what metadata can be made of again."""
        async for part in self._remembering.recall():
            yield part

    @override
    async def Exchange(
        self, request: worker_pb2.SpoolRequest, context: Context
    ) -> AsyncIterator[worker_pb2.TaskFrames]:
        """Stream one bucket of what a query keeps here."""
        with query_context(request.query_id):
            try:
                for message in spooled(self._spools, request):
                    yield message
            except SpoolLost as error:
                error.worker_id = self.worker_id
                raise

    @override
    async def EndQuery(
        self, request: worker_pb2.EndQueryRequest, context: Context
    ) -> worker_pb2.EndQueryReply:
        """Forget what a query keeps here."""
        await self._spools.end(request.query_id)
        return worker_pb2.EndQueryReply()


def _placed(error: Exception, place: str) -> Exception:
    match error:
        case InvalidValue():
            return InvalidValue(f"{error.text} (in {place})")
        case _:
            return error


def _is_watched() -> bool:
    return any(map(failpoint.waits, _SENT.values()))


async def _may_fail_after(message: worker_pb2.TaskFrames) -> None:
    for frame in message.frames:
        name = _SENT.get(frame.WhichOneof("frame") or "")
        if name is not None and failpoint.waits(name):
            # What was written to the stream shall be seen on the far side.
            await asyncio.sleep(_FLUSH_SECONDS)
            failpoint.reached(name)
