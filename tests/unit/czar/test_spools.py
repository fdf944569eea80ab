"""Rows that stay on workers: read by buckets, made again when lost, then forgotten."""

import asyncio

import pytest
from support import metadata
from support.fake_planning import ask, fragment, frames, residual
from support.fake_worker import COLUMNS, SCHEMA

from qserv.czar.exchange import Exchange
from qserv.errors import ChunkMissing, LimitExceeded, SpoolLost
from qserv.plan.plan import Extent, Input, ScanSource, Sharing, Spool
from qserv.wire.codec import decode_schema

BUCKETS = 6
CHUNKS = [4, 5, 6, 7]
SPOOLED = fragment(spool=Spool(("n",), BUCKETS))
EVERY = [(bucket, chunk) for bucket in range(BUCKETS) for chunk in CHUNKS]


def bucketed(*stages, **changes):
    """Return a fragment that reads the buckets of stages."""
    inputs = tuple(Input(stage, Sharing.BUCKET) for stage in stages)
    return fragment(sources=(), family=None, buckets=BUCKETS, inputs=inputs, **changes)


@pytest.fixture
def planning(planning):
    planning.stages = [SPOOLED, bucketed(0)]
    return planning


@pytest.fixture
def replicas():
    return 2


@pytest.fixture
def producer(workers):
    """Return a worker that is the first to hold some chunk."""
    return workers[metadata.family(replicas=2).replicas[4][0]]


def sent(workers, stage):
    return [t for worker in workers.values() for t in worker.tasks if t.stage == stage]


def pairs(table):
    return sorted(zip(table["chunk"].to_pylist(), table["n"].to_pylist(), strict=True))


async def forgotten(workers, query_id):
    """Wait until every worker was told that the query ended."""
    for worker in workers.values():
        assert await asyncio.wait_for(worker.ended.get(), 10) == query_id


async def test_each_bucket_reads_what_all_workers_spooled(session, workers):
    _, table, trailer = await ask(session, query_id="mine")
    assert pairs(table) == EVERY
    assert {(tuple(t.spool.keys), t.spool.buckets) for t in sent(workers, 0)} == {
        (("n",), BUCKETS)
    }
    readers = sent(workers, 1)
    assert sorted(b for task in readers for b in task.chunks) == list(range(BUCKETS))
    # They are spread over the workers, by what was spooled: 4 chunks of 1000 bytes.
    assert len(readers) == 3
    assert {work for task in readers for work in task.work} == {4000 // BUCKETS}
    for task in readers:
        (read,) = task.bucket_inputs
        assert (read.name, read.stage) == ("stage_0", 0)
        assert decode_schema(read.schema).equals(SCHEMA)
    numbers = [task.attempt for stage in (0, 1) for task in sent(workers, stage)]
    assert len(set(numbers)) == len(numbers) == trailer.attempts
    await forgotten(workers, "mine")


async def test_buckets_may_be_spooled_and_merged_in_turn(session, planning, workers):
    again = bucketed(0, spool=Spool(("n",), BUCKETS))
    merge = residual("SELECT chunk, COUNT(*) AS n FROM stage_2 GROUP BY 1", inputs=(2,))
    planning.stages = [SPOOLED, again, bucketed(1), merge]
    _, table, _ = await ask(session)
    assert pairs(table) == [(bucket, BUCKETS) for bucket in range(BUCKETS)]


async def test_rows_that_nobody_counts_have_no_limit(session, planning, workers):
    planning.stages[0] = fragment(spool=SPOOLED.spool, limit=1)
    assert pairs((await ask(session))[1]) == EVERY
    assert not any(task.HasField("limit") for task in sent(workers, 0))


async def test_a_bucket_reads_replicated_tables_where_they_are(
    session, planning, workers, members
):
    copy = ScanSource("hip", "Filter", 1, Extent.COPY, COLUMNS)
    planning.stages = [SPOOLED, bucketed(0)]
    planning.stages[1] = fragment(
        sources=(copy,),
        family=None,
        buckets=BUCKETS,
        inputs=planning.stages[1].inputs,
    )
    assert pairs((await ask(session))[1]) == EVERY


async def test_what_a_worker_forgot_is_made_again(session, workers, producer):
    producer.trouble = "forgets"
    _, table, _ = await ask(session)
    assert pairs(table) == EVERY
    first, *again = producer.tasks
    # It made its share once; another worker made it again.
    assert first.stage == 0
    assert all(task.stage == 1 for task in again)
    made = sorted(c for t in sent(workers, 0) if t is not first for c in t.chunks)
    assert made == sorted([*CHUNKS])


async def test_what_a_dying_worker_spooled_is_made_again(session, workers, producer):
    producer.trouble = "dies in stage 1"
    _, table, _ = await ask(session)
    assert pairs(table) == EVERY
    assert [task.stage for task in producer.tasks] == [0, 1]
    assert len(sent(workers, 0)) > 3


async def test_without_making_it_again_the_query_fails(
    session, workers, producer, monkeypatch
):
    monkeypatch.setattr(Exchange, "_lost", lambda self, event: [])
    producer.trouble = "forgets"
    with pytest.raises(SpoolLost, match="stage 1 ran 5 times"):
        await frames(session, query_id="mine")
    await forgotten(workers, "mine")


@pytest.mark.parametrize("replicas", [1])
async def test_a_worker_without_a_stand_in_makes_it_again_itself(
    session, workers, producer
):
    producer.trouble = "forgets"
    assert pairs((await ask(session))[1]) == EVERY


async def test_a_worker_that_loses_all_it_makes_ends_the_query(session, workers):
    for worker in workers.values():
        worker.trouble = "forgets always"
    with pytest.raises(SpoolLost, match=r"worker w\d has no spool"):
        await frames(session)


async def test_a_failing_query_is_forgotten(session, workers):
    for worker in workers.values():
        worker.trouble = ChunkMissing("not here")
    with pytest.raises(ChunkMissing):
        await frames(session, query_id="mine")
    await forgotten(workers, "mine")


async def test_a_query_that_is_left_is_forgotten(session, workers, producer):
    producer.trouble = "hangs"
    running = asyncio.create_task(frames(session, query_id="mine"))
    await asyncio.wait_for(producer.hangs.wait(), 10)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await forgotten(workers, "mine")


async def test_rows_that_stay_on_workers_need_no_room_in_the_czar(session, planning):
    session._merge._memory = 100
    assert pairs((await ask(session))[1]) == EVERY
    planning.stages[0] = fragment()
    planning.stages[1] = residual()
    with pytest.raises(LimitExceeded):
        await frames(session, text="another")
