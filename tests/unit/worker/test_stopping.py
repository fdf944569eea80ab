"""Stopping work: limits of time, slow readers, dead and deaf executors."""

import asyncio
import os
import signal
from pathlib import Path

import grpc
import pytest
from support import worker as w
from support.processes import alive, descendants

from qserv.catalog.tables import Column, DataType
from qserv.errors import ExecutorDied
from qserv.plan.plan import MARK
from qserv.worker import executors
from qserv.worker.engine import Batch, Settings
from qserv.worker.executors import Executor
from qserv.worker.process import Done

A = 64
ID = Column("objectId", DataType.BIGINT)
SOURCE = f"{MARK}0{MARK}"
ALL_IDS = f'SELECT "objectId" FROM {SOURCE}'
FOREVER = f"SELECT sum(hash(i))::BIGINT AS n FROM {SOURCE} a, range(1000000000000) t(i)"
ENDLESS = f'SELECT i AS "objectId" FROM {SOURCE} a, range(1000000000000) t(i)'


@pytest.fixture
async def worker(tmp_path):
    async with w.serving(tmp_path) as worker:
        await worker.load(own={A: w.rows_of(A, 3)})
        yield worker


async def until(condition, seconds=20):
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.005)


async def counts(worker):
    described = await worker.describe()
    return described.running_batches, described.waiting_batches


async def has(worker, running, waiting=0):
    async def met():
        return await counts(worker) == (running, waiting)

    await until(met)


async def test_a_cancelled_task_leaves_nothing_running(worker):
    call = worker.stub.RunTask(worker.task(FOREVER, [A], [ID]))
    waiting = worker.stub.RunTask(worker.task(FOREVER, [A], [ID]))
    readers = [asyncio.create_task(c.read()) for c in (call, waiting)]
    await has(worker, 1, 1)
    waiting.cancel()
    await has(worker, 1, 0)
    call.cancel()
    await has(worker, 0)
    await asyncio.gather(*readers, return_exceptions=True)
    assert (await worker.run(ALL_IDS, [A], [ID])).end.batches == 1


async def test_a_deadline_stops_the_task(worker):
    call = worker.stub.RunTask(worker.task(FOREVER, [A], [ID]), timeout=0.3)
    with pytest.raises(grpc.RpcError) as told:
        await call.read()
    assert told.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await has(worker, 0)


async def test_a_slow_reader_holds_the_executor_back(tmp_path):
    """Nobody keeps what nobody reads: not the executor, not the worker."""
    executor = Executor(settings(tmp_path))
    await executor.start()
    frames = executor.run(batch("SELECT i FROM range(1000000000000) t(i)"))
    assert isinstance(await anext(frames), bytes)
    await until(lambda: sleeps(executor.pid))
    assert len(executor._link.reader._buffer) < 4 * 2**20
    await frames.aclose()
    await executor.settle()
    await executor.stop()


async def sleeps(pid):
    """Tell whether all threads of a process wait for something."""
    states = {
        (task / "stat").read_text().rpartition(")")[2].split()[0]
        for task in Path(f"/proc/{pid}/task").iterdir()
    }
    return states == {"S"}


def settings(tmp_path):
    return Settings(str(tmp_path), str(tmp_path / "spill"), 1, 2**28)


def batch(sql):
    schema = w.encode_schema(w.arrow_schema([ID]))
    return Batch(sql, (), schema)


async def test_an_executor_that_dies_fails_its_task_and_is_replaced(worker, tmp_path):
    call = worker.stub.RunTask(worker.task(FOREVER, [A], [ID]))
    reader = asyncio.create_task(call.read())
    await has(worker, 1)
    os.kill(executor_pid(tmp_path), signal.SIGKILL)
    with pytest.raises(grpc.RpcError) as told:
        await reader
    assert type(w.from_rpc(told.value, "w")) is ExecutorDied
    assert (await worker.run(ALL_IDS, [A], [ID])).end.batches == 1


def executor_pid(directory):
    """Return the process that works in the data below a directory."""
    # Who ended since it was listed is none of a worker that runs.
    living = alive(descendants(os.getpid()))
    (pid,) = [pid for pid in living if place(pid).is_relative_to(directory)]
    return pid


def place(pid):
    """Return where a process works; the root, if it ended meanwhile."""
    try:
        return Path(f"/proc/{pid}/cwd").resolve()
    except FileNotFoundError:
        return Path("/")


async def test_an_executor_that_does_not_stop_is_killed_and_replaced(tmp_path):
    executor = Executor(settings(tmp_path), stop_seconds=0.2)
    await executor.start()
    first = executor.pid
    frames = executor.run(batch("SELECT i FROM range(1000000000000) t(i)"))
    assert isinstance(await anext(frames), bytes)
    os.kill(first, signal.SIGSTOP)
    await frames.aclose()
    await executor.settle()
    assert executor.pid != first
    *_, done = [frame async for frame in executor.run(batch("SELECT 7"))]
    assert isinstance(done, Done)
    assert done.rows == 1
    await executor.stop()


async def test_a_batch_that_was_stopped_never_ends_as_if_it_were_whole(tmp_path):
    """However the stop falls between order, first rows and end."""
    executor = Executor(settings(tmp_path))
    await executor.start()
    short = batch("SELECT i FROM range(100000) t(i)")
    for steps in range(40):
        frames = executor.run(short)
        for _ in range(steps % 4):
            await anext(frames, None)
        await frames.aclose()
        await executor.settle()
        whole = [frame async for frame in executor.run(short)]
        assert whole[-1].rows == 100_000
    await executor.stop()


async def test_what_a_killed_executor_had_spilled_is_removed(tmp_path):
    left = tmp_path / "spill" / "duckdb_temp_storage-0.tmp"
    left.parent.mkdir()
    left.write_bytes(b"rows")
    executor = Executor(settings(tmp_path))
    await executor.start()
    assert not left.exists()
    await executor.stop()


async def test_what_exceeds_the_memory_is_spilled(tmp_path):
    small = Settings(str(tmp_path), str(tmp_path / "spill"), 1, 40 * 2**20)
    executor = Executor(small)
    await executor.start()
    sort = "SELECT i FROM range(3000000) t(i) ORDER BY hash(i), i"
    frames = executor.run(batch(sort))
    await anext(frames)
    assert list((tmp_path / "spill").iterdir())
    *_, done = [frame async for frame in frames]
    assert done.rows == 3_000_000
    await executor.stop()


async def test_executors_that_cannot_start_say_why(tmp_path, monkeypatch):
    executor = Executor(Settings(str(tmp_path / "nowhere"), "/tmp", 1, 2**28))
    with pytest.raises(executors.QservError, match="FileNotFoundError"):
        await executor.start()
    assert executor.pid is None
