"""A call that is cut off, from either side, leaves memory and metadata as one."""

import asyncio
import threading

import pytest
from support.czarloads import begin as began
from support.czarloads import commit, files, place, read, staged

from qserv.errors import Conflict, MetadataUnavailable, WorkerUnavailable


class Gate:
    """Whoever writes waits in front of it until it is opened."""

    def __init__(self):
        self.reached = threading.Event()
        self.opened = threading.Event()
        self.lock = threading.RLock()

    def __enter__(self):
        self.reached.set()
        self.opened.wait()
        self.lock.acquire()

    def __exit__(self, *_):
        self.lock.release()


async def cut_off(call, store):
    """Let a caller go away while its call waits for the metadata."""
    gate = store._write = Gate()
    task = asyncio.create_task(call)
    await asyncio.to_thread(gate.reached.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.opened.set()


async def test_a_contribution_that_was_cut_off_may_be_repeated(loads, store):
    number, target = await began(loads)
    placed = await place(loads, number, target)
    given = [read(number)], files(number, placed)
    await cut_off(loads.contribute(number, *given), store)
    await loads.contribute(number, *given)
    assert await commit(loads, number) == 1


async def test_an_abort_that_was_cut_off_may_be_repeated(loads, store):
    number, _ = await staged(loads)
    await cut_off(loads.abort(number, "Ctrl-C"), store)
    await loads.abort(number, "again")
    assert loads.open == ()
    with pytest.raises(Conflict, match="is aborted: Ctrl-C"):
        await commit(loads, number)


async def test_a_beginning_that_was_cut_off_is_known(loads, store, clock):
    await cut_off(began(loads, fingerprint="f"), store)
    await loads.close()
    (number,) = loads.open
    clock.now += 100
    again, _ = await began(loads, fingerprint="f")
    assert again == number


async def test_a_worker_that_joins_again_under_an_install_is_skipped(
    loads, members, workers
):
    number, _ = await staged(loads)
    workers["w2"].trouble = "hangs"
    committing = asyncio.create_task(commit(loads, number))
    await workers["w2"].hangs.wait()
    before = members.get("w2")
    members.lost("w2", WorkerUnavailable("silent"))
    await members.join("w2", before.endpoint, 1)

    with pytest.raises(WorkerUnavailable, match="kept by 0 workers of 1"):
        await committing
    workers["w2"].trouble = None
    assert await commit(loads, number) == 2


async def test_a_commit_whose_answer_was_lost_is_found_to_be_one(
    loads, store, monkeypatch
):
    def unanswered(publication):
        before = store._newest
        publish(publication)
        store._newest = before
        raise MetadataUnavailable("server closed the connection unexpectedly")

    publish = store.publish
    number, _ = await staged(loads)
    monkeypatch.setattr(store, "publish", unanswered)
    with pytest.raises(MetadataUnavailable):
        await commit(loads, number)
    monkeypatch.undo()
    assert await commit(loads, number) == 1
    assert loads.open == ()
    assert store.snapshot().table("hip", "Object").rows == 20
