"""A worker remembers the newest checkpoint of the metadata, whole, whatever happens."""

from hashlib import sha256

import pytest

from qserv.catalog.checkpoint import Checkpoint, PartName
from qserv.errors import Conflict, CorruptData, InvalidRequest
from qserv.storage import remembered as module
from qserv.storage.layout import WorkerDirectory
from qserv.storage.remembered import Remembered, packed, unpacked


@pytest.fixture
def directory(tmp_path):
    return WorkerDirectory(tmp_path)


@pytest.fixture
def remembered(directory):
    return Remembered(directory)


def name(text):
    return sha256(text).hexdigest()


def checkpoint(*texts, epoch=1, revision=1):
    parts = tuple(PartName("snapshot", name(text), 1) for text in texts)
    return Checkpoint("c", epoch, revision, (1,), "2026-01-01", parts)


def remember(remembered, *texts, **age):
    made = checkpoint(*texts, **age)
    return remembered.remember(made.encode(), map(packed, texts))


def test_only_missing_parts_are_asked_for(remembered):
    assert remember(remembered, b"one", b"two") == ()
    later = checkpoint(b"one", b"three", revision=2)
    assert remembered.remember(later.encode(), ()) == (name(b"three"),)
    assert remembered.newest().revision == 1, "it is not whole yet"
    assert remembered.remember(later.encode(), [packed(b"three")]) == ()
    assert remembered.newest() == later
    assert remembered.text(name(b"one")) == b"one"
    assert remembered.kept(later) == tuple(sorted((name(b"one"), name(b"three"))))


def test_the_newest_snapshot_of_what_is_remembered_is_known(directory):
    kept = Remembered(directory)
    assert kept.snapshot() == 0
    first = b'["id", "load_id"]\n[0, null]\n[41, "l1"]'
    remember(kept, first)
    assert kept.snapshot() == 41
    remember(kept, first, b'["id", "load_id"]\n[1043, null]', revision=2)
    assert kept.snapshot() == 1043
    for path in (directory.catalog / "parts").iterdir():
        if b"1043" in unpacked(path.read_bytes()):
            path.unlink()
    assert Remembered(directory).snapshot() == 0


def test_two_are_kept_and_what_they_need(remembered, directory):
    for revision in range(1, 5):
        remember(remembered, b"same", b"%d" % revision, revision=revision)
    kept = sorted(path.name for path in directory.catalog.glob("*.json"))
    assert kept == ["1-3.json", "1-4.json"]
    parts = {path.name for path in (directory.catalog / "parts").iterdir()}
    assert parts == {name(b"same"), name(b"3"), name(b"4")}


def test_a_replaced_czar_is_refused(remembered):
    remember(remembered, b"new", epoch=9, revision=10)
    with pytest.raises(Conflict, match="its czar was replaced"):
        remember(remembered, b"old", epoch=8, revision=11)
    assert remembered.newest().epoch == 9


def test_a_damaged_newest_leaves_the_one_before(remembered, directory):
    remember(remembered, b"one", revision=1)
    remember(remembered, b"two", revision=2)
    path = directory.catalog / "1-2.json"
    path.write_bytes(path.read_bytes().replace(b"snapshot", b"snopshat"))
    assert remembered.newest().revision == 1
    assert remember(remembered, b"three", revision=3) == ()
    assert remembered.newest().revision == 3


def test_a_part_that_rotted_is_asked_for_again(directory):
    """Else a checkpoint would seem to be kept of which a part is lost."""
    remember(Remembered(directory), b"one", b"two")
    (directory.catalog / "parts" / name(b"one")).write_bytes(packed(b"ono"))
    again, later = Remembered(directory), checkpoint(b"one", b"two", revision=2)
    assert again.remember(later.encode(), ()) == (name(b"one"),)
    assert again.remember(later.encode(), [packed(b"one")]) == ()
    assert again.text(name(b"one")) == b"one"


def test_a_damaged_part_is_not_recalled(remembered, directory):
    remember(remembered, b"one", b"two")
    (directory.catalog / "parts" / name(b"one")).write_bytes(packed(b"other"))
    assert remembered.kept(remembered.newest()) == (name(b"two"),)
    (directory.catalog / "parts" / name(b"two")).write_bytes(b"no zlib")
    assert remembered.kept(remembered.newest()) == ()
    with pytest.raises(CorruptData, match="is damaged"):
        remembered.text(name(b"two"))


def test_what_a_czar_sends_is_checked(remembered):
    made = checkpoint(b"one")
    with pytest.raises(CorruptData, match="does not match its checksum"):
        remembered.remember(made.encode().replace(b"2026", b"2027"), ())
    with pytest.raises(InvalidRequest, match="is not of the catalog"):
        remembered.remember(made.encode(), [packed(b"two")])
    assert remembered.newest() is None


def test_a_crash_before_the_index_leaves_the_one_before(remembered, monkeypatch):
    remember(remembered, b"one", revision=1)
    with monkeypatch.context() as crashing:
        write = module.write_file

        def crash(path, content):
            if path.suffix == ".json":
                raise OSError("killed")
            write(path, content)

        crashing.setattr(module, "write_file", crash)
        with pytest.raises(OSError, match="killed"):
            remember(remembered, b"two", revision=2)
    assert remembered.newest().revision == 1
    assert remembered.text(name(b"one")) == b"one"
    assert remember(remembered, b"two", revision=2) == ()
