"""One worker as a real process: its failpoint, its end, its children."""

import signal
from pathlib import Path

import grpc
import pytest
from support import worker as w
from support.processes import Program, alive, descendants, until

from qserv.catalog.tables import Column, DataType
from qserv.errors import WorkerUnavailable
from qserv.plan.plan import MARK
from qserv.wire.channel import aio_channel
from qserv.wire.errors import from_rpc
from qserv.wire.v1.worker_pb2_grpc import WorkerStub

A = 64
ID = Column("objectId", DataType.BIGINT)
ALL_IDS = f'SELECT "objectId" FROM {MARK}0{MARK}'
FOREVER = (
    f"SELECT sum(hash(i))::BIGINT AS n FROM {MARK}0{MARK}, range(10000000000) t(i)"
)


@pytest.fixture
def start(tmp_path):
    programs = []

    def start():
        arguments = ["--dir", tmp_path / "w", "--port", 0, "--czar", "127.0.0.1:1"]
        programs.append(Program("worker", *arguments, log=tmp_path / "log"))
        return programs[-1]

    yield start
    for program in programs:
        program.__exit__()


def worker_at(endpoint, tmp_path):
    channel = aio_channel(endpoint)
    return channel, w.Worker(tmp_path, WorkerStub(channel), None, endpoint)


async def frames_of(call):
    got = []
    try:
        async for frame in w.frames_of(call):
            got += [frame.WhichOneof("frame")]
    except grpc.RpcError as error:
        return got, from_rpc(error, "the worker")
    return got, None


async def test_the_failpoint_kills_between_first_frame_and_end(
    start, tmp_path, monkeypatch
):
    monkeypatch.setenv("QSERV_FAILPOINT", "worker.task.data-sent")
    program = start()
    channel, worker = worker_at(program.ready(), tmp_path)
    async with channel:
        await worker.load(own={A: w.rows_of(A, 3)})
        children = descendants(program.process.pid)
        assert children
        call = worker.stub.RunTask(worker.task(ALL_IDS, [A], [ID]))
        got, error = await frames_of(call)
    assert got == ["data"]
    assert type(error) is WorkerUnavailable
    assert program.process.wait(10) == -signal.SIGKILL
    until(lambda: not alive(children))


def test_what_halos_need_is_loaded_before_the_first(start):
    program = start()
    program.ready()
    loaded = Path(f"/proc/{program.process.pid}/maps")
    until(lambda: "healpy" in loaded.read_text())


async def test_a_killed_worker_takes_busy_executors_with_it(start, tmp_path):
    program = start()
    channel, worker = worker_at(program.ready(), tmp_path)
    async with channel:
        await worker.load(own={A: w.rows_of(A, 3)})
        call = worker.stub.RunTask(worker.task(FOREVER, [A], [ID]))
        while not (await worker.describe()).running_batches:
            pass
        children = descendants(program.process.pid)
        program.end(signal.SIGKILL)
        _, error = await frames_of(call)
        assert type(error) is WorkerUnavailable
    until(lambda: not alive(children))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_worker_ends_cleanly_with_work_in_progress(start, tmp_path, number):
    program = start()
    channel, worker = worker_at(program.ready(), tmp_path)
    async with channel:
        await worker.load(own={A: w.rows_of(A, 3)})
        call = worker.stub.RunTask(worker.task(FOREVER, [A], [ID]))
        while not (await worker.describe()).running_batches:
            pass
        children = descendants(program.process.pid)
        assert program.end(number) == 0
        _, error = await frames_of(call)
        assert error is not None
    until(lambda: not alive(children))
    assert "Traceback" not in program.log.read_text()
