"""The scrub: which file is next, how fast, for ever, and what it leaves alone."""

import asyncio
import threading
from types import SimpleNamespace

import pytest
from support import rot
from support import worker as w

from qserv.errors import Cancelled
from qserv.wire.v1 import worker_pb2
from qserv.worker import scrub as module
from qserv.worker.scrub import Pace, oldest_first

A, B = 64, 65


def entries(**verified):
    found = [SimpleNamespace(path=path) for path in verified]
    return found, lambda entry: verified[entry.path]


def test_the_oldest_verification_is_renewed_first():
    found, verified = entries(a=30.0, b=10.0, c=None, d=20.0, e=None)
    assert "".join(e.path for e in oldest_first(found, verified, 31)) == "cebda"
    assert "".join(e.path for e in oldest_first(found, verified, 20)) == "ceb"


class Waits(threading.Event):
    """Notes how long it is waited for, on a clock of its own."""

    def __init__(self):
        super().__init__()
        self.now, self.waited = 0.0, []

    def wait(self, timeout=None):
        self.waited.append(timeout)
        self.now += timeout
        return self.is_set()


def test_a_pace_keeps_to_its_rate():
    stop = Waits()
    pace = Pace(100, stop, clock=lambda: stop.now)
    for _ in range(5):
        pace(50)
    assert stop.now == pytest.approx(2.5)
    stop.now += 10
    pace(50)
    assert stop.waited[-1] == pytest.approx(0.5), "time that was not used is gone"


def test_a_pace_without_a_rate_waits_for_nothing_and_can_be_stopped():
    stop = Waits()
    pace = Pace(0, stop, clock=lambda: stop.now)
    pace(10**12)
    assert stop.now == 0
    stop.set()
    with pytest.raises(Cancelled):
        pace(1)


async def told(worker, wanted):
    """Examine a worker until it says what is wanted; a test has a deadline."""
    while True:
        reply = await worker.stub.Examine(worker_pb2.ExamineRequest())
        if wanted(reply):
            return reply
        await asyncio.sleep(0.05)


async def loaded(worker):
    await worker.load(own={A: w.rows_of(A, 3), B: w.rows_of(B, 2)})


async def test_the_background_verifies_what_was_never_used(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.05)
    async with w.serving(tmp_path, scrub_bytes_per_second=2**30) as worker:
        await loaded(worker)
        await told(worker, lambda r: (r.files, r.never_verified) == (2, 0))
        await told(worker, lambda r: r.last_pass > 0)


async def test_the_background_finds_damage_before_anybody_asks(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.05)
    async with w.serving(tmp_path, scrub_bytes_per_second=2**30) as worker:
        await loaded(worker)
        await told(worker, lambda r: r.never_verified == 0)
        with worker.own_file(A).open("r+b") as file:
            file.truncate(100)
        reply = await told(worker, lambda r: r.damaged_total)
        assert "100 bytes" in reply.damaged[0].reason


async def test_switched_off_the_background_finds_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.01)
    async with w.serving(tmp_path, scrub_bytes_per_second=0) as worker:
        await loaded(worker)
        rot.lose(worker.own_file(A), None)
        worker.own_file(A).write_bytes(b"PAR1")
        for _ in range(20):
            reply = await worker.stub.Examine(worker_pb2.ExamineRequest())
        assert (reply.never_verified, reply.damaged_total) == (2, 0)


@pytest.mark.parametrize(("young", "told"), [(3600.0, []), (-1.0, ["more.parquet"])])
async def test_files_that_nothing_names_are_told_when_they_are_old(
    tmp_path, monkeypatch, young, told
):
    """A young one may belong to a load that is being installed."""
    monkeypatch.setattr(module, "_YOUNG_SECONDS", young)
    async with w.serving(tmp_path) as worker:
        await loaded(worker)
        worker.own_file(A).with_name("more.parquet").write_bytes(b"PAR1")
        reply = await worker.stub.Examine(worker_pb2.ExamineRequest())
        assert [path.rpartition("/")[2] for path in reply.unknown] == told
        assert reply.unknown_total == len(told)


async def test_a_scrub_that_is_left_stops(tmp_path):
    async with w.serving(tmp_path) as worker:
        await loaded(worker)
        call = worker.stub.Scrub(worker_pb2.ScrubRequest(bytes_per_second=1))
        first = await anext(aiter(call))
        assert first.files == 0
        call.cancel()
        # Its thread is free again: a whole pass goes through.
        steps = [s async for s in worker.stub.Scrub(worker_pb2.ScrubRequest())]
        assert steps[-1].files == 2
