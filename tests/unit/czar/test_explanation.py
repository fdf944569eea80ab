"""EXPLAIN runs nothing, EXPLAIN ANALYZE all of it; both are rows of one column."""

import pytest
from support.fake_planning import ask, fragment, residual
from support.fake_worker import ROWS

from qserv.czar.results import Request
from qserv.dialects.statements import Mode
from qserv.errors import InvalidValue, ParseError
from qserv.plan.explain import Happened
from qserv.plan.plan import FoundRestrictor, Input, Sharing, Spool


def sent(workers):
    return [task for worker in workers.values() for task in worker.tasks]


async def test_explain_runs_nothing(session, planning, workers):
    found = FoundRestrictor("hip", "Object", 0, "n")
    planning.stages.append(fragment(restrictors=(found,)))
    told = await session.explain(Request("SELECT …", mode=Mode.EXPLAIN))
    assert told == "2 stages, chunks of [0] are known"
    _, table, trailer = await ask(session, text="EXPLAIN SELECT …")
    assert table.to_pydict() == {"plan": [told]}
    assert (trailer.rows, trailer.attempts) == (1, 0)
    assert sent(workers) == []


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("EXPLAIN SELECT a", "        SELECT a"),
        ("-- why?\nexplain\nanalyze SELECT a", "-- why?\n       \n        SELECT a"),
    ],
)
async def test_what_is_planned_is_the_query_at_its_place(
    session, planning, monkeypatch, text, asked
):
    def plan(text, *_, **more):
        raise ParseError(f"refused: {text}")

    monkeypatch.setattr(planning, "plan", plan)
    with pytest.raises(ParseError) as refused:
        await ask(session, text=text)
    assert refused.value.text == f"refused: {asked}"


async def test_analyze_says_what_each_stage_did(session, planning, monkeypatch):
    planning.stages.append(fragment(inputs=(Input(0, Sharing.BROADCAST),)))
    planning.stages.append(residual("SELECT * FROM stage_1 LIMIT 5", inputs=(1,)))
    seen = {}

    def explain(plan, routes, happened, **_):
        seen.update(happened)
        return "one\ntwo"

    monkeypatch.setattr(planning, "explain", explain)
    _, table, trailer = await ask(session, text="EXPLAIN ANALYZE SELECT …")
    assert table.to_pydict() == {"plan": ["one", "two"]}
    assert (trailer.rows, trailer.bytes_scanned) == (2, 800)
    first, second, last = (seen[number] for number in range(3))
    assert first == Happened(
        routed=4,
        chunks=4,
        tasks=first.tasks,
        rows=4 * ROWS,
        size=4000,
        read=400,
        seconds=first.seconds,
    )
    assert first.tasks + second.tasks == trailer.attempts
    assert (second.read, second.brought) == (400, 0)
    assert (last.rows, last.tasks, last.routed) == (5, 0, 0)
    assert all(did.seconds > 0 for did in seen.values())


async def test_analyze_counts_what_workers_keep(session, planning):
    planning.stages = [
        fragment(spool=Spool(("n",), 2)),
        fragment(family=None, buckets=2, inputs=(Input(0, Sharing.BUCKET),)),
    ]
    _, table, _ = await ask(session, text="EXPLAIN ANALYZE SELECT …")
    _, kept, read = table["plan"].to_pylist()
    assert f"rows={4 * ROWS}, size=4000" in kept
    assert "routed=2, chunks=2" in read


async def test_what_stops_a_query_stops_its_explanation(session, planning, workers):
    for worker in workers.values():
        worker.trouble = InvalidValue("overflow")
    with pytest.raises(InvalidValue):
        await session.explain(Request("SELECT …", mode=Mode.ANALYZE))
    assert session.running == ()
