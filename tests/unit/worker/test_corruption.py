"""Flipped bits on a worker's disk, with and without what finds them."""

import hashlib

import grpc
import pytest
from support import rot
from support import worker as w

from qserv.catalog.tables import Column, DataType
from qserv.errors import CorruptData
from qserv.plan.plan import MARK
from qserv.storage.inventory import Inventory
from qserv.storage.quarantine import Quarantine
from qserv.wire.v1 import worker_pb2
from qserv.worker.integrity import Integrity

A, B = 64, 65
ID = Column("objectId", DataType.BIGINT)
ALL_IDS = f'SELECT "objectId" FROM {MARK}0{MARK}'
FILE = "dr1/Object/dataset/Norder=2/Dir=0/Npix=0/Object1-0.parquet"


@pytest.fixture
async def worker(tmp_path):
    async with w.serving(tmp_path) as worker:
        await worker.load(own={A: w.rows_of(A, 3), B: w.rows_of(B, 2)})
        yield worker


def flip_a_bit(path):
    """Flip the bit of a stored value: what a failing disk does in silence."""
    data = bytearray(path.read_bytes())
    place = data.index((A * 1_000_000 + 1).to_bytes(8, "little"))
    data[place] ^= 4
    path.write_bytes(data)


async def ids(worker, chunk=A):
    return (await worker.run(ALL_IDS, [chunk], [ID])).column("objectId")


async def scrub(worker, rate=0):
    request = worker_pb2.ScrubRequest(bytes_per_second=rate)
    return [progress async for progress in worker.stub.Scrub(request)]


async def examined(worker):
    return await worker.stub.Examine(worker_pb2.ExamineRequest())


async def test_a_flipped_bit_is_an_error_that_names_table_chunk_and_file(worker):
    await ids(worker)
    flip_a_bit(worker.own_file(A))
    text = await worker.refuses(CorruptData, "checksum", ALL_IDS, [A], [ID])
    assert f"file {FILE} (chunk 64 of dr1.Object)" in text
    assert len(await ids(worker, B)) == 2


async def test_a_bad_copy_is_moved_aside_with_a_note(worker):
    flip_a_bit(worker.own_file(A))
    bad = worker.own_file(A).read_bytes()
    await worker.refuses(CorruptData, "checksum", ALL_IDS, [A], [ID])
    assert not worker.own_file(A).exists()
    quarantine = worker.directory / "quarantine"
    (note,) = Quarantine(quarantine).notes()
    assert note.path == FILE
    assert "does not match its checksum" in note.reason
    (kept,) = [p for p in quarantine.iterdir() if p.suffix != ".json"]
    assert kept.read_bytes() == bad
    # Asked again, it says what is the matter, and takes no second note.
    await worker.refuses(CorruptData, "missing", ALL_IDS, [A], [ID])
    assert len([*Quarantine(quarantine).notes()]) == 1


async def test_without_verification_a_flipped_bit_is_a_wrong_answer(
    worker, monkeypatch
):
    right = await ids(worker)
    trusting(monkeypatch)
    flip_a_bit(worker.own_file(A))
    assert await ids(worker) != right


def trusting(monkeypatch):
    """Have an inventory that says yes to everything."""
    monkeypatch.setattr(
        Inventory, "pin", lambda self, entries: tuple((e, (0,) * 4) for e in entries)
    )
    monkeypatch.setattr(Inventory, "check", lambda self, pinned: None)


def tampering(monkeypatch, worker):
    """Flip a bit after a batch's files were verified, before they are read."""
    ready = Integrity.ready

    async def and_then(self, entries):
        pinned = await ready(self, entries)
        flip_a_bit(worker.own_file(A))
        return pinned

    monkeypatch.setattr(Integrity, "ready", and_then)


async def test_a_batch_whose_file_changed_meanwhile_is_refused(worker, monkeypatch):
    await ids(worker)
    tampering(monkeypatch, worker)
    await worker.refuses(CorruptData, "while it was in use", ALL_IDS, [A], [ID])


async def test_without_the_check_after_the_batch_its_answer_is_wrong(
    worker, monkeypatch
):
    right = await ids(worker)
    tampering(monkeypatch, worker)
    monkeypatch.setattr(Integrity, "check", lambda self, pinned: None)
    assert await ids(worker) != right


async def test_a_batch_is_refused_whose_file_the_scrub_finds_bad(worker, monkeypatch):
    await ids(worker)
    check = Integrity.check

    def scrubbed(self, pinned):
        # As if a scrub ended between the reading and the batch's end.
        flip_a_bit(worker.own_file(A))
        with pytest.raises(CorruptData, match="does not match its checksum"):
            self._inventory.verify([entry for entry, _ in pinned])
        check(self, pinned)

    monkeypatch.setattr(Integrity, "check", scrubbed)
    await worker.refuses(CorruptData, "was found bad", ALL_IDS, [A], [ID])


@pytest.fixture
async def rotten(tmp_path):
    """Start a worker that takes a file for verified which has rotted since."""
    async with w.serving(tmp_path) as worker:
        await worker.load(own={A: w.rows_of(A, 3), B: w.rows_of(B, 2)})
        worker.right = await ids(worker)
    file = worker.own_file(A)
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    flip_a_bit(file)
    rot.trusted(tmp_path / "verified.log", FILE, file, sha256)
    async with w.serving(tmp_path) as again:
        again.versions, again.right = worker.versions, worker.right
        yield again


async def test_a_pass_finds_what_rotted_in_a_verified_file(rotten):
    assert await ids(rotten) != rotten.right  # nothing has read the disk since
    *_, last = steps = await scrub(rotten)
    assert [d.path for step in steps for d in step.damaged] == [FILE]
    assert last.finished
    assert (last.files, last.files_total) == (2, 2)
    await rotten.refuses(CorruptData, "missing", ALL_IDS, [A], [ID])
    assert len(await ids(rotten, B)) == 2


async def test_verifications_outlive_a_restart(tmp_path, monkeypatch):
    async with w.serving(tmp_path) as worker:
        await worker.load(own={A: w.rows_of(A, 3)})
        right = await ids(worker)
    monkeypatch.setattr(Inventory, "verify", None)
    async with w.serving(tmp_path) as again:
        again.versions = worker.versions
        assert await ids(again) == right
        reply = await examined(again)
        assert (reply.files, reply.never_verified) == (1, 0)


async def test_a_worker_tells_what_it_lacks(worker):
    worker.own_file(A).unlink()
    reply = await examined(worker)
    (lacked,) = reply.damaged
    assert (lacked.path, lacked.reason) == (FILE, "it is missing")
    assert reply.damaged_total == 1


async def test_what_was_found_bad_is_known_after_a_restart(worker, tmp_path):
    flip_a_bit(worker.own_file(A))
    await scrub(worker)
    assert (await examined(worker)).damaged[0].reason.startswith("it does not match")


async def test_a_repaired_file_is_no_damage_any_more(worker):
    good = worker.own_file(A).read_bytes()
    flip_a_bit(worker.own_file(A))
    await scrub(worker)
    worker.own_file(A).write_bytes(good)
    assert not (await examined(worker)).damaged
    assert len(await ids(worker)) == 3


async def test_a_pass_is_noted(worker):
    assert (await examined(worker)).last_pass == 0
    await scrub(worker)
    reply = await examined(worker)
    assert 0 <= reply.clock - reply.last_pass < 60


async def test_a_bad_manifest_is_written_again_from_memory(worker):
    (path,) = (worker.directory / "manifests").glob("*/*/*.json")
    good = path.read_bytes()
    path.write_bytes(good.replace(b"Norder", b"norder"))
    *_, last = steps = await scrub(worker)
    assert next(t for s in steps for t in s.trouble).startswith("manifest dr1/Object")
    assert path.read_bytes() == good
    assert last.files == 2


async def test_a_bad_manifest_that_nobody_has_read_makes_a_worker_refuse(tmp_path):
    async with w.serving(tmp_path) as worker:
        await worker.load(own={A: w.rows_of(A, 3)})
    (path,) = (tmp_path / "manifests").glob("*/*/*.json")
    path.write_bytes(path.read_bytes()[:-100])
    async with w.serving(tmp_path) as again:
        again.versions = worker.versions
        with pytest.raises(grpc.RpcError):
            await ids(again)
    assert not path.exists()
    assert any((tmp_path / "quarantine").iterdir())
