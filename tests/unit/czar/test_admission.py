"""What costs too much is refused before it runs; what is too many waits its turn."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from support.fake_planning import ask, fragment, frames, residual

from qserv.czar.admission import Admission, Limits
from qserv.czar.results import Request
from qserv.dialects.statements import Mode
from qserv.errors import LimitExceeded, TooManyQueries
from qserv.plan.cost import Cost
from qserv.plan.plan import Plan, ScanClass

CHEAP = Cost(1.0, 1.0, 1.0, 1.0, 1.0, 1.0)


def plan(stage, scan_class=ScanClass.SCAN):
    return Plan("SELECT …", 1, "hip", (stage,), stage.columns, scan_class)


SCAN = plan(fragment())
CONE = plan(fragment(), ScanClass.INTERACTIVE)
COUNT = plan(residual())


def cost(rows=0.0, bytes_read=0.0, seconds=0.0):
    return Cost(rows, bytes_read, 0.0, 0.0, 0.0, seconds)


REFUSALS = {
    """this query is expected to join its tables to 5.3e+11 rows, more than the 1.0e+10
    that max_estimated_rows allows; join them by a key or a distance, or restrict the
    tables further, or have max_estimated_rows raised""": cost(rows=5.3e11),
    """this query is expected to read 3,072.0 GiB of files, more than the 512 MiB that
    max_estimated_bytes allows; restrict it to an area or to keys, or select fewer
    columns, or have max_estimated_bytes raised""": cost(bytes_read=3 * 2**40),
    """this query is expected to take 4,000 s, more than the 600 s that
    max_estimated_seconds allows; restrict it to an area or to keys, or take it apart,
    or have max_estimated_seconds raised""": cost(seconds=4000.0),
}


@pytest.mark.parametrize("told", REFUSALS)
async def test_a_refusal_names_limit_estimate_and_remedy(told):
    most = Limits(1, 1, 1, rows=1e10, size=2**29, seconds=600.0)
    with pytest.raises(LimitExceeded) as refused:
        async with Admission(most).turn(SCAN, REFUSALS[told]):
            raise AssertionError("it must not run")
    assert refused.value.text == " ".join(told.split())
    async with Admission(Limits(1, 1, 1)).turn(SCAN, REFUSALS[told]):
        pass


async def test_queries_beyond_the_queue_are_refused_and_may_be_asked_again():
    admission = Admission(Limits(interactive=1, scans=2, waiting=1))
    ran = []

    async def run(name):
        async with admission.turn(SCAN, CHEAP):
            ran.append(name)

    async with AsyncExitStack() as running:
        for _ in range(2):
            await running.enter_async_context(admission.turn(SCAN, CHEAP))
        waiting = asyncio.create_task(run("waits"))
        await asyncio.sleep(0)
        with pytest.raises(TooManyQueries, match="2 scan queries run and 1 wait") as no:
            await run("refused")
        assert no.value.retry
        assert isinstance(no.value, LimitExceeded)
        # What reads a few chunks, or none, does not wait for scans.
        async with admission.turn(CONE, CHEAP):
            pass
        async with admission.turn(COUNT, CHEAP):
            pass
        assert ran == []
    await waiting
    await run("again")
    assert ran == ["waits", "again"]


async def test_who_gives_up_waiting_leaves_the_queue():
    admission = Admission(Limits(interactive=1, scans=1, waiting=1))

    async def run():
        async with admission.turn(SCAN, CHEAP):
            return "ran"

    async with admission.turn(SCAN, CHEAP):
        for _ in range(3):
            waiting = asyncio.create_task(run())
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        waiting = asyncio.create_task(run())
        await asyncio.sleep(0)
    assert await waiting == "ran"


@pytest.fixture
def limits():
    return Limits(interactive=1, scans=1, waiting=0, rows=1000.0)


async def test_a_session_refuses_before_it_runs(session, planning, workers):
    planning.spent = cost(rows=1e6)
    for text in ("SELECT …", "EXPLAIN ANALYZE SELECT …"):
        with pytest.raises(LimitExceeded, match="max_estimated_rows"):
            await frames(session, text)
    told = await session.explain(Request("SELECT …", mode=Mode.EXPLAIN))
    assert told == "1 stages, chunks of [0] are known", "to be told costs nothing"
    assert not any(worker.tasks for worker in workers.values())


async def test_a_session_gives_the_turn_back(session, workers):
    for worker in workers.values():
        worker.trouble = "hangs"
    running = asyncio.create_task(frames(session))
    hanging = [asyncio.create_task(w.hangs.wait()) for w in workers.values()]
    await asyncio.wait(hanging, timeout=10, return_when=asyncio.FIRST_COMPLETED)
    with pytest.raises(TooManyQueries):
        await frames(session)
    await frames(session, "EXPLAIN SELECT …")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    for task in hanging:
        task.cancel()
    for worker in workers.values():
        worker.trouble = None
    assert (await ask(session))[2].rows > 0


async def test_a_result_has_no_more_bytes_than_allowed(session):
    session._max_result_bytes = 500
    with pytest.raises(LimitExceeded, match="max_result_bytes allows; select fewer"):
        await frames(session)
    # EXPLAIN ANALYZE drops the rows, but they were read: the same limit holds.
    with pytest.raises(LimitExceeded, match="max_result_bytes"):
        await frames(session, "EXPLAIN ANALYZE SELECT …")
