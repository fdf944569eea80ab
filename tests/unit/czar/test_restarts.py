"""A czar that restarts goes on with every load, wherever it was killed."""

import asyncio
from contextlib import asynccontextmanager, closing

import pytest
from support import czarloads, fake_worker, metadata
from support.czarloads import ROWS, begin, commit, files, place, read, staged

from qserv import failpoint
from qserv.catalog.store import Store
from qserv.czar.installation import Installation
from qserv.czar.loads import Loads
from qserv.czar.members import Members
from qserv.czar.openload import Progress
from qserv.errors import Conflict, InvalidRequest, Superseded


class Killed(BaseException):
    """The process is gone: nothing after it happens."""


class Czar:
    """Czars one after another on one directory, and workers that outlive them."""

    def __init__(self, directory, clock):
        self.directory = directory
        self.clock = clock

    @asynccontextmanager
    async def up(self, *names):
        """Start a czar; give its loads. `names` are the workers that come back."""
        with closing(Store.open(self.directory)) as self.store:
            members = Members(store=self.store, dead_after=4.0, clock=self.clock)
            async with fake_worker.joined(members, *(names or metadata.WORKERS)) as w:
                self.workers = w
                installation = Installation(store=self.store, members=members)
                loads = Loads(
                    store=self.store,
                    members=members,
                    installation=installation,
                    replicas=1,
                    lease=30,
                    clock=self.clock,
                )
                await loads.recover()
                try:
                    yield loads
                finally:
                    await loads.close()
                    await members.close()


@pytest.fixture
def czar(tmp_path, clock):
    return Czar(tmp_path / "czars", clock)


@pytest.fixture
def kill(monkeypatch):
    """Give a function that kills the czar at a place."""

    def at(name):
        def reached(place):
            if place == name:
                raise Killed(place)
            return False

        for module in ("opening", "loads", "ending", "committing"):
            monkeypatch.setattr(f"qserv.czar.{module}.reached", reached)
        monkeypatch.setattr("qserv.catalog.publication.reached", reached)

    return at


async def test_every_step_may_be_done_by_another_czar(czar):
    async with czar.up() as loads:
        number, target = await begin(loads, fingerprint="f")
    async with czar.up() as loads:
        assert loads.open == (number,)
        placed = await place(loads, number, target)
    async with czar.up() as loads:
        assert await place(loads, number, target) == placed
        await loads.contribute(number, [read(number)], files(number, placed)[:3])
    async with czar.up() as loads:
        assert len(await loads.staged(number)) == 3
        await loads.contribute(number, [read(number)], files(number, placed))
        with pytest.raises(InvalidRequest, match="20 contributed rows, not 21"):
            await commit(loads, number, ROWS | {"Object": 21})
    async with czar.up() as loads:
        assert await commit(loads, number) == 1
    async with czar.up() as loads:
        assert loads.open == ()
        assert await commit(loads, number) == 1
        with pytest.raises(Conflict, match="is committed"):
            await loads.abort(number, "too late")
        table = czar.store.snapshot().table("hip", "Object")
        assert table.rows == 20


async def test_what_ended_leaves_only_its_history(czar):
    async with czar.up() as loads:
        first, _ = await staged(loads, who="me", input_ids=("a", "b"))
        await commit(loads, first)
        second, _ = await staged(loads)
        await loads.abort(second, "Ctrl-C")
        with czar.store.reading() as connection:
            for name in ("open_load", "open_input", "staged_file"):
                rows = connection.execute(czar.store.tables[name].select()).all()
                assert rows == []
    async with czar.up() as loads:
        gone, done = await loads.history(release="HIP")
        assert (done.id, done.state, done.snapshot, done.rows) == (
            *(first, "committed", 1, 20),
        )
        assert (done.who, done.input_ids) == ("me", ("a", "b"))
        assert (gone.id, gone.state, gone.reason) == (second, "aborted", "Ctrl-C")
        (brought,) = await loads.brought(first)
        assert (brought.source, brought.rows) == ("objects.parquet", 20)
        assert await loads.brought(second) == ()


COMMIT = ("written", "numbered", "installed", "published", "remembered")


@pytest.mark.parametrize("step", ["asked", *COMMIT, "files"])
async def test_a_commit_is_finished_by_the_next_czar(czar, kill, monkeypatch, step):
    name = f"czar.{'publish' if step == 'files' else 'commit'}.{step}"
    assert name in failpoint.NAMES
    async with czar.up() as loads:
        number, _ = await staged(loads)
        kill(name)
        with pytest.raises(Killed):
            await commit(loads, number)
        loads.registry.open.clear()
        before = {name: worker.installed for name, worker in czar.workers.items()}
    monkeypatch.undo()
    async with czar.up() as loads:
        await loads.close()
        shown = "hip" in czar.store.snapshot().releases
        # Until it was written down that it shall be committed, nobody else does it.
        assert shown == (step != "asked")
        assert await commit(loads, number) == 1
        assert czar.store.snapshot().table("hip", "Object").rows == 20
        for worker in czar.workers.values():
            assert {m.version for r in worker.installed for m in r.manifests} <= {1}
            # A worker takes a version twice only if it is the same.
            for request in before[worker.id]:
                assert all(request == again for again in worker.installed)


async def test_a_copy_that_was_lost_between_two_czars_does_not_end_a_commit(
    czar, kill, monkeypatch
):
    """Workers have what the first of them had installed, which is not as it was."""
    async with czar.up() as loads:
        number, _ = await staged(loads)
        kill("czar.commit.installed")
        with pytest.raises(Killed):
            await commit(loads, number)
        loads.registry.open.clear()
    monkeypatch.undo()
    install = Installation.install

    async def changed(installation, load, *, version, **of):
        if version == 1:
            raise Conflict("version 1 of hip.Object has another content already")
        return await install(installation, load, version=version, **of)

    monkeypatch.setattr(Installation, "install", changed)
    async with czar.up() as loads:
        assert await commit(loads, number) == 2
        assert czar.store.snapshot().table("hip", "Object").rows == 20
        for worker in czar.workers.values():
            assert {m.version for r in worker.installed for m in r.manifests} == {2}


async def test_without_what_is_written_a_commit_would_be_lost(czar, kill, monkeypatch):
    """The guarantee: a czar that forgets its commits loses what it was asked."""
    async with czar.up() as loads:
        number, _ = await staged(loads)
        kill("czar.commit.installed")
        with pytest.raises(Killed):
            await commit(loads, number)
        loads.registry.open.clear()
    monkeypatch.undo()
    monkeypatch.setattr("qserv.catalog.loadstore.unfinished", lambda *_: ())
    async with czar.up() as loads:
        with pytest.raises(Conflict):
            await commit(loads, number)
        assert czar.store.snapshot().releases == {}


@pytest.mark.parametrize("step", ["asked", "written", "forgotten"])
async def test_an_abort_leaves_nothing_wherever_it_was_killed(
    czar, kill, monkeypatch, step
):
    async with czar.up() as loads:
        number, _ = await staged(loads)
        kill(f"czar.abort.{step}")
        with pytest.raises(Killed):
            await loads.abort(number, "Ctrl-C")
    monkeypatch.undo()
    async with czar.up() as loads:
        await loads.abort(number, "Ctrl-C")
        await loads.abort(number, "Ctrl-C")
        assert loads.open == ()
        with pytest.raises(Conflict, match=r"is aborted: Ctrl-C"):
            await commit(loads, number)


async def test_a_commit_waits_for_workers_that_come_back(czar, kill, monkeypatch):
    async with czar.up() as loads:
        number, _ = await staged(loads)
        kill("czar.commit.numbered")
        with pytest.raises(Killed):
            await commit(loads, number)
        loads.registry.open.clear()
    monkeypatch.undo()
    async with czar.up("w1") as loads:
        await loads.close()
        # Its workers are not there: it stays open, for its loader to ask again.
        (past,) = await loads.history(load=number)
        assert (past.state, loads.open) == ("begun", (number,))
    async with czar.up() as loads:
        assert await commit(loads, number) == 2


async def test_nothing_is_decided_before_workers_had_the_time_to_be_back(czar, clock):
    async with czar.up():
        pass
    with closing(Store.open(czar.directory)) as store:
        members = Members(store=store, dead_after=4.0, clock=clock)
        installation = Installation(store=store, members=members)
        loads = Loads(
            store=store,
            members=members,
            installation=installation,
            replicas=None,
            grace=60,
            clock=clock,
        )
        await loads.recover()
        beginning = asyncio.create_task(begin(loads))
        async with fake_worker.joined(members, *metadata.WORKERS):
            loads.joined()
            _, target = await beginning
            # With one worker back it would have been one copy, for ever.
            assert target.layout.replicas == 2
        await members.close()


async def test_a_silent_loader_is_replaced_also_after_a_restart(czar, clock):
    source = (czarloads.source("objects.parquet", "ab"),)
    async with czar.up() as loads:
        first = await loads.begin(czarloads.asked(fingerprint="f", inputs=source))
        placed = await place(loads, first.transaction, first.target)
        number = first.transaction
        await loads.contribute(number, [], files(number, placed)[:2], attempt=1)
    async with czar.up() as loads:
        again = czarloads.asked(fingerprint="f", inputs=source)
        waiting = await loads.begin(again)
        assert (waiting.transaction, waiting.wait) == ("", 30)
        clock.now += 31
        resumed = await loads.begin(again)
        assert (resumed.transaction, resumed.attempt) == (number, 2)
        assert (resumed.resumed, resumed.placed) == (True, placed)
        assert resumed.inputs == first.inputs
        for call in (
            loads.keep(number, Progress(), attempt=1),
            loads.contribute(number, [], files(number, placed), attempt=1),
            loads.commit(number, ROWS, attempt=1),
            loads.abort(number, "it failed", attempt=1),
            loads.place(number, (), 1, attempt=1),
            loads.staged(number, attempt=1),
        ):
            with pytest.raises(Superseded, match="attempt 2, this is 1"):
                await call
        await loads.contribute(number, [], files(number, placed), attempt=2)
        assert await commit(loads, number, attempt=2) == 1


async def test_without_the_fence_two_loaders_would_write_one_load(
    czar, clock, monkeypatch
):
    """The guarantee: a loader that was replaced could abort what another makes."""
    monkeypatch.setattr("qserv.ingest.transaction.fence", lambda *_: None)
    async with czar.up() as loads:
        first = await loads.begin(czarloads.asked(fingerprint="f"))
        clock.now += 31
        second = await loads.begin(czarloads.asked(fingerprint="f"))
        await loads.abort(first.transaction, "I failed", attempt=1)
        with pytest.raises(Conflict, match="I failed"):
            await place(loads, second.transaction, second.target, attempt=2)


async def test_a_load_of_a_czar_that_knew_no_resuming_is_aborted(czar):
    async with czar.up():
        czar.store.begin(czarloads.record("old"))
    async with czar.up() as loads:
        assert loads.open == ()
        assert czar.store.discards("w1") == ("old",)
        (past,) = await loads.history(load="old")
        assert (past.state, past.reason) == (
            "aborted",
            "its czar stopped before the commit",
        )


async def test_a_loader_of_a_load_being_committed_hears_its_snapshot_twice(czar):
    async with czar.up() as loads:
        number, _ = await staged(loads)
        both = await asyncio.gather(commit(loads, number), commit(loads, number))
        assert both == [1, 1]
