"""A czar that says what a test tells it to, over real gRPC."""

import asyncio
import threading
from contextlib import contextmanager

import pyarrow as pa

from qserv.catalog.tables import Column
from qserv.wire.channel import start_server
from qserv.wire.codec import Digest, arrow_schema, encode_batches, encode_schema
from qserv.wire.v1 import czar_pb2 as pb
from qserv.wire.v1.czar_pb2_grpc import CzarServicer, add_CzarServicer_to_server


class FakeCzar(CzarServicer):
    """Answers `Query` with `frames`, which a test may spoil; remembers requests."""

    def __init__(self):
        self.frames = []
        self.status = pb.StatusReply(version="1.0", snapshot=7)
        self.error = None
        self.requests = []
        self.cancelled = threading.Event()
        self.hang_after = None

    async def Query(self, request, context):
        self.requests.append(request)
        if self.error:
            raise self.error
        for number, frame in enumerate(self.frames):
            if number == self.hang_after:
                await self.hang()
            yield pb.ResultFrames(frames=[frame])

    async def hang(self):
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()

    async def Explain(self, request, context):
        what = "what happened to" if request.analyze else "the plan of"
        return pb.ExplainReply(text=f"{what} {request.query.text}")

    async def Cancel(self, request, context):
        return pb.CancelReply(found=request.query_id == "q-1")

    async def Status(self, request, context):
        return self.status


@contextmanager
def serving(czar):
    """Serve a fake czar from a thread; gives its endpoint."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(20)

    def register(server):
        add_CzarServicer_to_server(czar, server)

    server, port = run(start_server("127.0.0.1", 0, register))
    try:
        yield f"127.0.0.1:{port}"
    finally:
        run(server.stop(0))
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()


def answer(columns: list[Column], rows: dict[str, list], warnings=(), pieces=2):
    """Make the frames of a whole, right answer."""
    schema = arrow_schema(columns)
    table = pa.table(rows, schema=schema)
    header = pb.ResultHeader(
        schema=encode_schema(schema),
        query_id="q-1",
        release="hip",
        snapshot=7,
        chunks=2,
        chunks_total=12,
    )
    digest = Digest()
    frames = [pb.ResultFrame(header=header)]
    step = max(1, -(-table.num_rows // pieces))
    for first in range(0, table.num_rows, step):
        for message in encode_batches(table.slice(first, step)):
            digest.update(message)
            frames.append(pb.ResultFrame(data=pb.ResultData(record_batch=message)))
        progress = pb.ResultProgress(chunks_done=1, chunks=2, rows=first)
        frames.append(pb.ResultFrame(progress=progress))
    trailer = pb.ResultTrailer(
        rows=table.num_rows,
        warnings=warnings,
        microseconds=1500,
        digest=digest.value(),
    )
    return [*frames, pb.ResultFrame(trailer=trailer)]
