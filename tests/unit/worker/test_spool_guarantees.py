"""What may happen to a spool: it is lost, damaged, too large, or nobody's any more."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from unittest import mock

import grpc
import pytest
from support import worker as w
from support.spooling import (
    BUCKETS,
    CHUNKS,
    COUNT,
    ID,
    MAG,
    NAME,
    PAIRS,
    SOURCE,
    Query,
    everything,
    left,
    one_of_three,
    spooled_files,
)

from qserv.catalog.tables import Column, DataType
from qserv.errors import LimitExceeded, SpoolLost
from qserv.wire import frames_in
from qserv.wire.v1 import worker_pb2
from qserv.worker import buckets, peers, shares
from qserv.worker.disk import Disk
from qserv.worker.spools import Spools

T = DataType
together = pytest.mark.asyncio(loop_scope="module")


@together
async def test_rows_of_an_attempt_that_failed_would_count_twice(
    workers, query, monkeypatch
):
    """What keeps a row from being read twice, and that it is needed."""
    made, rows = await query.spool(1)
    again = (1, PAIRS, (ID, MAG, NAME), ("mag",))
    await query.spool_on(workers[0], 0, *again, attempt=77)
    task = (
        workers[0],
        "SELECT count(*) AS n FROM stage_1",
        (COUNT,),
        {1: (made, (ID, MAG, NAME))},
    )
    assert sum((await query.read(*task)).column("n")) == rows
    find = Spools.find

    def careless(self, query_id, stage, attempt, batches, bucket):
        known = {key[1:] for key in self._queries[query_id].batches}
        return [
            s for a, b in known for s in find(self, query_id, stage, a, [b], bucket)
        ]

    monkeypatch.setattr(Spools, "find", careless)
    assert sum((await query.read(*task)).column("n")) > rows


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
