"""Joining czars: an id for ever, one cluster, patience."""

import asyncio
import json
from hashlib import sha256

import pytest
from support import worker as w

from qserv.catalog.checkpoint import Checkpoint, PartName
from qserv.errors import ChunkMissing, Conflict, InvalidRequest
from qserv.plan.plan import MARK
from qserv.storage.remembered import packed
from qserv.wire.channel import start_server
from qserv.wire.v1 import czar_pb2, worker_pb2
from qserv.wire.v1.czar_pb2_grpc import CzarServicer, add_CzarServicer_to_server


class FakeCzar(CzarServicer):
    """Takes workers in and remembers what they said."""

    def __init__(self, cluster="c-1"):
        self.cluster = cluster
        self.joins = asyncio.Queue()
        self.open_transactions = []
        self.epoch = 1

    async def Join(self, request, context):
        self.joins.put_nowait(request)
        return czar_pb2.JoinReply(
            worker_id=request.worker_id or "w-7",
            cluster_id=self.cluster,
            interval=0.02,
            open_transactions=self.open_transactions,
            epoch=self.epoch,
        )

    async def serve(self, port=0):
        self.server, port = await start_server(
            "127.0.0.1", port, lambda s: add_CzarServicer_to_server(self, s)
        )
        return f"127.0.0.1:{port}"


@pytest.fixture
async def czar():
    czar = FakeCzar()
    czar.endpoint = await czar.serve()
    yield czar
    await czar.server.stop(None)


async def test_a_worker_gets_an_id_once_and_joins_again_and_again(tmp_path, czar):
    async with w.serving(tmp_path, czars=(czar.endpoint,), threads=2) as worker:
        first, *more = [await czar.joins.get() for _ in range(3)]
        assert (first.worker_id, first.threads) == ("", 2)
        assert {join.worker_id for join in more} == {"w-7"}
        assert first.endpoint.startswith("127.0.0.1:")
        assert (await worker.describe()).worker_id == "w-7"
    while not czar.joins.empty():
        czar.joins.get_nowait()
    async with w.serving(tmp_path, czars=(czar.endpoint,)):
        assert (await czar.joins.get()).worker_id == "w-7"


async def test_a_czar_that_comes_later_is_joined(tmp_path, czar):
    await czar.server.stop(None)
    async with w.serving(tmp_path, czars=(czar.endpoint,)) as worker:
        assert (await worker.describe()).worker_id == ""
        await czar.serve(int(czar.endpoint.rpartition(":")[2]))
        assert (await czar.joins.get()).worker_id == ""
        assert (await czar.joins.get()).worker_id == "w-7"
    assert json.loads((tmp_path / "worker.json").read_text()) == {
        "worker_id": "w-7",
        "cluster_id": "c-1",
    }


async def test_a_worker_of_another_cluster_does_not_join(tmp_path, czar):
    async with w.serving(tmp_path, czars=(czar.endpoint,)):
        await czar.joins.get()
        await czar.joins.get()
    czar.cluster = "c-2"
    with pytest.raises(InvalidRequest, match="of cluster c-2, but the data in this"):
        async with w.serving(tmp_path, czars=(czar.endpoint,)) as worker:
            await worker.ended()


async def test_staged_files_of_ended_loads_are_forgotten_at_every_join(tmp_path, czar):
    czar.open_transactions = ["open"]
    staging = tmp_path / "staging"
    for name in ("open", "ended", "pull-1"):
        (staging / name).mkdir(parents=True)
    async with w.serving(tmp_path, czars=(czar.endpoint,)):
        await joined(czar)
        assert [path.name for path in staging.iterdir()] == ["open"]
        # A loader that was given up sends a file after its load was forgotten; a copy
        # that is under way is of no load.
        for name in ("late", "pull-2"):
            (staging / name).mkdir()
        await joined(czar)
        left = {path.name for path in staging.iterdir()}
    assert left == {"open", "pull-2"}


async def test_a_worker_tells_what_it_remembers_and_heeds_the_newest_czar(
    tmp_path, czar
):
    (tmp_path / "staging" / "new").mkdir(parents=True)
    text = b'["id"]\n[0]\n[41]'
    parts = (PartName("snapshot", sha256(text).hexdigest(), 2),)
    catalog = Checkpoint("c-1", 5, 1, (1,), "2026-01-01", parts).encode()
    czar.epoch, czar.open_transactions = 5, ["new"]
    async with w.serving(tmp_path, czars=(czar.endpoint,)) as worker:
        await joined(czar)
        asked = worker_pb2.RememberRequest(checkpoint=catalog, parts=[packed(text)])
        await worker.stub.Remember(asked)
        while (await czar.joins.get()).remembered != 41:
            pass
        # One that was replaced goes on for a moment, and knows nothing of the load.
        czar.epoch, czar.open_transactions = 4, []
        await joined(czar)
        assert (tmp_path / "staging" / "new").is_dir()


async def joined(czar):
    """Wait until a join that began from now on has had its effect."""
    while not czar.joins.empty():
        czar.joins.get_nowait()
    for _ in range(3):
        await czar.joins.get()


async def test_a_directory_serves_one_worker_at_a_time(tmp_path):
    async with w.serving(tmp_path):
        with pytest.raises(Conflict, match="another worker uses the directory"):
            async with w.serving(tmp_path):
                pass


async def test_a_worker_tells_what_it_holds(tmp_path):
    async with w.serving(tmp_path, executors=2, threads=3) as worker:
        for count in (1, 5):
            await worker.load(own={64: w.rows_of(64, count)}, chunks=[64, 65])
        told = await worker.describe()
    (held,) = told.held
    assert (told.executors, told.threads, told.version) == (2, 6, "0.1.0")
    assert told.disk_free > told.disk_used == held.size > 0
    assert (held.release, held.table) == ("dr1", "Object")
    assert (held.manifest_version, held.chunks, held.rows) == (2, 2, 5)


async def test_a_worker_keeps_what_it_was_given(tmp_path):
    async with w.serving(tmp_path) as worker:
        await worker.load(own={64: w.rows_of(64, 3)})
        versions = worker.versions
    async with w.serving(tmp_path) as worker:
        worker.versions = versions
        sql = f'SELECT "objectId" FROM {MARK}0{MARK}'
        answer = await worker.run(sql, [64], w.COLUMNS[1:2])
        assert len(answer.column("objectId")) == 3
        request = worker_pb2.DiscardRequest(transaction="Object1")
        await worker.stub.Discard(request)
        await worker.refuses(ChunkMissing, "version 1", sql, [64], w.COLUMNS[1:2])
