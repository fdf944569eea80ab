"""The czar has workers remember the metadata: all, soon, no more than needed."""

import asyncio
from dataclasses import replace

import pytest
from support import metadata
from support.czarloads import asked, commit, files, place, read, source

from qserv.catalog.views import View
from qserv.czar import remembrance
from qserv.czar.remembrance import Remembrance
from qserv.errors import CzarReplaced, TaskFailed


@pytest.fixture
def remembering(store, members, workers):
    metadata.publish(store)
    return Remembrance(store=store, members=members, interval=0.01)


def tables(worker):
    return {part.table for part in worker.remembered[-1].parts}


async def test_every_worker_remembers_all_but_files(remembering, workers):
    assert await remembering.share() == {"w1", "w2", "w3"}
    for worker in workers.values():
        assert {"catalog_table", "leaf", "placement", "contribution"} <= tables(worker)
        assert not {"manifest_entry", "replica", "open_load"} & tables(worker)


async def test_nothing_is_sent_twice(remembering, store, workers, monkeypatch):
    await remembering.share()
    await remembering.share()
    assert len(workers["w1"].remembered) == 1
    store.allocate()
    await remembering.share()
    assert len(workers["w1"].remembered) == 1, "a number alone is not worth it"
    before = set(workers["w1"].catalog)
    sent = []
    send = Remembrance._send

    async def spy(self, member, checkpoint, parts):
        sent.extend(parts)
        return await send(self, member, checkpoint, parts)

    monkeypatch.setattr(Remembrance, "_send", spy)
    store.create_view("hip", View("Bright", "SELECT ra FROM Object", ""))
    await remembering.share()
    assert len(workers["w1"].remembered) == 2
    fresh = set(workers["w1"].catalog) - before
    assert len(sent) == 3 * len(fresh)
    assert {
        p.table for p in workers["w1"].remembered[-1].parts if p.sha256 in fresh
    } == {
        "catalog_view",
        "cluster",
        "snapshot",
    }


async def test_messages_stay_small(remembering, workers, monkeypatch):
    monkeypatch.setattr(remembrance, "_MESSAGE", 1)
    assert await remembering.share() == {"w1", "w2", "w3"}


async def test_a_worker_that_fails_is_asked_again(remembering, workers):
    workers["w2"].trouble = TaskFailed("no space")
    assert await remembering.share() == {"w1", "w3"}
    await remembering.remember()
    workers["w2"].trouble = None
    assert await remembering.share() == {"w1", "w2", "w3"}
    assert len(workers["w1"].remembered) == 1


async def test_a_czar_that_was_replaced_ends(remembering, store, workers, monkeypatch):
    def replaced():
        raise CzarReplaced("epoch 2")

    monkeypatch.setattr(store, "confirm", replaced)
    with pytest.raises(CzarReplaced, match="epoch 2"):
        await remembering.run()


async def test_nobody_hears_of_a_load_before_workers_remember_it(loads, installation):
    """Neither its loader, who asks again, nor another one of the same files."""
    remembering, remembered = asyncio.Event(), asyncio.Event()

    async def remember():
        remembering.set()
        await remembered.wait()

    installation.remember = remember
    inputs = (source("a.parquet", "ab"),)
    begun = await loads.begin(asked(inputs=inputs))
    number = begun.transaction
    placed = await place(loads, number, begun.target)
    brought = replace(read(number), source="a.parquet", sha256=inputs[0].sha256)
    await loads.contribute(number, [brought], files(number, placed))

    calls = [asyncio.create_task(commit(loads, number))]
    await remembering.wait()
    calls.append(asyncio.create_task(commit(loads, number)))
    calls.append(asyncio.create_task(loads.begin(asked(inputs=inputs))))
    done, _ = await asyncio.wait(calls, timeout=0.2)
    assert not done

    remembered.set()
    first, second, other = await asyncio.gather(*calls)
    assert (first, second, other.transaction, other.snapshot) == (1, 1, "", 1)
    assert loads.open == ()
