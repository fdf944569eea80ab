"""Plans of several stages: what is found first restricts, travels, merges, and goes."""

import asyncio
import threading

import pyarrow as pa
import pyarrow.ipc
import pytest
from support import metadata
from support.fake_planning import ask, fragment, frames, residual
from support.fake_worker import COLUMNS, ROWS, SCHEMA
from support.fake_worker import rows as fake_rows

from qserv.config import MIB, CzarConfig
from qserv.czar import collected
from qserv.czar import keys as room
from qserv.czar.collected import Collected
from qserv.czar.results import Message
from qserv.errors import LimitExceeded
from qserv.plan.plan import (
    EitherRestrictor,
    FoundRestrictor,
    Input,
    KeyRangeRestrictor,
    Sharing,
)
from qserv.wire.channel import MESSAGE_BYTES
from qserv.wire.codec import encode_batches

DEADLINE = 3.0
BROADCAST = (Input(0, Sharing.BROADCAST),)


def sent(workers, stage):
    return [t for worker in workers.values() for t in worker.tasks if t.stage == stage]


def holder(workers):
    """Return the worker that has the only shard of the index: keys 1 to 1000."""
    (name,) = metadata.family().replicas[4]
    return workers[name]


async def test_stages_merge_into_one_another(session, planning):
    twice = "SELECT chunk, n FROM stage_0 WHERE n = 1 UNION ALL FROM stage_2"
    planning.stages = [
        fragment(),
        fragment(),
        residual("SELECT * FROM stage_1 WHERE chunk = 4", inputs=(1,)),
        residual(twice, inputs=(0, 2)),
    ]
    header, table, trailer = await ask(session)
    found = sorted(zip(*table.to_pydict().values(), strict=True))
    assert found == [(4, 0), (4, 1), (4, 1), (4, 2), (5, 1), (6, 1), (7, 1)]
    assert (header.chunks, trailer.bytes_scanned) == (4, 800)


async def test_a_fragment_gets_the_rows_of_an_earlier_stage_with_its_tasks(
    session, planning, workers
):
    planning.stages = [fragment(), fragment(inputs=BROADCAST)]
    _, table, _ = await ask(session)
    assert table.num_rows == 4 * ROWS
    assert not any(task.side_tables for task in sent(workers, 0))
    for task in sent(workers, 1):
        (side,) = task.side_tables
        assert (side.name, list(task.input_stages)) == ("stage_0", [0])
        there = pa.ipc.open_stream(side.arrow_stream).read_all()
        assert there.schema.equals(SCHEMA)
        assert sorted(there["chunk"].to_pylist()) == sorted([4, 5, 6, 7] * ROWS)


async def test_many_rows_are_encoded_while_the_czar_goes_on(monkeypatch):
    turned, encode = threading.Event(), collected._piece

    def when_the_czar_goes_on(number, table):
        assert turned.wait(DEADLINE), "the event loop waits for the encoding"
        return encode(number, table)

    monkeypatch.setattr(collected, "_piece", when_the_czar_goes_on)
    held = Collected(memory=MIB, broadcast=MIB)
    held.open(0, COLUMNS)
    held.add(0, many_rows())
    asyncio.get_running_loop().call_soon(turned.set)
    (piece,) = await held.pieces([0])
    assert len(piece) > MIB // 2


def many_rows():
    count = MIB // 2 // SCHEMA[0].type.byte_width // len(SCHEMA)
    rows = pa.record_batch([pa.array(range(count))] * len(SCHEMA), SCHEMA)
    (data,) = encode_batches(rows)
    return Message(data, rows)


async def test_what_is_found_may_be_nothing_and_still_travels(
    session, planning, workers
):
    nothing = residual("SELECT * FROM stage_0 WHERE n > 9")
    inputs = (Input(1, Sharing.BROADCAST),)
    planning.stages = [fragment(), nothing, fragment(inputs=inputs)]
    await ask(session)
    for task in sent(workers, 2):
        (side,) = task.side_tables
        assert pa.ipc.open_stream(side.arrow_stream).read_all().num_rows == 0


@pytest.mark.parametrize("broadcast_memory", [500])
async def test_what_is_too_large_to_travel_is_refused_with_the_remedy(
    session, planning, workers
):
    planning.stages = [fragment(), fragment(inputs=BROADCAST)]
    with pytest.raises(LimitExceeded, match=r"MiB, more than .*raise broadcast_memory"):
        await frames(session)
    assert sent(workers, 1) == []


@pytest.mark.parametrize("broadcast_memory", [500])
async def test_more_rows_than_were_expected_are_planned_for_again(
    session, planning, workers
):
    planning.stages = [fragment(), fragment(inputs=BROADCAST)]
    planning.frugal = [fragment(limit=5)]
    header, table, trailer = await ask(session)
    # The limit of the plan that answers counts.
    assert (header.chunks, table.num_rows, trailer.overflow) == (4, 5, False)
    assert sent(workers, 1) == []


async def test_rows_that_are_out_are_not_taken_back(session, planning, monkeypatch):
    async def rows(residual, inputs, schema):
        yield Message(bytes(batch.serialize()), batch)
        raise LimitExceeded("spilled too much")

    batch = fake_rows(4)
    monkeypatch.setattr(session._merge, "rows", rows)
    planning.stages, planning.frugal = [fragment(), residual()], [fragment()]
    with pytest.raises(LimitExceeded, match="spilled"):
        await frames(session)


def test_whatever_may_travel_fits_a_message():
    most = CzarConfig(broadcast_memory=192 * MIB)
    assert most.broadcast_memory < MESSAGE_BYTES * 0.8
    with pytest.raises(ValueError, match="broadcast_memory"):
        CzarConfig(broadcast_memory=193 * MIB)


async def test_keys_that_a_stage_found_restrict_a_later_one(session, planning, workers):
    found = FoundRestrictor("hip", "Object", 1, "n")
    twice = residual("SELECT chunk, NULLIF(n, 1) AS n FROM stage_0")
    either = EitherRestrictor(((found,), ()))
    planning.stages = [fragment(), twice, fragment(restrictors=(either,))]
    holder(workers).homes = {2: 77}
    header, _, _ = await ask(session)
    assert planning.homes[found].tolist() == [77]
    (lookup,) = holder(workers).lookups
    # 1 became NULL, and 0 lies below the shard.
    assert list(lookup.keys.integers) == [2]
    # Nobody knew it when the header was written.
    assert (header.chunks, header.chunks_total) == (12, 12)


async def test_more_keys_than_are_worth_a_look_up_read_every_chunk(
    session, planning, workers, monkeypatch
):
    monkeypatch.setattr(room, "_FOUND", 2)
    found = FoundRestrictor("hip", "Object", 0, "n")
    planning.stages = [fragment(), fragment(restrictors=(found,))]
    await ask(session)
    assert found not in planning.homes
    assert holder(workers).lookups == []


@pytest.mark.parametrize(
    ("low", "high", "asked"), [(1000, 2000, True), (-5, 1, True), (1001, 2000, False)]
)
async def test_a_range_of_keys_is_asked_of_the_shards_that_it_meets(
    session, planning, workers, low, high, asked
):
    between = KeyRangeRestrictor("hip", "Object", low, high)
    planning.stages = [fragment(restrictors=(between,))]
    holder(workers).homes = {1000: 88, 1: 33, 2: 44}
    await ask(session)
    homes = [home for key, home in ((1, 33), (1000, 88)) if low <= key <= high]
    assert planning.homes[between].tolist() == homes
    lookups = [(look.low, look.high, look.order) for look in holder(workers).lookups]
    assert lookups == [(low, high, 0)] * asked


async def test_progress_counts_the_chunks_of_all_stages(session, planning):
    seen = []
    route = planning.route

    def watched(sent, snapshot, homes):
        seen.extend((r.tally.chunks_done, r.chunks) for r in session.running)
        return route(sent, snapshot, homes)

    planning.route = watched
    found = FoundRestrictor("hip", "Object", 0, "n")
    planning.stages = [fragment(), fragment(restrictors=(found,)), fragment()]
    await ask(session)
    # The chunks of the second fragment are known when the first is done.
    assert seen == [(0, 0), (0, 0), (4, 8)]


def test_rows_that_nobody_reads_any_more_are_forgotten():
    message = Message(b"x" * 60, fake_rows(4))
    collected = Collected(memory=100, broadcast=0)
    for number in (0, 1):
        collected.open(number, COLUMNS)
    collected.add(0, message)
    with pytest.raises(LimitExceeded, match="merge_memory"):
        collected.add(1, message)

    collected.keep({1})
    assert collected.tables([1])[1].num_rows == ROWS
    collected.open(2, COLUMNS)
    with pytest.raises(LimitExceeded):
        collected.add(2, message)
