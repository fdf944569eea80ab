"""Stage, install, discard: durable, repeatable, whole after a crash anywhere."""

import asyncio
import threading
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from support.receiving import (
    CHUNKS,
    Worker,
    content,
    entry,
    install_request,
    parts,
)

from qserv import failpoint
from qserv.errors import (
    ChunkMissing,
    Conflict,
    CorruptData,
    DiskFull,
    InvalidRequest,
    TaskFailed,
)
from qserv.ingest import receiver as module
from qserv.storage import manifest
from qserv.wire.v1 import worker_pb2


@pytest.fixture
def worker(tmp_path):
    return Worker(tmp_path)


async def test_a_load_is_held_with_its_bytes(worker):
    reply = await worker.stage(20)
    assert (reply.size, reply.sha256.hex()) == (entry(20).size, entry(20).sha256)
    await worker.load()
    assert worker.files() == {entry(chunk).path for chunk in CHUNKS}
    assert worker.directory.file(entry(20).path).read_bytes() == content(20)
    assert worker.staged() == []
    assert worker.held().placed == set(CHUNKS)


async def test_every_call_may_be_repeated(worker):
    await worker.load()
    await worker.load()
    await worker.load()
    assert worker.files() == {entry(chunk).path for chunk in CHUNKS}
    assert worker.staged() == []


async def test_other_bytes_than_promised_are_refused(worker):
    with pytest.raises(CorruptData, match="send it again"):
        await worker.stage(20, data=content(20)[:-1] + b"X")
    with pytest.raises(CorruptData, match="send it again"):
        await worker.stage(20, data=content(20)[:-1])
    assert worker.staged() == []


async def test_what_is_added_to_what_is_here_makes_a_whole(worker):
    await worker.load("t1", 1)
    before, after = [entry(c) for c in CHUNKS], [entry(c, "t2") for c in CHUNKS]
    for chunk in CHUNKS:
        await worker.stage(chunk, "t2")
    paths = sorted(e.path for e in (*before, *after))

    def added(base, paths):
        request = install_request(*after, version=2, transaction="t2")
        request.manifests[0].base = base
        request.manifests[0].content = manifest.content(CHUNKS, paths)
        return request

    # Another base than the czar knows, or none: nothing is done, all is asked for.
    for wrong in (added(1, paths[1:]), added(7, paths)):
        assert await worker.install(wrong) == ["Object"]
        assert worker.held(2) is None
    # Of a million files that were here none is looked at again: readers verify them.
    worker.directory.file(before[0].path).unlink()
    for _ in range(2):
        assert await worker.install(added(1, paths)) == []
    worker.directory.file(before[0].path).write_bytes(content(CHUNKS[0]))
    assert [e.path for e in worker.held(2).manifest.entries] == paths
    whole = sorted((*before, *after), key=lambda e: e.path)
    again = install_request(*whole, version=2, transaction="t2")
    assert await worker.install(again) == [], "the same manifest, sent whole"
    assert worker.files() == set(paths)


async def test_without_its_digest_a_wrong_base_would_lose_files(worker, monkeypatch):
    """The guarantee, switched off."""
    await worker.load("t1", 1)
    await worker.stage(20, "t2")
    request = install_request(entry(20, "t2"), version=2, transaction="t2")
    request.manifests[0].base = 1
    request.manifests[0].content = manifest.content(CHUNKS, ["another/file.parquet"])
    monkeypatch.setattr(
        "qserv.ingest.manifests.content", lambda *_: request.manifests[0].content
    )
    assert await worker.install(request) == []


async def test_what_the_disk_turned_into_something_else_is_refused(worker, monkeypatch):
    def rotten(file):
        synced(file)
        with Path(file.name).open("r+b") as disk:
            disk.write(b"\0")

    synced = module._sync
    monkeypatch.setattr(module, "_sync", rotten)
    with pytest.raises(CorruptData, match="send it again"):
        await worker.stage(20)


async def test_unless_it_is_read_back_any_byte_would_be_acknowledged(
    worker, monkeypatch
):
    """The guarantee, switched off."""
    promised = entry(20)
    found = (0, promised.size, 0), promised.sha256
    monkeypatch.setattr(module, "checksum", lambda _, from_disk: found)
    await worker.stage(20, data=content(20)[:-1] + b"X")
    (staged,) = worker.staged()
    assert sha256(staged.read_bytes()).hexdigest() != promised.sha256


async def test_a_full_disk_is_told(worker, monkeypatch):
    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_sync", full)
    with pytest.raises(DiskFull, match=r"no room for .*: \d+ bytes are wanted"):
        await worker.stage(20)
    assert worker.staged() == []


@pytest.mark.parametrize(
    "place",
    [
        "durable.link.linked",
        "durable.link.directory-synced:2",
        "durable.write.written",
        "durable.write.replaced",
        "worker.install.manifests",
        "worker.install.staging-removed",
    ],
)
@pytest.mark.parametrize(("how", "kind"), [("enospc", DiskFull), ("eio", TaskFailed)])
async def test_a_disk_that_takes_no_load_is_told_and_asked_again(
    worker, place, how, kind
):
    await worker.load("t0", 1)
    before = [entry(chunk, "t0") for chunk in CHUNKS]
    failpoint.arm(f"{place}={how}")
    try:
        with pytest.raises(kind, match="cannot install t1"):
            await worker.load("t1", 2, before)
    finally:
        failpoint.arm("")
    assert worker.held(1).manifest.entries == tuple(before)
    await worker.load("t1", 2, before)
    assert len(worker.held(2).manifest.entries) == 6
    assert len(worker.files()) == 6
    failpoint.arm(f"worker.discard.file={how}")
    try:
        with pytest.raises(kind, match="cannot forget t1"):
            await worker.receiver.discard("t1")
    finally:
        failpoint.arm("")
    await worker.receiver.discard("t1")
    assert worker.files() == {each.path for each in before}
    failpoint.arm(f"durable.write.written={how}")
    fewer = replace(worker.held(1).manifest, entries=tuple(before[1:]))
    try:
        with pytest.raises(kind, match="cannot take manifests over"):
            await worker.receiver.take_over([fewer], [before[0].path])
    finally:
        failpoint.arm("")
    assert worker.files() == {each.path for each in before}
    assert await worker.receiver.take_over([fewer], [before[0].path]) == []
    assert worker.files() == {each.path for each in before[1:]}


async def test_a_file_needs_a_header_and_a_path_of_ours(worker):
    async def headless():
        yield worker_pb2.StagePart(data=b"x")

    with pytest.raises(InvalidRequest, match="must begin with its header"):
        await worker.receiver.stage(headless())
    with pytest.raises(InvalidRequest, match="cannot name"):
        await worker.stage(20, transaction="../t")
    message = install_request(entry(20))
    message.manifests[0].entries[0].path = "../../x.parquet"
    with pytest.raises(InvalidRequest, match="is not a path of a data file"):
        await worker.install(message)


async def test_a_file_that_was_never_staged_is_named(worker):
    await worker.stage(20)
    with pytest.raises(ChunkMissing, match=r"Npix=5/t1-0\.parquet was never staged"):
        await worker.install(install_request(entry(20), entry(21)))
    assert worker.held() is None


async def test_a_file_in_place_never_gets_another_content(worker):
    await worker.stage(20)
    with pytest.raises(Conflict, match="is there with another content"):
        await worker.install(install_request(entry(20, data=content(20)[1:])))
    await worker.load()
    other = content(20)[::-1]
    await worker.receiver.stage(parts(entry(20, data=other), other))
    with pytest.raises(Conflict, match="is there with another content"):
        await worker.install(install_request(entry(20, data=other), version=2))
    assert worker.directory.file(entry(20).path).read_bytes() == content(20)


async def test_discard_forgets_what_was_staged_and_installed_in_vain(worker):
    await worker.load("t1", 1)
    await worker.load("t2", 2, before=[entry(chunk) for chunk in CHUNKS])
    await worker.stage(20, "t2")
    for _ in range(2):
        await worker.receiver.discard("t2")
        assert worker.files() == {entry(chunk).path for chunk in CHUNKS}
        assert worker.staged() == []
        assert worker.held(2) is None
        assert worker.held(1).manifest.entries == tuple(map(entry, CHUNKS))


async def test_what_a_later_version_reads_is_not_discarded(worker):
    await worker.load("t1", 1)
    await worker.load("t2", 2, before=[entry(chunk) for chunk in CHUNKS])
    with pytest.raises(Conflict, match="t1 was committed"):
        await worker.receiver.discard("t1")
    assert worker.held(1) is not None


async def test_what_arrived_half_is_gone_after_a_restart(tmp_path):
    await Worker(tmp_path).stage(20, "open")
    (tmp_path / "staging" / "open" / ".half").write_bytes(b"half a file")
    assert len(Worker(tmp_path).staged()) == 1


async def test_a_discard_waits_for_an_install_that_was_cut_off(worker, monkeypatch):
    """Else what it links afterwards would stay for ever."""
    reached, opened = threading.Event(), threading.Event()

    def slow(*given):
        reached.set()
        opened.wait()
        link(*given)

    link = module.link_files
    monkeypatch.setattr(module, "link_files", slow)
    await worker.stage(20)
    installing = asyncio.create_task(worker.install(install_request(entry(20))))
    await asyncio.to_thread(reached.wait)
    installing.cancel()
    discarding = asyncio.create_task(worker.receiver.discard("t1"))
    await asyncio.wait([installing])
    opened.set()
    await discarding
    await worker.receiver.calls.close()
    assert worker.files() == set()
    assert worker.held() is None


async def test_a_commit_that_failed_keeps_no_file_here(worker):
    """The load commits with another version; later its files move elsewhere."""
    await worker.load("t1", 1)
    entries = [entry(chunk) for chunk in CHUNKS]
    await worker.install(install_request(*entries, version=2))
    assert worker.held(1) is None
    fewer = replace(worker.held(2).manifest, entries=tuple(entries[1:]))
    assert await worker.receiver.take_over([fewer], [entries[0].path]) == []
    assert worker.files() == {each.path for each in entries[1:]}
