"""The tables that qserv fills itself, in queries: nobody else is asked."""

import asyncio
import threading

import pyarrow as pa
import pytest
from support.chunks import Chunks
from support.fake_planning import ask, fragment, frames, residual
from support.survey import survey

from qserv.catalog import systemrows
from qserv.catalog.system import CONTRIBUTIONS, LOADS, check_release
from qserv.czar.system import System
from qserv.errors import (
    InvalidRequest,
    LimitExceeded,
    UnknownName,
    WorkerUnavailable,
)
from qserv.plan.plan import Input, Sharing, SystemRows
from qserv.plan.planner import plan

READ = SystemRows("contributions", (CONTRIBUTIONS.column("source"),), 1000.0)
BROADCAST = (Input(0, Sharing.BROADCAST),)


def tasks(workers):
    return [task for worker in workers.values() for task in worker.tasks]


async def test_they_are_an_answer_without_workers(session, planning, members, workers):
    counted = (LOADS.column("rows_read"),)
    planning.stages = [
        READ,
        residual("SELECT COUNT(*) FROM stage_0", columns=counted),
    ]
    for worker in workers:
        members.lost(worker, WorkerUnavailable("away"))
    _, table, _ = await ask(session)
    assert table.to_pydict() == {"rows_read": [1]}
    planning.stages = [READ]
    _, table, trailer = await ask(session, text="SELECT source …")
    assert table.to_pydict() == {"source": ["objects.parquet"]}
    assert (trailer.rows, tasks(workers)) == (1, [])


async def test_they_travel_to_the_chunks_that_they_are_joined_to(
    session, planning, workers
):
    planning.stages = [READ, fragment(inputs=BROADCAST)]
    await ask(session)
    for task in tasks(workers):
        (side,) = task.side_tables
        there = pa.ipc.open_stream(side.arrow_stream).read_all()
        assert there.to_pydict() == {"source": ["objects.parquet"]}


@pytest.mark.parametrize("system_memory", [10])
async def test_more_rows_than_may_be_held_are_refused_with_the_remedy(
    session, planning
):
    planning.stages = [READ]
    with pytest.raises(LimitExceeded, match=r"qserv\.contributions .*merge_memory"):
        await frames(session)


async def test_a_query_that_is_cancelled_leaves_nobody_reading(store, monkeypatch):
    begun, ended, enough = (threading.Event() for _ in range(3))

    def many(*_):
        try:
            while not enough.is_set():
                begun.set()
                yield [[]]
        finally:
            ended.set()

    monkeypatch.setattr(systemrows, "rows", many)
    system = System(store=store, memory=10)
    reading = asyncio.create_task(anext(system.rows(READ, 1)))
    assert await asyncio.to_thread(begun.wait, 5)
    reading.cancel()
    try:
        assert await asyncio.to_thread(ended.wait, 5)
    finally:
        enough.set()


def test_a_release_of_their_name_that_there_was_is_read_as_before():
    chunks = Chunks(survey(), 200, release="qserv")
    made = plan(
        "SELECT COUNT(o.objectId) AS n FROM qserv.Object o "
        "LEFT JOIN qserv.loads l ON l.rows_read = -1",
        chunks.snapshot,
    )
    rows = chunks.survey.rows["Object"].num_rows
    assert chunks.run(made).to_pydict() == {"n": [rows]}
    with pytest.raises(UnknownName, match=r"qserv has no table nothing; it has: .*Vis"):
        plan("SELECT 1 FROM qserv.nothing", chunks.snapshot)


@pytest.mark.parametrize("name", ["qserv", "QServ"])
def test_their_release_is_nobody_elses(name):
    with pytest.raises(InvalidRequest, match="give another release"):
        check_release(name)
    check_release("qserv2")
