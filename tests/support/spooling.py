"""Rows spooled on three real workers, for tests that play the czar of a query."""

import pyarrow as pa
from support import worker as w

from qserv.catalog.tables import Column, DataType
from qserv.plan.plan import MARK
from qserv.wire.codec import arrow_schema, encode_schema
from qserv.wire.v1 import worker_pb2

CHUNKS = list(range(64, 76))
ID, MAG, NAME = w.COLUMNS[1:4]
COUNT = Column("n", DataType.BIGINT)
SOURCE = f"{MARK}0{MARK}"
PAIRS = f'SELECT "objectId", "mag", "name" FROM {SOURCE}'
BUCKETS = 8


async def one_of_three(stack, directory, number, **settings):
    serving = w.serving(directory / str(number), **settings)
    worker = await stack.enter_async_context(serving)
    own = {c: w.rows_of(c, 100 + c) for c in CHUNKS[number::3]}
    await worker.load(own=own)
    return worker


class Query:
    """Plays the czar of one query: spools on all workers, then reads buckets."""

    def __init__(self, workers, name):
        self.workers, self.name = workers, name

    async def spool(self, stage, sql=PAIRS, columns=(ID, MAG, NAME), keys=("mag",)):
        """Spool a stage; returns the shares, and the rows that were told."""
        made, rows = [], 0
        for n, worker in enumerate(self.workers):
            answer = await self.spool_on(worker, n, stage, sql, columns, keys)
            assert answer.rows == []
            rows += sum(end.rows for end in answer.ends)
            peer = worker_pb2.Peer(worker_id=f"w{n}", endpoint=worker.endpoint)
            batches = [end.batch for end in answer.ends]
            made.append(
                worker_pb2.SpoolShare(peer=peer, attempt=n + 1, batches=batches)
            )
        return made, rows

    async def spool_on(self, worker, n, stage, sql, columns, keys, attempt=0):
        return await worker.run(
            sql,
            CHUNKS[n::3],
            columns,
            query_id=self.name,
            stage=stage,
            attempt=attempt or n + 1,
            batch_chunks=2,
            spool=worker_pb2.Spool(keys=keys, buckets=BUCKETS),
        )

    async def read(self, worker, sql, columns, inputs, **more):
        """Read all buckets of stages; `inputs` are their shares and columns."""
        given = [
            worker_pb2.BucketInput(
                name=f"stage_{stage}",
                stage=stage,
                schema=encode_schema(arrow_schema(of_stage)),
                shares=made,
            )
            for stage, (made, of_stage) in inputs.items()
        ]
        task = {
            "query_id": self.name,
            "stage": 9,
            "bucket_inputs": given,
            "batch_chunks": 1,
        } | more
        return await worker.run(sql, range(BUCKETS), columns, [], **task)

    async def end(self):
        for worker in self.workers:
            request = worker_pb2.EndQueryRequest(query_id=self.name)
            await worker.stub.EndQuery(request)


def left(workers):
    return [f for worker in workers for f in (worker.directory / "spool").iterdir()]


def everything():
    return pa.concat_tables([w.rows_of(c, 100 + c) for c in CHUNKS])


def spooled_files(worker):
    return [f for f in (worker.directory / "spool").rglob("*") if f.is_file()]
