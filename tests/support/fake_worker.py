"""Workers that do what a test tells them to, over real gRPC, in the test's own loop."""

import asyncio
from contextlib import asynccontextmanager
from hashlib import sha256

import grpc
import pyarrow as pa

from qserv.catalog.checkpoint import decode
from qserv.catalog.tables import Column, DataType
from qserv.errors import SpoolLost
from qserv.storage.remembered import unpacked
from qserv.wire.channel import start_server
from qserv.wire.codec import Digest, arrow_schema
from qserv.wire.v1 import worker_pb2 as pb
from qserv.wire.v1.worker_pb2_grpc import WorkerServicer, add_WorkerServicer_to_server

COLUMNS = (Column("chunk", DataType.BIGINT), Column("n", DataType.BIGINT))
SCHEMA = arrow_schema(COLUMNS)
ROWS = 3
"""Rows that a fake worker has in each chunk: (chunk, 0), (chunk, 1), (chunk, 2)."""


class FakeWorker(WorkerServicer):
    """Answers each chunk as a batch of its own, unless `trouble` says otherwise.

    `trouble` is a word, or an error to raise: "dies" in the open batch of its second
    chunk, or "dies in stage 1", "damages" the first batch, "loses a row" of it,
    "hangs", "ends early", "forgets" once what it spooled when it is read, "forgets
    always". Of a bucket it answers a row (bucket, chunk) for each chunk in the spools
    that the task names.
    """

    def __init__(self, worker_id, peers):
        self.id = worker_id
        self.peers = peers
        self.trouble = None
        self.spools = {}
        self.ended = asyncio.Queue()
        self.tasks = []
        self.installed = []
        self.changes = []
        self.discarded = []
        self.lookups = []
        self.catalog = {}
        self.remembered = []
        self.homes = {}
        self.hangs = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def Remember(self, request, context):
        if isinstance(self.trouble, Exception):
            raise self.trouble
        checkpoint = decode(request.checkpoint, "")
        for part in map(unpacked, request.parts):
            self.catalog[sha256(part).hexdigest()] = part
        missing = {part.sha256 for part in checkpoint.parts} - self.catalog.keys()
        if not missing:
            self.remembered.append(checkpoint)
        return pb.RememberReply(missing=missing)

    async def RunTask(self, request, context):
        self.tasks.append(request)
        if isinstance(self.trouble, Exception):
            raise self.trouble
        if self.trouble == "hangs":
            await self.hang()
        if self.trouble == "dies in stage 1" and request.stage == 1:
            self.spools.clear()
            await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        if self.trouble == "ends early":
            return
        for number, chunk in enumerate(request.chunks):
            if request.HasField("spool"):
                self.spools[request.stage, request.attempt, number] = chunk
                yield frame(request, batch_end=end_of(number, chunk))
                continue
            data = rows(chunk, self.pulled(request))
            if self.trouble == "loses a row" and number == 0:
                data = data.slice(1)
            message = bytes(data.serialize())
            yield frame(request, data=pb.Data(batch=number, record_batch=message))
            if self.trouble == "dies" and number == 1:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
            digest = Digest()
            digest.update(message)
            if self.trouble == "damages" and number == 0:
                digest.update(b"x")
            size = data.num_rows + (self.trouble == "loses a row" and number == 0)
            end = end_of(number, chunk, size, digest.value())
            yield frame(request, batch_end=end)
        yield frame(request, task_end=pb.TaskEnd(batches=len(request.chunks)))

    def pulled(self, request):
        """Return the chunks in the spools that a task reads; None if it reads none."""
        if not request.bucket_inputs:
            return None
        shares = [share for read in request.bucket_inputs for share in read.shares]
        return [
            chunk
            for share in shares
            for chunk in self.peers[share.peer.worker_id].kept(share)
        ]

    def kept(self, share):
        if self.trouble in {"forgets", "forgets always"}:
            self.spools.clear()
            self.trouble = None if self.trouble == "forgets" else self.trouble
        found = {
            (attempt, batch): chunk
            for (_, attempt, batch), chunk in self.spools.items()
        }
        try:
            return [found[share.attempt, batch] for batch in share.batches]
        except KeyError:
            text = f"worker {self.id} has no spool of attempt {share.attempt}"
            raise SpoolLost(text, self.id) from None

    async def EndQuery(self, request, context):
        self.spools.clear()
        self.ended.put_nowait(request.query_id)
        return pb.EndQueryReply()

    async def hang(self):
        self.hangs.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()

    async def LookupKeys(self, request, context):
        self.lookups.append(request)
        if isinstance(self.trouble, Exception):
            raise self.trouble
        if request.HasField("low"):
            between = range(request.low, request.high + 1)
            return pb.LookupReply(
                homes={h for k, h in self.homes.items() if k in between}
            )
        keys = request.keys.integers
        return pb.LookupReply(homes=[self.homes.get(key, -1) for key in keys])

    async def Install(self, requests, context):
        request = pb.InstallRequest()
        async for part in requests:
            request.MergeFrom(part)
        if unknown := {m.table for m in request.manifests if m.base}:
            self.changes.append(request)
            return pb.InstallReply(unknown=unknown)
        if isinstance(self.trouble, Exception):
            raise self.trouble
        if self.trouble == "hangs":
            await self.hang()
        self.installed.append(request)
        return pb.InstallReply()

    async def Discard(self, request, context):
        self.discarded.append(request.transaction)
        return pb.DiscardReply()


def frame(task, **part):
    return pb.TaskFrames(frames=[pb.TaskFrame(attempt=task.attempt, **part)])


def end_of(batch, chunk, size=ROWS, digest=b""):
    return pb.BatchEnd(
        batch=batch,
        chunks=[chunk],
        file_parts=[-1],
        rows=size,
        digest=digest,
        counters=pb.Counters(bytes_scanned=100, bytes_out=1000),
    )


def rows(chunk, pulled=None):
    numbers = pa.array(range(ROWS) if pulled is None else pulled, pa.int64())
    chunks = pa.array([chunk] * len(numbers), pa.int64())
    return pa.RecordBatch.from_arrays([chunks, numbers], schema=SCHEMA)


@asynccontextmanager
async def joined(members, *names):
    """Serve fake workers that have joined; gives them by name."""
    workers, servers = {}, []
    for name in names:
        workers[name] = FakeWorker(name, workers)
        server, port = await start_server(
            "127.0.0.1",
            0,
            lambda s, w=workers[name]: add_WorkerServicer_to_server(w, s),
        )
        servers.append(server)
        await members.join(name, f"127.0.0.1:{port}", 1)
    try:
        yield workers
    finally:
        for server in servers:
            await server.stop(None)
