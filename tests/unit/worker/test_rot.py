"""A thousand random damages: found before an answer, or within one scrub; repaired.

Half of the files were never used, the others were verified before the disk damaged them
in silence, so that nothing but reading them can tell.
"""

import random
import shutil
from hashlib import sha256
from types import SimpleNamespace

import pytest
from support import rot

from qserv.catalog.snapshot import ManifestEntry, Role
from qserv.errors import CorruptData
from qserv.storage.inventory import Inventory, checksum
from qserv.storage.layout import WorkerDirectory
from qserv.storage.quarantine import Quarantine
from qserv.storage.verified import Verification
from qserv.worker.damage import Damages
from qserv.worker.scrub import Scrub

FILES = 1200
DAMAGED = 1000
SEED = 20261122


class Shard:
    """The files of one worker, a replica of all of them, and what guards them."""

    def __init__(self, root):
        self.directory = WorkerDirectory(root / "worker")
        self.replica = root / "replica"
        self.random = random.Random(SEED)
        self.entries = [self.make(number) for number in range(FILES)]
        shutil.copytree(self.directory.data, self.replica)
        quarantine = Quarantine(self.directory.quarantine)
        self.elsewhere = set()
        self.damages = Damages(
            data=self.directory.data, quarantine=quarantine, listed=self.lists
        )
        self.inventory = Inventory(
            self.directory.data, quarantine=quarantine, damaged=self.damages.add
        )
        self.scrub = Scrub(
            directory=self.directory,
            manifests=SimpleNamespace(
                files=lambda: self.entries, lists=self.lists, check=list
            ),
            inventory=self.inventory,
            damages=self.damages,
            rate=0,
            age=1e9,
        )

    def lists(self, path):
        return path not in self.elsewhere

    def make(self, number):
        path = (
            f"dr1/Object/dataset/Norder=2/Dir=0/Npix={number % 192}/t-{number}.parquet"
        )
        content = self.random.randbytes(self.random.randrange(600, 6000))
        file = self.directory.data / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        chunk, size = 64 + number % 192, len(content)
        digest = sha256(content).hexdigest()
        return ManifestEntry(Role.BASE, chunk, path, 1, 1, size, digest)

    def file(self, entry):
        return self.directory.data / entry.path

    def damage(self, entry, *, in_silence=False):
        self.random.choice(rot.DAMAGES)(self.file(entry), self.random)
        if in_silence and self.file(entry).exists():
            state, _ = checksum(self.file(entry))
            self.inventory._good[entry.path] = Verification(state, entry.sha256, 0.0)

    async def scrubbed(self):
        return [progress async for progress in self.scrub.passing(0)][-1]

    def repair(self):
        for note in self.damages.now():
            place = self.directory.data / note.path
            assert not place.exists()
            shutil.copyfile(self.replica / note.path, place)


@pytest.fixture
def shard(tmp_path, monkeypatch):
    # A thousand damages are noted, each with six calls; that they are made is seen
    # elsewhere, and the machine does not lose power here.
    monkeypatch.setattr("os.fsync", lambda _: None)
    shard = Shard(tmp_path)
    yield shard
    shard.scrub.close()


def refused(shard, entries):
    """Use files as batches do; return those that are refused."""
    found = set()
    for entry in entries:
        try:
            shard.inventory.check(shard.inventory.ready([entry]))
        except CorruptData as error:
            found |= {entry.path for _ in range(error.text.count(entry.path))}
    return found


async def test_a_thousand_damages_are_found_and_repaired(shard):
    print(f"seed {SEED}")
    hurt = shard.random.sample(shard.entries, DAMAGED)
    unused, used = hurt[: DAMAGED // 2], hurt[DAMAGED // 2 :]
    shard.inventory.verify(used)
    for entry in unused:
        shard.damage(entry)
    for entry in used:
        shard.damage(entry, in_silence=True)
    # What was never used is found before its first answer.
    assert refused(shard, unused) == {entry.path for entry in unused}
    # What was used is found by one pass, and nothing else is.
    progress = await shard.scrubbed()
    assert progress.files == FILES
    assert {note.path for note in shard.damages.now()} == {e.path for e in hurt}
    assert refused(shard, shard.entries) == {entry.path for entry in hurt}
    shard.repair()
    assert shard.damages.now() == []
    assert refused(shard, shard.entries) == set()
    assert not (await shard.scrubbed()).damaged


async def test_a_pass_that_comes_to_a_file_that_went_elsewhere_tells_of_no_damage(
    shard,
):
    gone, lost = shard.entries[:2]
    for entry in (gone, lost):
        shard.file(entry).unlink()
    # The pass began with a list that had it.
    shard.elsewhere.add(gone.path)
    assert [entry for entry, _ in (await shard.scrubbed()).damaged] == [lost]
    assert [note.path for note in shard.damages.needed()] == [lost.path]


async def test_without_the_scrub_a_verified_file_rots_unseen(shard):
    entry = shard.entries[0]
    shard.inventory.verify([entry])
    rot.flip(shard.file(entry), shard.random)
    state, _ = checksum(shard.file(entry))
    shard.inventory._good[entry.path] = Verification(state, entry.sha256, 0.0)
    assert refused(shard, [entry]) == set()
    assert [entry for entry, _ in (await shard.scrubbed()).damaged] == [entry]
    assert refused(shard, [entry]) == {entry.path}


def test_without_verification_nothing_is_found(shard, monkeypatch):
    monkeypatch.setattr(
        Inventory, "pin", lambda self, entries: tuple((e, (0,) * 4) for e in entries)
    )
    monkeypatch.setattr(Inventory, "check", lambda self, pinned: None)
    for entry in shard.entries[:20]:
        shard.damage(entry)
    assert refused(shard, shard.entries[:20]) == set()
