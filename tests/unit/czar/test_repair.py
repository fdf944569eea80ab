"""Repair over real metadata and fake workers: what is asked of whom, in what order."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from support import metadata

from qserv.catalog import copystore
from qserv.catalog.snapshot import EVERYWHERE
from qserv.catalog.workerstore import WorkerState
from qserv.czar import repair as repairing
from qserv.czar.leaving import Leavers
from qserv.czar.placements import Placements
from qserv.czar.repair import Repair, Settings
from qserv.errors import Conflict, DiskFull, InvalidRequest, UnknownName
from qserv.storage.manifest import content
from qserv.wire.channel import start_server
from qserv.wire.v1 import worker_pb2 as pb
from qserv.wire.v1.worker_pb2_grpc import WorkerServicer, add_WorkerServicer_to_server


class Keeper(WorkerServicer):
    """A worker that has files by name alone, and the manifests that it was given."""

    def __init__(self, paths=()):
        self.paths = set(paths)
        self.manifests = {}
        self.pulls = []
        self.trouble = None

    async def Describe(self, request, context):
        return pb.DescribeReply(
            manifests=[
                pb.HeldManifest(
                    release=m.release,
                    table=m.table,
                    version=m.version,
                    content=content(m.chunks, (e.path for e in m.entries)),
                )
                for m in self.manifests.values()
            ]
        )

    async def Pull(self, requests, context):
        request = pb.PullRequest()
        async for part in requests:
            request.MergeFrom(part)
        self.pulls.append(request)
        if self.trouble is not None:
            raise self.trouble
        self.paths |= {file.entry.path for file in request.files}
        listed = {e.path for kept in request.manifests for e in kept.manifest.entries}
        if missing := listed - self.paths:
            yield pb.PullProgress(missing=sorted(missing))
            return
        for kept in request.manifests:
            m = kept.manifest
            self.manifests[m.release, m.table, m.version] = m
        still = {e.path for m in self.manifests.values() for e in m.entries}
        assert not still & set(request.drop), "a listed file is dropped"
        self.paths -= set(request.drop)
        yield pb.PullProgress(files=len(request.files), size=1)

    def chunks(self, table="Object"):
        """Return what the newest manifest of a table names."""
        versions = [m for (_, name, _), m in self.manifests.items() if name == table]
        return set(max(versions, key=lambda m: m.version).chunks)


@asynccontextmanager
async def serving(members, keepers):
    servers = []
    for name, keeper in keepers.items():
        server, port = await start_server(
            "127.0.0.1", 0, lambda s, k=keeper: add_WorkerServicer_to_server(k, s)
        )
        servers.append(server)
        await members.join(name, f"127.0.0.1:{port}", 1)
    try:
        yield
    finally:
        for server in servers:
            await server.stop(None)


@pytest.fixture
def running():
    return set()


@pytest.fixture
async def keepers(store, members):
    """Publish a release with two copies of each chunk on three workers."""
    layout = metadata.family(replicas=2)
    metadata.publish(store, layout=layout, replicas=2)
    files = metadata.files("load-1", layout)
    keepers = {
        worker: Keeper(f.entry.path for f in files if worker in f.workers)
        for worker in ("w1", "w2", "w3", "w4")
    }
    async with serving(members, {w: keepers[w] for w in ("w1", "w2", "w3")}):
        yield keepers


@pytest.fixture
async def repair(store, members, keepers, running):
    made = Repair(
        store=store,
        members=members,
        one_commit=asyncio.Lock(),
        busy=frozenset,
        running=lambda: running,
        settings=Settings(interval=0.0),
    )
    yield made
    await made.close()


@pytest.fixture
def placements(store, members, repair):
    return Placements(store=store, members=members, repair=repair)


async def steps(repair, count=8):
    for _ in range(count):
        await repair.step()
        await asyncio.gather(*repair._tasks)


def placed_on(store, worker):
    family = store.snapshot().families["hip"]
    return {c for c, held in family.replicas.items() if worker in held}


async def test_workers_are_given_the_manifests_that_they_lack(repair, keepers, store):
    await repair.step()
    for worker, keeper in keepers.items():
        if worker != "w4":
            assert keeper.chunks() == placed_on(store, worker) - {EVERYWHERE}
            assert keeper.chunks("Filter") == {EVERYWHERE}
    before = {worker: len(keeper.pulls) for worker, keeper in keepers.items()}
    await steps(repair, 2)
    assert before == {worker: len(keeper.pulls) for worker, keeper in keepers.items()}


async def test_a_worker_is_drained(repair, placements, keepers, store, members):
    async with serving(members, {"w4": keepers["w4"]}):
        assert "is drained" in await placements.drain("w1")
        await steps(repair)
        assert placed_on(store, "w1") == set()
        assert keepers["w1"].paths == set()
        assert keepers["w1"].chunks() == set()
        assert placed_on(store, "w4") > {EVERYWHERE}
        family = store.snapshot().families["hip"]
        assert {len(family.replicas[c]) for c in family.tree.chunks.tolist()} == {2}
        await placements.readmit("w1")
        assert members.state("w1") is WorkerState.ACTIVE


async def drained_under_a_query(repair, placements, keepers, members, running):
    """Drain a worker while a query runs; return what it has kept of its files."""
    await repair.step()
    had = set(keepers["w1"].paths)
    running.add("q1")
    await members.set_state("w1", WorkerState.DRAINING)
    await steps(repair)
    return keepers["w1"].paths & had, had


async def test_nothing_is_dropped_that_a_query_may_ask_for(
    repair, placements, keepers, members, running, store
):
    kept, had = await drained_under_a_query(
        repair, placements, keepers, members, running
    )
    assert kept == had
    assert placed_on(store, "w1") == set()
    assert keepers["w1"].chunks(), "it still answers that query"
    running.clear()
    await steps(repair)
    assert keepers["w1"].paths == set()


async def test_without_that_wait_a_running_query_would_miss_files(
    repair, placements, keepers, members, running, monkeypatch
):
    monkeypatch.setattr(Leavers, "add", lambda *_: None)
    kept, _ = await drained_under_a_query(repair, placements, keepers, members, running)
    assert kept == set()


async def test_files_that_are_missing_are_copied_again(repair, keepers, store):
    gone = min(keepers["w1"].paths)
    keepers["w1"].paths.discard(gone)
    await steps(repair)
    assert gone in keepers["w1"].paths
    assert keepers["w1"].chunks() == placed_on(store, "w1") - {EVERYWHERE}
    (copied,) = [pull for pull in keepers["w1"].pulls if pull.files]
    assert [file.entry.path for file in copied.files] == [gone]
    assert copied.bytes_per_second == 50 * 2**20


async def test_a_worker_that_is_lost_is_not_asked_and_not_let_in(
    repair, placements, keepers, store, members
):
    with pytest.raises(Conflict, match="is alive"):
        await placements.lost("w2")
    await placements.lost("w2", force=True)
    await steps(repair)
    assert placed_on(store, "w2") == set()
    family = store.snapshot().families["hip"]
    assert {len(family.replicas[c]) for c in family.tree.chunks.tolist()} == {2}
    with pytest.raises(InvalidRequest, match="given up for lost"):
        await members.join("w2", "127.0.0.1:1", 1)


async def test_what_cannot_be_done_is_told_and_waits(repair, placements, keepers):
    await repair.step()
    gone = min(keepers["w1"].paths)
    keepers["w1"].paths.discard(gone)
    keepers["w1"].manifests.clear()
    await repair.step()
    keepers["w1"].trouble = DiskFull("worker w1 has no room")
    await steps(repair, 1)
    assert repair.troubles == {"w1": "worker w1 has no room"}
    keepers["w1"].trouble = None
    await steps(repair)
    assert repair.troubles == {}
    assert gone in keepers["w1"].paths


async def test_what_makes_no_sense_is_refused(placements):
    with pytest.raises(UnknownName, match="no worker w9; there are: w1, w2, w3"):
        await placements.drain("w9")
    with pytest.raises(UnknownName, match="no family x; there are: hip"):
        await placements.replicas("x", 2)
    with pytest.raises(InvalidRequest, match="4 copies need as many workers"):
        await placements.replicas("hip", 4)
    assert "gets 3 copies" in await placements.replicas("HIP", 3)
    with pytest.raises(Conflict, match="wants 3 copies"):
        await placements.drain("w1")


async def test_nothing_is_read_again_while_nothing_changes(
    repair, keepers, store, members, monkeypatch
):
    """There may be a million files."""
    await steps(repair)
    reads, decisions = [], []
    read, contents = copystore.read, repairing.contents
    monkeypatch.setattr(
        copystore, "read", lambda *given: reads.append(1) or read(*given)
    )
    monkeypatch.setattr(
        repairing, "contents", lambda *given: decisions.append(1) or contents(*given)
    )
    await repair.step()
    await repair.step()
    assert (len(reads), len(decisions)) == (0, 1)
    # A load that goes on changes no copy; a file that is found to be missing does.
    with store.writing(passing=True):
        pass
    await repair.step()
    assert reads == []
    with store.writing() as connection:
        copystore.spoil(connection, store.tables, "w1", [1])
    await repair.step()
    assert reads
