"""A session: header, rows, trailer; limits exact to the row; stops when told to."""

import asyncio
from contextlib import aclosing

import pytest
from support import metadata
from support.fake_planning import ask, fragment, frames, residual
from support.fake_worker import COLUMNS, ROWS, SCHEMA

from qserv.catalog.tables import Column, DataType
from qserv.czar.results import Request
from qserv.errors import (
    Cancelled,
    ChunkMissing,
    Conflict,
    LimitExceeded,
)
from qserv.plan.plan import Extent, KeyRestrictor, ScanSource
from qserv.wire.codec import decode_schema

SUM = (Column("total", DataType.BIGINT, unit="ct"),)


async def test_a_plan_without_residual_streams_through(session):
    header, table, trailer = await ask(session, query_id="mine")
    assert (header.query_id, header.release, header.snapshot) == ("mine", "hip", 1)
    assert (header.chunks, header.chunks_total) == (4, 12)
    assert sorted(table["chunk"].to_pylist()) == sorted([4, 5, 6, 7] * ROWS)
    assert not trailer.overflow
    assert trailer.bytes_scanned == 400
    assert trailer.steps.keys() == {"plan", "route", "wait", "execute"}
    assert session.running == ()


async def test_a_residual_runs_once_over_all_rows(session, planning):
    sql = "SELECT SUM(chunk) + $1::INT FROM stage_0"
    planning.stages.append(residual(sql, "1", columns=SUM))
    header, table, trailer = await ask(session)
    assert table.to_pydict() == {"total": [(4 + 5 + 6 + 7) * ROWS + 1]}
    assert decode_schema(header.schema).field("total").metadata == {b"unit": b"ct"}
    assert trailer.steps.keys() == {"plan", "route", "wait", "execute", "merge"}


async def test_more_rows_than_a_merge_may_hold_are_refused(session, planning):
    planning.stages.append(residual())
    session._merge._memory = 100
    with pytest.raises(LimitExceeded, match="merge_memory"):
        await frames(session)


async def test_a_plan_may_read_nothing(session, planning, workers):
    planning.stages = [residual("SELECT 7", columns=SUM, inputs=())]
    _, table, _ = await ask(session)
    assert table.to_pydict() == {"total": [7]}
    assert not any(worker.tasks for worker in workers.values())


async def test_an_empty_answer_is_typed(session, planning):
    planning.chunks = []
    header, table, trailer = await ask(session)
    assert decode_schema(header.schema).equals(SCHEMA)
    assert (table.num_rows, trailer.attempts) == (0, 0)

    planning.stages.append(residual())
    assert (await ask(session))[1].num_rows == 0


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("most", [0, 1, 3, 5, 11, 12, 13])
async def test_max_rows_cuts_exactly_and_says_so(session, planning, merged, most):
    planning.stages += [residual()] if merged else []
    _, table, trailer = await ask(session, max_rows=most)
    assert table.num_rows == min(most, 4 * ROWS)
    assert trailer.overflow == (most < 4 * ROWS)
    assert bool(trailer.warnings) == trailer.overflow


async def test_a_limit_of_the_query_is_no_overflow(session, planning, workers):
    planning.stages = [fragment(limit=4)]
    _, table, trailer = await ask(session)
    assert (table.num_rows, trailer.overflow) == (4, False)
    sent = [task for worker in workers.values() for task in worker.tasks]
    assert {task.limit for task in sent} == {4}
    assert (await ask(session, max_rows=4))[2].overflow is False
    assert (await ask(session, max_rows=3))[2].overflow is True


async def test_replicated_tables_alone_are_asked_of_one_worker(
    session, planning, workers
):
    copy = ScanSource("hip", "Filter", 1, Extent.COPY, COLUMNS)
    planning.stages = [fragment(sources=(copy,), family=None)]
    _, table, _ = await ask(session)
    assert table.num_rows == ROWS
    assert sum(len(worker.tasks) for worker in workers.values()) == 1


async def test_keys_are_resolved_by_the_shards_that_may_hold_them(
    session, planning, workers
):
    keys = KeyRestrictor("hip", "Object", (1, 5, 1000, 1001))
    planning.stages = [fragment(restrictors=(keys,))]
    (holder,) = metadata.family().replicas[4]
    workers[holder].homes = {1: 77, 5: 33, 1001: 99}
    await ask(session)
    assert {key: homes.tolist() for key, homes in planning.homes.items()} == {
        keys: [33, 77]
    }
    (lookup,) = workers[holder].lookups
    # 1001 lies beyond the shard, 1000 is in its range and does not exist.
    assert (list(lookup.keys.integers), list(lookup.shards)) == ([1, 5, 1000], [0])


async def test_what_an_index_said_is_remembered(session, planning, workers):
    (holder,) = metadata.family().replicas[4]
    workers[holder].homes = {1: 77, 5: 33}
    for keys, homes in (
        ((1, 999), [77]),
        ((5, 1), [33, 77]),
        ((999,), []),
        ((1,), [77]),
    ):
        restrictor = KeyRestrictor("hip", "Object", keys)
        planning.stages = [fragment(restrictors=(restrictor,))]
        await ask(session, text=f"SELECT {keys}")
        assert planning.homes[restrictor].tolist() == homes
    asked = [list(lookup.keys.integers) for lookup in workers[holder].lookups]
    assert asked == [[1, 999], [5]]


async def test_a_text_that_comes_again_is_planned_once(session, planning, monkeypatch):
    planned = []
    plan = planning.plan

    def told(text, snapshot, **more):
        planned.append(text)
        return plan(text, snapshot, **more)

    monkeypatch.setattr(planning, "plan", told)
    for text, release in (("a", None), ("a", None), ("b", None), ("a", "hip")):
        await ask(session, text=text, default_release=release)
    assert planned == ["a", "b", "a"]


async def test_an_error_comes_instead_of_the_trailer(session, workers):
    for worker in workers.values():
        worker.trouble = ChunkMissing("not here")
    with pytest.raises(ChunkMissing):
        await frames(session)
    assert session.running == ()


def hang(workers):
    """Have the worker hang that holds chunk 4."""
    (holder,) = metadata.family().replicas[4]
    workers[holder].trouble = "hangs"
    return workers[holder]


async def test_a_cancelled_query_stops_everywhere(session, workers):
    hanging = hang(workers)
    running = asyncio.create_task(frames(session, query_id="mine"))
    await asyncio.wait_for(hanging.hangs.wait(), 10)
    with pytest.raises(Conflict):
        await frames(session, query_id="mine")

    assert session.cancel("mine")
    with pytest.raises(Cancelled, match="mine"):
        await running
    await asyncio.wait_for(hanging.cancelled.wait(), 10)
    assert not session.cancel("mine")


@pytest.mark.parametrize("timeout", [0.2])
async def test_a_query_has_a_deadline(session, workers, timeout):
    hanging = hang(workers)
    with pytest.raises(LimitExceeded, match=r"0\.2 s that query_timeout"):
        await frames(session)
    await asyncio.wait_for(hanging.cancelled.wait(), 10)


async def test_a_client_that_goes_away_stops_everything(session, workers):
    hanging = hang(workers)
    running = asyncio.create_task(frames(session))
    await asyncio.wait_for(hanging.hangs.wait(), 10)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.wait_for(hanging.cancelled.wait(), 10)
    assert session.running == ()


async def test_a_long_text_and_an_old_snapshot_are_answered(session):
    request = Request("SELECT " + "x" * 5000, snapshot=1)
    async with aclosing(session.query(request)) as answer:
        assert (await anext(answer)).snapshot == 1
