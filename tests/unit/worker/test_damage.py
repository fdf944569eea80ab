"""What a worker says that it lacks: what the disk says, and the first reason."""

from hashlib import sha256

import pytest

from qserv.catalog.snapshot import ManifestEntry, Role
from qserv.errors import CorruptData
from qserv.storage.inventory import Inventory
from qserv.storage.quarantine import Quarantine
from qserv.worker.damage import TOLD, Damages

PATH = "dr1/O/a.parquet"


class Disk:
    """The data and the quarantine of a worker."""

    def __init__(self, root):
        self.data = root / "data"
        self.quarantine = Quarantine(root / "quarantine")
        self.unlisted = set()
        self.damages = Damages(
            data=self.data,
            quarantine=self.quarantine,
            listed=lambda path: path not in self.unlisted,
        )
        self.inventory = Inventory(
            self.data, quarantine=self.quarantine, damaged=self.damages.add
        )

    def put(self, content, path=PATH):
        (self.data / path).parent.mkdir(parents=True, exist_ok=True)
        (self.data / path).write_bytes(content)

    @property
    def notes(self):
        return [note.reason for note in self.quarantine.notes()]

    @property
    def reasons(self):
        return [note.reason for note in self.damages.now()]


@pytest.fixture
def disk(tmp_path):
    return Disk(tmp_path)


def entry(content=b"good", path=PATH):
    digest = sha256(content).hexdigest()
    return ManifestEntry(Role.BASE, 4, path, 1, 1, len(content), digest)


def test_who_looks_while_a_copy_is_moved_finds_the_reason(disk):
    disk.put(b"gone")
    disk.quarantine.take(disk.data / PATH, PATH, "it is bad")
    disk.damages.look([entry()])
    assert disk.reasons == disk.notes == ["it is bad"]


def test_a_missing_file_is_noted_once(disk):
    for _ in range(3):
        disk.damages.look([entry()])
        with pytest.raises(CorruptData, match="it is missing"):
            disk.inventory.ready([entry()])
    assert disk.reasons == disk.notes == ["it is missing"]


def test_a_file_that_is_there_again_is_no_damage(disk):
    disk.damages.look([entry()])
    disk.put(b"good")
    assert disk.reasons == []
    disk.put(b"gone")
    with pytest.raises(CorruptData, match="does not match its checksum"):
        disk.inventory.ready([entry()])
    (reason,) = disk.reasons
    assert reason.startswith("it does not match")


def test_a_restart_knows_what_was_lost(disk, tmp_path):
    disk.put(b"gone")
    with pytest.raises(CorruptData):
        disk.inventory.ready([entry()])
    again = Disk(tmp_path)
    assert again.reasons == disk.reasons
    again.put(b"good")
    assert Disk(tmp_path).reasons == []


def test_a_lost_file_that_no_manifest_lists_is_told_to_the_czar_alone(disk):
    """Manifests may do without a copy that is repaired: it is not there again yet."""
    disk.damages.look([entry()])
    disk.unlisted.add(PATH)
    assert disk.damages.needed() == []
    assert disk.damages.told()[1] == 1
    disk.unlisted.clear()
    assert [note.reason for note in disk.damages.needed()] == ["it is missing"]


def test_a_message_names_some_and_counts_all(disk, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: None)
    disk.damages.look(entry(path=f"dr1/O/{n}.parquet") for n in range(TOLD + 1))
    files, total = disk.damages.told()
    assert (len(files), total) == (TOLD, TOLD + 1)
