"""Members: who is alive, and who is told when somebody is not."""

import asyncio

import pytest

from qserv.catalog.workerstore import WorkerState
from qserv.czar.members import Members
from qserv.errors import InvalidRequest, WorkerUnavailable


async def test_a_worker_gets_a_name_once_and_keeps_it(members, store):
    name, fresh = await members.join("", "127.0.0.1:1", 2)
    assert name
    assert fresh
    assert await members.join(name, "127.0.0.1:1", 2) == (name, False)
    assert (members.get(name).endpoint, members.get(name).threads) == ("127.0.0.1:1", 2)
    with pytest.raises(InvalidRequest, match="host:port"):
        await members.join("", "", 2)


async def test_silence_is_death_until_the_next_sign_of_life(members, clock):
    lost = []
    with members.watching(lambda worker, error: lost.append((worker, error.text))):
        await members.join("w1", "127.0.0.1:1", 1)
        clock.now += 3.9
        await members.join("w2", "127.0.0.1:2", 1)
        members.check()
        assert lost == []
        clock.now += 0.2
        members.check()
        members.check()
        assert [worker for worker, _ in lost] == ["w1"]
        assert "no sign of life for 4.1 s" in lost[0][1]
        assert set(members.alive) == {"w2"}
        with pytest.raises(WorkerUnavailable, match="w1 is not alive"):
            members.get("w1")
        assert await members.join("w1", "127.0.0.1:1", 1) == ("w1", True)
        assert set(members.alive) == {"w1", "w2"}


async def test_a_czar_that_was_too_busy_to_listen_blames_nobody(
    members, clock, monkeypatch
):
    late = asyncio.Queue()
    turns = []

    async def sleep(seconds):
        # The clock does not wait while the czar is busy with something else.
        clock.now += seconds + await late.get()
        turns.append(clock.now)

    monkeypatch.setattr("qserv.czar.members.asyncio.sleep", sleep)
    await members.join("w1", "127.0.0.1:1", 1)
    watching = asyncio.create_task(members.watch())

    async def turn(seconds):
        seen = len(turns)
        late.put_nowait(seconds)
        while len(turns) == seen or not late.empty():
            await asyncio.wait([watching], timeout=0)

    await turn(60.0)
    await turn(0.0)
    assert set(members.alive) == {"w1"}
    for _ in range(9):
        await turn(0.0)
    assert set(members.alive) == set(), "and yet, who is silent is dead"
    watching.cancel()


async def test_a_worker_that_moves_is_told_of(members):
    lost = []
    await members.join("w1", "127.0.0.1:1", 1)
    with members.watching(lambda worker, error: lost.append(worker)):
        assert await members.join("w1", "127.0.0.1:9", 1) == ("w1", True)
    assert lost == ["w1"]
    assert members.get("w1").endpoint == "127.0.0.1:9"


async def test_what_a_worker_is_to_do_is_remembered(members, store, clock):
    for name in ("w1", "w2", "w3"):
        await members.join(name, f"127.0.0.1:{name[1]}", 1, (10, 100))
    await members.set_state("w2", WorkerState.DRAINING)
    await members.set_state("w3", WorkerState.LOST)
    assert members.placeable.keys() == {"w1"}
    assert members.alive.keys() == {"w1", "w2", "w3"}
    again = Members(store=store, dead_after=4.0, clock=clock)
    assert again.known == {"w1", "w2", "w3"}
    assert again.state("w2") is WorkerState.DRAINING
    with pytest.raises(InvalidRequest, match="w3 was given up for lost"):
        await again.join("w3", "127.0.0.1:3", 1)
    await again.set_state("w3", WorkerState.ACTIVE)
    await again.join("w3", "127.0.0.1:3", 1, (5, 100))
    assert again.get("w3").disk_free == 5
    await again.close()
