"""A real worker in this event loop, with real executor processes and a gRPC port."""

import asyncio
import contextlib
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import grpc
import numpy as np
import pyarrow as pa
import pytest

from qserv.catalog.snapshot import EVERYWHERE, Role
from qserv.catalog.tables import CHUNK, HEALPIX, Column, DataType
from qserv.config import WorkerConfig
from qserv.sky.chunking import pixel_range
from qserv.storage import layout, shard
from qserv.wire.channel import aio_channel
from qserv.wire.codec import Digest, arrow_schema, decode_batch, encode_schema
from qserv.wire.errors import from_rpc
from qserv.wire.messages import columns_to_proto, entry_to_proto, keys_to_proto
from qserv.wire.v1 import common_pb2, worker_pb2
from qserv.wire.v1.worker_pb2_grpc import WorkerStub
from qserv.worker import program

RELEASE = "dr1"
COLUMNS = (
    Column(HEALPIX, DataType.BIGINT),
    Column("objectId", DataType.BIGINT),
    Column("mag", DataType.DOUBLE),
    Column("name", DataType.VARCHAR),
    Column(CHUNK, DataType.BIGINT),
)
OWN, OVERLAP, COPY, HALO = (
    common_pb2.EXTENT_OWN,
    common_pb2.EXTENT_OWN_AND_OVERLAP,
    common_pb2.EXTENT_COPY,
    common_pb2.EXTENT_HALO,
)


def rows_of(chunk, count, first=0):
    """Make `count` rows of a chunk; ids are unique over chunks and calls."""
    low, _ = pixel_range(chunk)
    number = np.arange(first, first + count)
    return pa.table(
        {
            HEALPIX: low + number,
            "objectId": chunk * 1_000_000 + number,
            "mag": 15 + (number % 100) / 10,
            "name": [f"star {n}" for n in number],
            CHUNK: np.full(count, chunk),
        },
        schema=arrow_schema(COLUMNS),
    )


@dataclass
class Answer:
    """What a task's stream said."""

    rows: list[pa.RecordBatch] = field(default_factory=list)
    ends: list[worker_pb2.BatchEnd] = field(default_factory=list)
    progress: list[tuple[int, int]] = field(default_factory=list)
    end: worker_pb2.TaskEnd | None = None

    def column(self, name):
        return [value for b in self.rows for value in b.column(name).to_pylist()]

    @property
    def batches(self):
        return sorted(list(end.chunks) for end in self.ends)


class Worker:
    """Loads and asks one worker over gRPC."""

    def __init__(self, directory, stub, ended, endpoint):
        self.directory, self.stub, self.ended = directory, stub, ended
        self.endpoint = endpoint
        self.versions = {}

    async def stage(self, transaction, table, path, rows, role, chunk):
        entry, content = shard.made(rows, role=role, chunk=chunk, path=path, bounded=())
        header = worker_pb2.StageHeader(
            transaction=transaction,
            release=RELEASE,
            table=table,
            entry=entry_to_proto(entry),
        )
        parts = [worker_pb2.StagePart(header=header)]
        parts += [worker_pb2.StagePart(data=content.to_pybytes())]
        await self.stub.Stage(iter(parts))
        return header.entry

    async def load(
        self, table="Object", own=None, overlap=None, copy=None, index=None, chunks=None
    ):
        """Load rows by chunk (by shard: index); `chunks` are placed, by default own."""
        version = self.versions[table] = self.versions.get(table, 0) + 1
        transaction = f"{table}{version}"
        name = f"{transaction}-0"
        base, around = layout.base_path, layout.overlap_path
        files = [
            *((base(RELEASE, table, c, name), r, Role.BASE, c) for c, r in _all(own)),
            *(
                (around(RELEASE, table, c, name), r, Role.OVERLAP, c)
                for c, r in _all(overlap)
            ),
            *(
                (layout.index_path(RELEASE, table, s, name), r, Role.INDEX, s)
                for s, r in _all(index)
            ),
        ]
        if copy is not None:
            path = layout.copy_path(RELEASE, table, name)
            files.append((path, copy, Role.BASE, EVERYWHERE))
        placed = chunks if chunks is not None else own or ([0] if copy else ())
        manifest = common_pb2.Manifest(
            release=RELEASE,
            table=table,
            version=version,
            tree_version=1,
            entries=[await self.stage(transaction, table, *file) for file in files],
            chunks=placed,
        )
        request = worker_pb2.InstallRequest(
            transaction=transaction, manifests=[manifest]
        )
        await self.stub.Install(iter([request]))

    def source(self, table="Object", extent=OWN, columns=COLUMNS, **more):
        return common_pb2.ScanSource(
            **{
                "release": RELEASE,
                "table": table,
                "tree_version": 1,
                "manifest_version": self.versions.get(table, 1),
                "extent": extent,
                "columns": columns_to_proto(columns),
            }
            | more
        )

    def task(self, sql, chunks, columns, sources=None, **more):
        return worker_pb2.Task(
            **{
                "query_id": "q-1",
                "attempt": 3,
                "sql": sql,
                "sources": [self.source()] if sources is None else sources,
                "chunks": chunks,
                "schema": encode_schema(arrow_schema(columns)),
                "scan_class": worker_pb2.SCAN_CLASS_SCAN,
            }
            | more
        )

    async def run(self, sql, chunks, columns, sources=None, **more):
        """Run a task and check what its frames promise."""
        task = self.task(sql, chunks, columns, sources, **more)
        schema = arrow_schema(columns)
        answer, open_batches = Answer(), {}
        async for frame in frames_of(self.stub.RunTask(task)):
            assert frame.attempt == task.attempt
            assert answer.end is None
            match frame.WhichOneof("frame"):
                case "data":
                    messages = open_batches.setdefault(frame.data.batch, [])
                    messages.append(frame.data.record_batch)
                case "batch_end":
                    messages = open_batches.pop(frame.batch_end.batch, [])
                    if not task.HasField("spool"):
                        answer.rows += _checked(messages, frame.batch_end, schema)
                    answer.ends.append(frame.batch_end)
                case "progress":
                    told = frame.progress
                    answer.progress.append((told.chunks_done, told.chunks))
                case "task_end":
                    answer.end = frame.task_end
        assert answer.end is not None
        assert answer.end.batches == len(answer.ends)
        return answer

    async def refuses(self, kind, match, *args, **more):
        """Run a task that must fail; returns the error's text."""
        with pytest.raises(grpc.RpcError) as told:
            await self.run(*args, **more)
        error = from_rpc(told.value, "the worker")
        assert type(error) is kind
        assert match in error.text
        return error.text

    async def lookup(self, keys, shards, table="Object", **more):
        request = worker_pb2.LookupRequest(
            release=RELEASE,
            table=table,
            manifest_version=self.versions.get(table, 1),
            shards=shards,
            keys=keys_to_proto(keys),
            **more,
        )
        return list((await self.stub.LookupKeys(request)).homes)

    async def describe(self):
        return await self.stub.Describe(worker_pb2.DescribeRequest())

    def own_file(self, chunk, table="Object"):
        path = layout.base_path(RELEASE, table, chunk, f"{table}1-0")
        return self.directory / "data" / path


def _all(files):
    return (files or {}).items()


def _checked(messages, end, schema):
    digest = Digest()
    for message in messages:
        digest.update(message)
    rows = [decode_batch(message, schema) for message in messages]
    assert end.digest == digest.value()
    assert end.rows == sum(batch.num_rows for batch in rows)
    assert end.counters.bytes_out == sum(map(len, messages))
    assert list(end.file_parts) == [-1] * len(end.chunks)
    return rows


@asynccontextmanager
async def serving(directory, **settings):
    """Run the worker's program in this event loop; gives a `Worker`."""
    ready = asyncio.get_running_loop().create_future()
    settings = {"port": 0, "czars": (), "scrub_bytes_per_second": 0} | settings
    config = WorkerConfig(directory=directory, **settings)
    running = asyncio.create_task(program.run(config, ready=ready.set_result))
    try:
        await asyncio.wait([ready, running], return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            await running
        async with aio_channel(endpoint := await ready) as channel:
            ended = partial(asyncio.shield, running)
            yield Worker(directory, WorkerStub(channel), ended, endpoint)
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def frames_of(call):
    """Take the frames of a task out of the messages that they share."""
    async for message in call:
        for frame in message.frames:
            yield frame
