"""Files from worker to worker: verified, from the next peer, whole or not at all."""

import errno

import grpc
import pytest
from support import worker as w

from qserv import failpoint
from qserv.catalog.checkpoint import Checkpoint
from qserv.errors import ChunkMissing, Conflict, CorruptData, DiskFull, InvalidRequest
from qserv.storage import durable
from qserv.storage.layout import WorkerDirectory
from qserv.storage.manifest import content
from qserv.storage.manifests import ManifestStore
from qserv.wire.errors import from_rpc
from qserv.wire.messages import entry_to_proto
from qserv.wire.v1 import common_pb2
from qserv.wire.v1 import worker_pb2 as pb
from qserv.worker import copying
from qserv.worker.copying import Pace

CHUNK, OTHER = 20, 21
COUNT = "SELECT COUNT(*) AS n FROM \0" + "0\0"


@pytest.fixture
async def three(tmp_path):
    """Two workers with the same two chunks, and one that has nothing."""
    async with (
        w.serving(tmp_path / "a") as a,
        w.serving(tmp_path / "b") as b,
        w.serving(tmp_path / "c") as c,
    ):
        own = {chunk: w.rows_of(chunk, 1000) for chunk in (CHUNK, OTHER)}
        await a.load(own=own)
        await b.load(own=own)
        yield a, b, c


async def entries(worker):
    """Return the entries that a worker lists."""
    held = ManifestStore(WorkerDirectory(worker.directory)).holding(
        w.RELEASE, "Object", 1
    )
    return [entry_to_proto(entry) for entry in held.manifest.entries]


def peer(worker):
    return pb.Peer(worker_id=worker.directory.name, endpoint=worker.endpoint)


def kept(files, chunks=(CHUNK, OTHER), version=1):
    return pb.KeptManifest(
        transaction="Object1",
        manifest=common_pb2.Manifest(
            release=w.RELEASE,
            table="Object",
            version=version,
            tree_version=1,
            entries=files,
            chunks=chunks,
        ),
    )


async def pull(worker, files=(), peers=(), **more):
    request = pb.PullRequest(
        files=[pb.PullFile(entry=f, peers=range(len(peers))) for f in files],
        peers=map(peer, peers),
        **more,
    )
    try:
        return [progress async for progress in worker.stub.Pull(iter([request]))]
    except grpc.RpcError as error:
        raise from_rpc(error, worker.endpoint) from error


def spoil(worker, chunk=CHUNK):
    file = worker.own_file(chunk)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


async def test_a_worker_gets_files_and_answers_for_them(three):
    a, b, c = three
    files = await entries(a)
    done = await pull(c, files, (a, b), manifests=[kept(files)])
    assert (done[-1].files, done[-1].size) == (2, sum(f.size for f in files))
    assert c.own_file(CHUNK).read_bytes() == a.own_file(CHUNK).read_bytes()
    reply = await c.stub.Describe(pb.DescribeRequest(manifests=True))
    (told,) = reply.manifests
    assert told.content == content((CHUNK, OTHER), (f.path for f in files))
    assert list((c.directory / "staging").iterdir()) == []
    # Again, and nothing is copied.
    again = await pull(c, files, (a, b), manifests=[kept(files)])
    assert again[-1].size == 0


async def test_a_bad_copy_is_fetched_from_the_next_peer(three):
    a, b, c = three
    files = await entries(a)
    spoil(a)
    await pull(c, files, (a, b))
    assert c.own_file(CHUNK).read_bytes() == b.own_file(CHUNK).read_bytes()


async def test_without_a_good_copy_there_is_none(three):
    a, b, c = three
    files = await entries(a)
    spoil(a)
    spoil(b)
    with pytest.raises(CorruptData, match=r"no good copy of .* was found: worker a at"):
        await pull(c, files, (a, b), manifests=[kept(files)])
    assert not c.own_file(CHUNK).exists()
    assert not (c.directory / "manifests" / w.RELEASE).exists()


async def test_without_verification_a_bad_copy_would_be_kept(three, monkeypatch):
    a, _, c = three
    files = await entries(a)
    spoil(a)
    monkeypatch.setattr(copying._Arriving, "end", lambda *_: None)
    monkeypatch.setattr(copying, "_check", lambda *_: None)
    await pull(c, files, (a,))
    assert c.own_file(CHUNK).read_bytes() == a.own_file(CHUNK).read_bytes()


async def test_a_bad_or_missing_file_is_replaced_without_any_manifest(three):
    a, b, _ = three
    files = await entries(a)
    good = a.own_file(CHUNK).read_bytes()
    spoil(b)
    await pull(b, files[:1], (a,))
    assert b.own_file(CHUNK).read_bytes() == good
    b.own_file(CHUNK).unlink()
    await pull(b, files[:1], (a,))
    assert b.own_file(CHUNK).read_bytes() == good


async def test_a_peer_that_is_gone_is_passed_over(three):
    a, b, c = three
    files = await entries(a)
    nobody = pb.Peer(worker_id="gone", endpoint="127.0.0.1:1")
    request = pb.PullRequest(
        files=[pb.PullFile(entry=f, peers=[0, 1]) for f in files],
        peers=[nobody, peer(b)],
    )
    async for _ in c.stub.Pull(iter([request])):
        pass
    assert c.own_file(OTHER).exists()


async def test_only_files_of_manifests_are_served(three):
    a, _, _ = three
    stray = a.directory / "data" / w.RELEASE / "Object" / "all" / "x.parquet"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"secret")
    for path, kind in (
        (f"{w.RELEASE}/Object/all/x.parquet", ChunkMissing),
        ("../../worker.json", InvalidRequest),
        ("/etc/passwd", InvalidRequest),
    ):
        with pytest.raises(grpc.RpcError) as told:
            async for _ in a.stub.Fetch(pb.FetchRequest(path=path)):
                pass
        assert type(from_rpc(told.value, "a")) is kind


async def test_a_manifest_without_its_files_is_not_taken_over(three):
    a, _, c = three
    files = await entries(a)
    done = await pull(c, manifests=[kept(files)])
    assert list(done[-1].missing) == sorted(f.path for f in files)
    reply = await c.stub.Describe(pb.DescribeRequest(manifests=True))
    assert not reply.manifests


async def test_what_is_dropped_is_gone_and_refused(three):
    a, _, _ = three
    files = await entries(a)
    stays = [f for f in files if f.chunk == OTHER]
    goes = [f.path for f in files if f.chunk == CHUNK]
    with pytest.raises(Conflict, match="is listed by a manifest"):
        await pull(a, drop=goes)
    await pull(a, manifests=[kept(stays, [OTHER])], drop=goes)
    assert not a.own_file(CHUNK).exists()
    answer = await a.run(COUNT, [OTHER], [w.Column("n", w.DataType.BIGINT)])
    assert answer.column("n") == [1000]
    await a.refuses(
        ChunkMissing, str(CHUNK), COUNT, [CHUNK], [w.Column("n", w.DataType.BIGINT)]
    )


async def test_a_lost_file_that_is_dropped_is_no_damage_any_more(three):
    a, _, _ = three
    files = await entries(a)
    spoil(a)
    _ = [step async for step in a.stub.Scrub(pb.ScrubRequest())]
    assert (await a.stub.Examine(pb.ExamineRequest())).damaged_total == 1
    stays = [f for f in files if f.chunk == OTHER]
    goes = [f.path for f in files if f.chunk == CHUNK]
    await pull(a, manifests=[kept(stays, [OTHER])], drop=goes)
    assert (await a.stub.Examine(pb.ExamineRequest())).damaged_total == 0


async def test_a_manifest_that_was_lost_is_no_file_that_is_missing(tmp_path):
    async with w.serving(tmp_path) as worker:
        await worker.load(own={CHUNK: w.rows_of(CHUNK, 3)})
        files = await entries(worker)
    manifest = WorkerDirectory(tmp_path).manifest(w.RELEASE, "Object", 1)
    manifest.write_bytes(manifest.read_bytes()[:-9])
    async with w.serving(tmp_path) as worker:
        await pull(worker, manifests=[kept(files, [CHUNK])])
    async with w.serving(tmp_path) as worker:
        reply = await worker.stub.Examine(pb.ExamineRequest())
    assert list((tmp_path / "quarantine").glob("*.json.*.note.json"))
    assert (list(reply.damaged), list(reply.trouble)) == ([], [])


async def test_a_chunk_that_is_not_named_is_refused_though_it_has_files(three):
    a, _, _ = three
    await pull(a, manifests=[kept(await entries(a), [OTHER])])
    await a.refuses(
        ChunkMissing, str(CHUNK), COUNT, [CHUNK], [w.Column("n", w.DataType.BIGINT)]
    )


async def test_a_disk_without_room_is_an_error_that_names_it(tmp_path, three):
    a, _, _ = three
    files = await entries(a)
    async with w.serving(tmp_path / "full", disk_reserve=2**60) as full:
        with pytest.raises(DiskFull, match=r"\d+ bytes are wanted and 0 may be taken"):
            await pull(full, files, (a,))
        with pytest.raises(grpc.RpcError) as told:
            await full.load(own={CHUNK: w.rows_of(CHUNK, 10)})
        error = from_rpc(told.value, "full")
        assert type(error) is DiskFull
        assert "disk_reserve" in error.text


async def test_a_copy_does_not_change_once_it_is_seen(three, monkeypatch):
    """A query may read it at once, and would find that it changed meanwhile."""
    a, _, c = three
    seen = []

    def synced(directory):
        if c.own_file(CHUNK).exists():
            seen.append(c.own_file(CHUNK).stat())

    monkeypatch.setattr(durable, "sync_directory", synced)
    await pull(c, await entries(a), (a,))
    assert {found.st_ctime_ns for found in seen} == {
        c.own_file(CHUNK).stat().st_ctime_ns
    }


async def test_what_the_disk_does_not_give_back_is_no_copy(three, monkeypatch):
    def rotten(arriving, data):
        arriving._digest.update(data)
        arriving._file.write(bytes(len(data)))

    def broken(path, **how):
        if path == c.own_file(CHUNK):
            raise OSError(errno.EIO, "Input/output error")
        return checksum(path, **how)

    a, _, c = three
    files, checksum = await entries(a), copying.checksum
    with monkeypatch.context() as patch:
        patch.setattr(copying._Arriving, "_write", rotten)
        with pytest.raises(CorruptData, match="gives back other bytes"):
            await pull(c, files, (a,), manifests=[kept(files)])
    await pull(c, files, (a,), manifests=[kept(files)])
    # One that the disk lost is made again; it is no reason to give up.
    monkeypatch.setattr(copying, "checksum", broken)
    done = await pull(c, files, (a,))
    assert done[-1].size == c.own_file(CHUNK).stat().st_size


@pytest.mark.parametrize("place", ["durable.move.moved", "durable.write.written"])
async def test_a_disk_that_keeps_no_copy_is_an_error_of_the_cluster(three, place):
    """Repair goes on with less, or elsewhere; a bug would end it."""
    a, _, c = three
    files = await entries(a)
    failpoint.arm(f"{place}=enospc")
    try:
        with pytest.raises(DiskFull, match="No space left"):
            await pull(c, files, (a,), manifests=[kept(files)])
    finally:
        failpoint.arm("")
    await pull(c, files, (a,), manifests=[kept(files)])
    assert c.own_file(CHUNK).read_bytes() == a.own_file(CHUNK).read_bytes()
    assert list(c.directory.rglob("*.new")) == []
    text = Checkpoint("c", 1, 1, (1,), "2026-01-01", ()).encode()
    failpoint.arm("durable.write.written=enospc")
    try:
        with pytest.raises(grpc.RpcError) as told:
            await c.stub.Remember(pb.RememberRequest(checkpoint=text))
    finally:
        failpoint.arm("")
    assert isinstance(from_rpc(told.value, c.endpoint), DiskFull)


def test_bytes_pass_no_faster_than_they_may():
    pace = Pace()
    assert pace.delay(100.0, 10**9) == 0
    pace.rate = 1000
    waits = [pace.delay(100.0, 500) for _ in range(4)]
    assert waits == pytest.approx([0.5, 1.0, 1.5, 2.0])
    # What was not used before is not made up for.
    assert pace.delay(1000.0, 500) == pytest.approx(0.5)


async def test_bytes_wait_for_their_turn(three, monkeypatch):
    a, _, c = three
    files = await entries(a)
    asked = []

    async def passed(pace, size):
        asked.append((pace.rate, size))

    monkeypatch.setattr(Pace, "passed", passed)
    await pull(c, files, (a,), bytes_per_second=12345)
    assert {rate for rate, _ in asked} == {12345}
    assert sum(size for _, size in asked) == sum(f.size for f in files)
