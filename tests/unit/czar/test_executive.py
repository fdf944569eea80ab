"""The executive: rows of whole batches only, each chunk once, or an error."""

import asyncio
from contextlib import aclosing

import pytest
from support.fake_worker import ROWS

from qserv.czar import executive as room
from qserv.czar.executive import Tally
from qserv.errors import (
    ChunkMissing,
    CorruptData,
    InternalError,
    InvalidValue,
    TaskFailed,
    WorkerUnavailable,
)
from qserv.wire.codec import Digest

TWICE = {4: ("w1", "w2"), 5: ("w1", "w2"), 6: ("w1", "w2"), 7: ("w2", "w1")}
ALONE = {4: ("w1",), 5: ("w1",), 6: ("w2",)}


async def collect(executive, job, start, tally=None):
    """Return (chunk, number of rows) pairs, sorted."""
    found = []
    async with aclosing(executive.run(job, start, tally or Tally())) as batches:
        async for rows in batches:
            found += [(b["chunk"][0].as_py(), b.num_rows) for b in rows.batches]
    return sorted(found)


def all_of(replicas):
    return [(chunk, ROWS) for chunk in sorted(replicas)]


async def test_one_task_a_worker_brings_every_chunk_once(
    executive, job, start, workers
):
    tally = Tally()
    assert await collect(executive, job, start(TWICE), tally) == all_of(TWICE)
    sent = [task for worker in workers.values() for task in worker.tasks]
    assert sorted(chunk for task in sent for chunk in task.chunks) == [4, 5, 6, 7]
    assert [list(task.file_parts) for task in sent] == [[-1, -1], [-1, -1]]
    assert (tally.attempts, tally.chunks_done, tally.bytes_scanned) == (2, 4, 400)
    assert +executive.busy == {}


@pytest.mark.parametrize(
    "trouble",
    [
        "dies",
        "damages",
        "loses a row",
        "ends early",
        ChunkMissing("not here"),
        TaskFailed("disk full"),
    ],
)
async def test_a_replica_takes_over_from_a_worker_in_trouble(
    executive, job, start, workers, trouble
):
    workers["w1"].trouble = trouble
    tally = Tally()
    assert await collect(executive, job, start(TWICE), tally) == all_of(TWICE)
    assert tally.attempts == 3


@pytest.mark.parametrize(
    ("trouble", "error"),
    [
        ("dies", WorkerUnavailable),
        ("damages", CorruptData),
        ("loses a row", CorruptData),
        ("ends early", TaskFailed),
        (ChunkMissing("not here"), ChunkMissing),
    ],
)
async def test_without_a_replica_there_is_a_typed_error(
    executive, job, start, workers, trouble, error
):
    workers["w1"].trouble = trouble
    with pytest.raises(error, match=r"no live replica is left of [12] chunk.*w1"):
        await collect(executive, job, start(ALONE))


async def test_without_the_digest_damaged_rows_would_pass(
    executive, job, start, workers, monkeypatch
):
    monkeypatch.setattr(Digest, "value", lambda _: b"no digest at all")
    workers["w1"].trouble = "damages"
    assert await collect(executive, job, start(ALONE)) == all_of(ALONE)


async def test_a_bug_in_reading_ends_the_query_at_once(
    executive, job, start, workers, monkeypatch
):
    def decode(message, schema):
        raise ValueError("not a batch")

    monkeypatch.setattr(room, "decode_batch", decode)
    running = collect(executive, job, start(TWICE))
    with pytest.raises(InternalError, match="ValueError while reading from worker w"):
        await asyncio.wait_for(running, 10)
    assert +executive.busy == {}


async def test_a_user_error_ends_the_query_and_stops_the_others(
    executive, job, start, workers
):
    workers["w1"].trouble = "hangs"
    # Only of w1, lest it meet the trouble that w2 gets for the other query.
    first = start({4: ("w1",), 5: ("w1",)})
    running = asyncio.create_task(collect(executive, job, first))
    await asyncio.wait_for(workers["w1"].hangs.wait(), 10)
    assert not running.done()

    workers["w2"].trouble = InvalidValue("overflow in SUM(x)")
    workers["w1"].hangs.clear()
    other = asyncio.create_task(collect(executive, job, start(ALONE)))
    with pytest.raises(InvalidValue, match="overflow"):
        await asyncio.wait_for(other, 10)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.wait_for(workers["w1"].cancelled.wait(), 10)


async def test_a_silent_worker_is_given_up(
    executive, job, start, workers, members, clock
):
    workers["w1"].trouble = "hangs"
    running = asyncio.create_task(collect(executive, job, start(TWICE)))
    await asyncio.wait_for(workers["w1"].hangs.wait(), 10)
    clock.now += 5
    w2 = members.get("w2")
    await members.join("w2", w2.endpoint, 1)
    members.check()
    assert await asyncio.wait_for(running, 10) == all_of(TWICE)
    await asyncio.wait_for(workers["w1"].cancelled.wait(), 10)


async def test_a_worker_that_restarts_is_given_up_at_once(
    executive, job, start, workers, members
):
    workers["w1"].trouble = "hangs"
    running = asyncio.create_task(collect(executive, job, start(ALONE)))
    await asyncio.wait_for(workers["w1"].hangs.wait(), 10)
    await members.join("w1", members.get("w2").endpoint, 1)
    with pytest.raises(WorkerUnavailable, match="was restarted"):
        await asyncio.wait_for(running, 10)


async def test_a_worker_found_dead_is_dead_until_it_joins_again(
    executive, job, start, workers, members
):
    endpoint = members.get("w1").endpoint
    workers["w1"].trouble = "dies"
    with pytest.raises(WorkerUnavailable):
        await collect(executive, job, start(ALONE))
    assert "w1" not in members.alive

    workers["w1"].trouble = None
    assert await members.join("w1", endpoint, 1) == ("w1", True)
    assert await collect(executive, job, start(ALONE)) == all_of(ALONE)


async def test_who_stops_reading_stops_the_workers(executive, job, start, workers):
    workers["w1"].trouble = "hangs"
    run = executive.run(job, start(ALONE), Tally())
    async with aclosing(run) as batches:
        async for _ in batches:
            await asyncio.wait_for(workers["w1"].hangs.wait(), 10)
            break
    await asyncio.wait_for(workers["w1"].cancelled.wait(), 10)
