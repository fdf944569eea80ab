"""The tables that qserv fills itself, in queries: nobody else is asked."""

import pyarrow as pa
import pytest
from support.fake_planning import ask, fragment, frames, residual

from qserv.catalog.system import CONTRIBUTIONS, LOADS, check_release
from qserv.errors import InvalidRequest, LimitExceeded, WorkerUnavailable
from qserv.plan.plan import Input, Sharing, SystemRows

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


@pytest.mark.parametrize("name", ["qserv", "QServ"])
def test_their_release_is_nobody_elses(name):
    with pytest.raises(InvalidRequest, match="give another release"):
        check_release(name)
    check_release("qserv2")
