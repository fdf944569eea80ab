"""Rows that stay on workers in buckets: equal keys meet, each row once, then all go."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from unittest import mock

import grpc
import numpy as np
import pyarrow as pa
import pytest
import pytest_asyncio
from support import worker as w

from qserv.catalog.tables import Column, DataType
from qserv.errors import InvalidRequest, LimitExceeded, SpoolLost
from qserv.plan.plan import MARK
from qserv.wire import frames_in
from qserv.wire.codec import arrow_schema, encode_schema
from qserv.wire.v1 import worker_pb2
from qserv.worker import buckets, peers, shares
from qserv.worker.arrowfile import load
from qserv.worker.disk import Disk
from qserv.worker.spools import Spools

T = DataType
CHUNKS = list(range(64, 76))
ID, MAG, NAME = w.COLUMNS[1:]
COUNT = Column("n", T.BIGINT)
SOURCE = f"{MARK}0{MARK}"
PAIRS = f'SELECT "objectId", "mag", "name" FROM {SOURCE}'
BUCKETS = 8

together = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def workers(tmp_path_factory):
    """Three workers; each holds every third chunk."""
    directory = tmp_path_factory.mktemp("workers")
    async with AsyncExitStack() as stack:
        yield [await one_of_three(stack, directory, n) for n in range(3)]


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

    async def spool_on(self, worker, n, stage, sql, columns, keys):
        return await worker.run(
            sql,
            CHUNKS[n::3],
            columns,
            query_id=self.name,
            stage=stage,
            attempt=n + 1,
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


@pytest_asyncio.fixture(loop_scope="module")
async def query(workers, request):
    made = Query(workers, request.node.name)
    yield made
    await made.end()
    assert left(workers) == []


def left(workers):
    return [f for worker in workers for f in (worker.directory / "spool").iterdir()]


def everything():
    return pa.concat_tables([w.rows_of(c, 100 + c) for c in CHUNKS])


@together
async def test_every_row_comes_back_once(workers, query):
    made, rows = await query.spool(1)
    wanted = everything()
    assert rows == wanted.num_rows
    answer = await query.read(
        workers[0],
        'SELECT "objectId", "mag", "name" FROM stage_1',
        (ID, MAG, NAME),
        {1: (made, (ID, MAG, NAME))},
    )
    assert answer.batches == [[b] for b in range(BUCKETS)]
    found = pa.Table.from_batches(answer.rows).sort_by("objectId")
    assert found["objectId"].to_pylist() == sorted(wanted["objectId"].to_pylist())
    by_id = dict(
        zip(*(wanted[c].to_pylist() for c in ("objectId", "name")), strict=True)
    )
    assert all(by_id[row["objectId"]] == row["name"] for row in found.to_pylist())


@together
async def test_equal_keys_of_other_types_meet_in_one_bucket(workers, query):
    whole = Column("k", T.INTEGER)
    made = {
        1: (whole, '("objectId" % 50)::INTEGER'),
        2: (Column("k", T.BIGINT), '("objectId" % 60)::BIGINT'),
        3: (Column("k", T.DOUBLE), '("objectId" % 70)::DOUBLE'),
        4: (
            Column("k", T.REAL),
            "CASE WHEN \"objectId\" % 2 = 0 THEN '-0.0' ELSE '3' END::FLOAT",
        ),
        5: (Column("k", T.HUGEINT), '("objectId" % 40)::HUGEINT'),
        6: (Column("k", T.SMALLINT), 'nullif("objectId" % 2, 0)::SMALLINT'),
    }
    spooled = {
        stage: (
            (
                await query.spool(
                    stage, f"SELECT {sql} AS k FROM {SOURCE}", (column,), ("k",)
                )
            )[0],
            (column,),
        )
        for stage, (column, sql) in made.items()
    }
    ids = everything()["objectId"].to_numpy()
    values = {
        1: ids % 50,
        2: ids % 60,
        3: ids % 70,
        4: np.where(ids % 2 == 0, 0, 3),
        5: ids % 40,
        6: np.where(ids % 2, 1, -1),
    }
    for one, other in ((1, 2), (1, 3), (2, 4), (3, 5), (5, 1), (6, 2), (6, 6)):
        wanted = pairs(values[one], values[other], null=-1)
        answer = await query.read(
            workers[1],
            f"SELECT count(*) AS n FROM stage_{one} a JOIN stage_{other} b "
            "ON a.k = b.k",
            (COUNT,),
            {one: spooled[one], other: spooled[other]},
        )
        assert sum(answer.column("n")) == wanted
    nulls = await query.read(
        workers[2],
        "SELECT count(*) AS n FROM stage_6 WHERE k IS NULL",
        (COUNT,),
        {6: spooled[6]},
    )
    assert sum(n > 0 for n in nulls.column("n")) == 1
    assert sum(nulls.column("n")) == int(np.sum(ids % 2 == 0))


def pairs(one, other, null):
    counts = [
        dict(zip(*np.unique(v, return_counts=True), strict=True)) for v in (one, other)
    ]
    return sum(
        int(n) * int(counts[1].get(k, 0)) for k, n in counts[0].items() if k != null
    )


@together
async def test_several_columns_make_a_key_and_buckets_are_even(workers, query):
    made, _ = await query.spool(1, keys=("name", "objectId"))
    answer = await query.read(
        workers[0],
        "SELECT count(*) AS n FROM stage_1",
        (COUNT,),
        {1: (made, (ID, MAG, NAME))},
    )
    mean = everything().num_rows / BUCKETS
    assert all(0.7 * mean < n < 1.4 * mean for n in answer.column("n"))


@together
async def test_a_bucket_without_rows_is_typed_nothing(workers, query):
    made, _ = await query.spool(
        1, f"SELECT 1::BIGINT AS n FROM {SOURCE}", (COUNT,), ("n",)
    )
    none, rows = await query.spool(
        2, f"SELECT 1::BIGINT AS n FROM {SOURCE} WHERE false", (COUNT,), ("n",)
    )
    assert rows == 0
    answer = await query.read(
        workers[0],
        "SELECT (SELECT count(*) FROM stage_1) + (SELECT count(n) FROM stage_2) AS n",
        (COUNT,),
        {1: (made, (COUNT,)), 2: (none, (COUNT,))},
    )
    assert sorted(answer.column("n")) == [0] * (BUCKETS - 1) + [everything().num_rows]


@together
async def test_batches_that_were_not_accepted_are_not_read(workers, query):
    made, _ = await query.spool(1)
    first = made[0].batches[0]
    made[0].batches[:] = [first]
    answer = await query.read(
        workers[1],
        "SELECT count(*) AS n FROM stage_1",
        (COUNT,),
        {1: (made[:1], (ID, MAG, NAME))},
    )
    assert sum(answer.column("n")) == sum(100 + c for c in CHUNKS[0::3][:2])


@together
@pytest.mark.parametrize("reader", [0, 1])
async def test_a_lost_spool_names_its_worker(workers, query, reader):
    made, _ = await query.spool(1)
    request = worker_pb2.EndQueryRequest(query_id=query.name)
    await workers[0].stub.EndQuery(request)
    sql, inputs = "SELECT count(*) AS n FROM stage_1", {1: (made, (ID, MAG, NAME))}
    with pytest.raises(grpc.RpcError) as told:
        await query.read(workers[reader], sql, (COUNT,), inputs)
    error = w.from_rpc(told.value, "w")
    assert isinstance(error, SpoolLost)
    assert error.worker_id == "w0"
    made[1].peer.endpoint = "127.0.0.1:1"
    with pytest.raises(grpc.RpcError) as told:
        await query.read(workers[2], sql, (COUNT,), {1: (made[1:], (ID, MAG, NAME))})
    error = w.from_rpc(told.value, "w")
    assert isinstance(error, SpoolLost)
    assert error.worker_id == "w1"


@together
async def test_unknown_batches_and_columns_are_refused(workers, query):
    made, _ = await query.spool(1)
    made[0].batches.append(77)
    sql = "SELECT count(*) AS n FROM stage_1"
    for reader in workers[:2]:
        with pytest.raises(grpc.RpcError) as told:
            await query.read(reader, sql, (COUNT,), {1: (made, (ID, MAG, NAME))})
        error = w.from_rpc(told.value, "w")
        assert (type(error), error.worker_id) == (SpoolLost, "w0")
    for spool in (
        worker_pb2.Spool(keys=["nothing"], buckets=4),
        worker_pb2.Spool(keys=[], buckets=4),
        worker_pb2.Spool(keys=["mag"], buckets=0),
        worker_pb2.Spool(keys=["mag"], buckets=2**20),
    ):
        await workers[0].refuses(
            InvalidRequest, "", PAIRS, CHUNKS[0::3], (ID, MAG, NAME), spool=spool
        )


@together
async def test_what_is_spooled_can_be_spooled_again(workers, query):
    made, _ = await query.spool(1)
    again = await query.read(
        workers[2],
        'SELECT "objectId" FROM stage_1',
        (ID,),
        {1: (made, (ID, MAG, NAME))},
        attempt=50,
        stage=2,
        spool=worker_pb2.Spool(keys=["objectId"], buckets=BUCKETS),
    )
    share = worker_pb2.SpoolShare(
        peer=made[2].peer, attempt=50, batches=[end.batch for end in again.ends]
    )
    answer = await query.read(
        workers[0], "SELECT count(*) AS n FROM stage_2", (COUNT,), {2: ([share], (ID,))}
    )
    assert sum(answer.column("n")) == everything().num_rows


async def changed(messages):
    """Flip a bit of a row wherever one comes along."""
    async for message in messages:
        for frame in message.frames:
            if frame.HasField("data"):
                data = bytearray(frame.data.record_batch)
                data[data.index(b"star ")] ^= 1
                frame.data.record_batch = bytes(data)
        yield message


@together
async def test_bytes_that_change_on_the_way_are_noticed(workers, query, monkeypatch):
    made, _ = await query.spool(1)
    task = (
        workers[0],
        'SELECT "name" FROM stage_1',
        (NAME,),
        {1: (made, (ID, MAG, NAME))},
    )
    right = sorted((await query.read(*task)).column("name"))
    checked = peers.checked_frames

    def corrupt(call, **given):
        altered = mock.Mock(spec=["__aiter__", "cancel"])
        altered.__aiter__ = lambda _: changed(call)
        altered.cancel = call.cancel
        return checked(altered, **given)

    monkeypatch.setattr(peers, "checked_frames", corrupt)
    with pytest.raises(grpc.RpcError) as told:
        await query.read(*task)
    error = w.from_rpc(told.value, "w")
    assert isinstance(error, SpoolLost)
    assert "differs from its digest" in error.text
    blind = mock.Mock(**{"return_value.value.return_value": mock.ANY})
    monkeypatch.setattr(frames_in, "Digest", blind)
    assert sorted((await query.read(*task)).column("name")) != right


def spooled_files(worker):
    return [f for f in (worker.directory / "spool").rglob("*") if f.is_file()]


@together
@pytest.mark.parametrize("reader", [0, 1])
async def test_bytes_that_change_on_the_disk_are_noticed(
    workers, query, reader, monkeypatch
):
    made, _ = await query.spool(1)
    for file in spooled_files(workers[0]):
        data = bytearray(file.read_bytes())
        data[data.index(b"star ")] ^= 1
        file.write_bytes(data)
    task = (
        workers[reader],
        'SELECT "name" FROM stage_1',
        (NAME,),
        {1: (made, (ID, MAG, NAME))},
    )
    with pytest.raises(grpc.RpcError) as told:
        await query.read(*task)
    error = w.from_rpc(told.value, "w")
    assert (type(error), error.worker_id) == (SpoolLost, "w0")
    monkeypatch.setattr(shares, "_check", lambda files: None)
    blind = mock.Mock(**{"return_value.value.return_value": mock.ANY})
    monkeypatch.setattr(frames_in, "Digest", blind)
    wrong = (await query.read(*task)).column("name")
    assert sorted(wrong) != sorted(everything()["name"].to_pylist())


@together
async def test_nothing_is_left_after_the_end(workers, query):
    made, _ = await query.spool(1)
    await query.read(
        workers[0],
        "SELECT count(*) AS n FROM stage_1",
        (COUNT,),
        {1: (made, (ID, MAG, NAME))},
    )
    assert len(left(workers)) == len(workers)
    await query.end()
    assert left(workers) == []
    await query.end()


@together
async def test_without_an_end_rows_stay(workers, query, monkeypatch):
    monkeypatch.setattr(Spools, "end", mock.AsyncMock())
    await query.spool(1)
    await query.end()
    assert len(left(workers)) == len(workers)


@together
async def test_a_stopped_task_leaves_no_half_of_a_batch(workers, query):
    endless = f'SELECT i AS "objectId" FROM {SOURCE} a, range(1000000000000) t(i)'
    spool = worker_pb2.Spool(keys=["objectId"], buckets=BUCKETS)
    task = workers[0].task(
        endless, CHUNKS[0::3], [ID], query_id=query.name, spool=spool
    )
    call = workers[0].stub.RunTask(task)
    reading = asyncio.create_task(call.read())
    async with asyncio.timeout(60):
        while not spooled_files(workers[0]):
            await asyncio.sleep(0.005)
        call.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        while spooled_files(workers[0]):
            await asyncio.sleep(0.005)


async def test_rows_beyond_the_quota_are_refused(tmp_path):
    async with AsyncExitStack() as stack:
        worker = await one_of_three(stack, tmp_path, 0, spool_bytes=12_000)
        query = Query([worker], "q")
        big = f"SELECT i FROM {SOURCE} a, range(10) t(i)"
        for sql, columns in ((big, [Column("i", T.BIGINT)]), (PAIRS, (ID, MAG, NAME))):
            with pytest.raises(grpc.RpcError) as told:
                await query.spool(1, sql, columns, (columns[0].name,))
            assert isinstance(w.from_rpc(told.value, "w"), LimitExceeded)
            await query.end()
            assert left([worker]) == []


async def test_a_silent_query_is_forgotten(tmp_path):
    disk = Disk(tmp_path / "spool", limit=10**9)
    spools = Spools(disk, idle=0.05)
    task = worker_pb2.Task(query_id="q", stage=1, attempt=2)
    Path(f"{spools.place(task, 0).prefix}3").write_bytes(b"rows")
    spools.keep(task, 0, [buckets.Kept(3, 1, 4, b"")])
    assert disk.used == 4
    assert spools.has("q", 1, 2)
    async with asyncio.timeout(10):
        while disk.used:
            await asyncio.sleep(0.005)
    with pytest.raises(SpoolLost):
        spools.find("q", 1, 2, [0], 3)


def test_a_writer_keeps_every_row_whatever_comes(tmp_path):
    schema = pa.schema({"k": pa.int64(), "s": pa.string(), "bucket": pa.uint16()})
    rng = np.random.default_rng(5)
    batches = []
    for rows in (0, 1, 5, 100_000, 3):
        numbers = rng.integers(0, 300, rows)
        texts = [None if n % 7 == 0 else "x" * (n % 30) for n in numbers.tolist()]
        columns = [pa.array(numbers), pa.array(texts, pa.string())]
        columns.append(pa.array(numbers % 300, pa.uint16()))
        batches.append(pa.RecordBatch.from_arrays(columns, schema=schema))
    with buckets.Writer(str(tmp_path / "b-"), 10**9) as writer:
        for rows in batches:
            writer.add(rows)
            writer._flush()
        kept = writer.end()
    assert sum(each.rows for each in kept) == 100_009
    for each in kept:
        path = tmp_path / f"b-{each.bucket}"
        found = load([str(path)], schema.remove(2))
        assert path.stat().st_size == each.size
        assert found.num_rows == each.rows
        assert set(found["k"].to_pylist()) == {each.bucket}
        assert all(
            s == (None if k % 7 == 0 else "x" * (k % 30))
            for k, s in zip(found["k"].to_pylist(), found["s"].to_pylist(), strict=True)
        )
