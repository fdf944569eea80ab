"""Manifests on disk: whole, checked, each version once."""

import errno
from pathlib import Path

import pytest

from qserv import failpoint
from qserv.catalog.snapshot import ManifestEntry, Role
from qserv.errors import Conflict, CorruptData, InvalidRequest, TaskFailed
from qserv.storage import manifests as module
from qserv.storage.layout import WorkerDirectory
from qserv.storage.manifest import Manifest
from qserv.storage.manifests import ManifestStore
from qserv.storage.quarantine import Quarantine


def entry(role=Role.BASE, chunk=4, name="t1-0", **more):
    return ManifestEntry(
        role=role,
        chunk=chunk,
        path=f"dr1/Object/{role}/{name}.parquet",
        rows=10,
        live_rows=10,
        size=100,
        sha256="ab" * 32,
        **more,
    )


def manifest(version=1, entries=(), chunks=(4, 5), transaction="t1"):
    return Manifest(
        "dr1", "Object", version, 1, transaction, tuple(chunks), tuple(entries)
    )


@pytest.fixture
def directory(tmp_path):
    return WorkerDirectory(tmp_path)


def test_what_was_installed_is_read_back_by_another_process(directory):
    entries = (
        entry(bounds={"ra": (0.1, 359.9), "name": ("a", "é")}, offset=0.25),
        entry(Role.OVERLAP, validity=(3, 7)),
        entry(Role.INDEX, chunk=2),
    )
    made = manifest(entries=entries)
    ManifestStore(directory).install(made)
    held = ManifestStore(directory).holding("dr1", "Object", 1)
    assert held.manifest == made
    assert held.own == {4: entries[:1]}
    assert held.overlap == {4: entries[1:2]}
    assert held.index == {2: entries[2:]}
    assert held.placed == {4, 5}
    assert (held.chunks, held.rows, held.size) == (2, 10, 300)


def test_older_versions_stay_and_the_newest_is_known(directory):
    store = ManifestStore(directory)
    for version in (9, 10, 2):
        made = [entry(name=f"t{version}-0")]
        store.install(manifest(version, made, transaction=f"t{version}"))
    again = ManifestStore(directory)
    assert [h.manifest.version for h in again.newest()] == [10]
    assert sorted(h.manifest.version for h in again.readable()) == [2, 9, 10]
    assert again.holding("dr1", "Object", 3) is None


def test_a_version_has_one_content_for_ever(directory):
    store = ManifestStore(directory)
    store.install(manifest())
    store.install(manifest())
    with pytest.raises(Conflict, match=r"version 1 of dr1\.Object has another content"):
        ManifestStore(directory).install(manifest(transaction="t2"))


def test_a_changed_byte_is_noticed(directory):
    store = ManifestStore(directory)
    store.install(manifest(entries=[entry()]))
    path = directory.manifest("dr1", "Object", 1)
    path.write_bytes(path.read_bytes().replace(b'"chunk": 4', b'"chunk": 5'))
    with pytest.raises(CorruptData, match=r"dr1/Object/1\.json does not match"):
        ManifestStore(directory).holding("dr1", "Object", 1)


def test_a_manifest_that_rots_under_a_good_one_in_memory_is_written_again(directory):
    """Else its files would be listed by nothing, though they are read."""
    store = ManifestStore(directory, Quarantine(directory.quarantine))
    store.install(manifest(entries=[entry()]))
    path = directory.manifest("dr1", "Object", 1)
    good = path.read_bytes()
    path.write_bytes(good[:-9])
    assert [each.entries for each in store.each()] == [(entry(),)]
    assert store.lists(entry().path)
    assert path.read_bytes() == good


def test_delta_files_are_refused(directory):
    with pytest.raises(InvalidRequest, match="no delta files yet"):
        ManifestStore(directory).install(manifest(entries=[entry(Role.DELTA)]))


def test_memory_holds_so_many_entries_and_tells_of_all(directory):
    """A table that is loaded again and again has ever more manifests, nearly equal."""
    before = []
    store = ManifestStore(directory, kept=10)
    for version in range(1, 9):
        before.append(entry(name=f"t{version}-0"))
        store.install(manifest(version, before, transaction=f"t{version}"))
    for known in (store, again := ManifestStore(directory, kept=10)):
        assert known.files() == before
        assert known.count(before[0].path) == 8
        assert len(known.told()) == 8
        assert sum(len(held.paths) for held in known._read.values()) <= 10
        assert known.holding("dr1", "Object", 3).manifest.entries == tuple(before[:3])
    first, last = (again.holding("dr1", "Object", version) for version in (1, 8))
    assert first.manifest.entries[0] is last.manifest.entries[0]


def test_a_version_that_its_load_did_not_publish_goes_with_the_next(directory):
    store, first = ManifestStore(directory), entry(name="t0-0")
    store.install(manifest(1, [first], transaction="t0"))
    store.install(manifest(2, [first, entry()]))
    store.install(manifest(4, [first, entry()]))
    for known in (store, ManifestStore(directory)):
        assert {version for *_, version in known.told()} == {1, 4}
        assert known.count(first.path) == 2


def test_what_took_another_place_or_went_bad_is_not_listed(directory):
    quarantine = Quarantine(directory.quarantine)
    store = ManifestStore(directory, quarantine)
    store.install(manifest(1, [entry(), entry(name="t1-1")], transaction="t1"))
    store.install(manifest(2, [entry(name="t1-2")], transaction="t2"))
    store.replace(manifest(1, [entry()], transaction="t1"))
    assert {e.path for e in store.files()} == {entry().path, entry(name="t1-2").path}
    store.remove(manifest(1, [entry()], transaction="t1"))
    assert not store.lists(entry().path)
    again = ManifestStore(directory, quarantine)
    assert again.lists(entry(name="t1-2").path)
    again._read.clear()
    path = directory.manifest("dr1", "Object", 2)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CorruptData):
        again.holding("dr1", "Object", 2)
    assert again.told() == {}
    assert again.files() == []


def meanwhile(monkeypatch, change):
    """Have something happen while the next manifest is read."""
    waiting = [change]

    def read(path):
        try:
            return decode(path)
        finally:
            if waiting:
                waiting.pop()()

    decode = module.decode
    monkeypatch.setattr(module, "decode", read)


def test_what_was_replaced_while_it_was_read_is_not_kept(directory, monkeypatch):
    """Else a worker would have files asked for that it dropped, until it restarts."""
    old, new = manifest(entries=[entry()]), manifest(entries=[entry(name="t1-1")])
    ManifestStore(directory).install(old)
    store = ManifestStore(directory)
    meanwhile(monkeypatch, lambda: store.replace(new))
    assert store.holding("dr1", "Object", 1).manifest == new
    assert store.holding("dr1", "Object", 1).manifest == new


def test_a_good_one_that_came_while_a_bad_one_was_read_stays(directory, monkeypatch):
    quarantine = Quarantine(directory.quarantine)
    store = ManifestStore(directory, quarantine)
    good = manifest(entries=[entry()])
    path = directory.manifest("dr1", "Object", 1)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"rotten")
    meanwhile(monkeypatch, lambda: store.replace(good))
    assert store.holding("dr1", "Object", 1).manifest == good
    assert list(quarantine.notes()) == []


def test_only_what_the_disk_lost_is_bad(directory, monkeypatch):
    """Too many open files, say, are no reason to drop what a worker holds."""
    store = ManifestStore(directory, Quarantine(directory.quarantine))
    store.install(manifest())
    for number, kind in ((errno.EMFILE, TaskFailed), (errno.EIO, CorruptData)):
        again = ManifestStore(directory, Quarantine(directory.quarantine))
        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_bytes", broken(number))
            with pytest.raises(kind):
                again.holding("dr1", "Object", 1)
        there = directory.manifest("dr1", "Object", 1).exists()
        assert there is (kind is TaskFailed)


def broken(number):
    def read(path):
        raise OSError(number, "broken")

    return read


def test_a_disk_that_takes_no_manifest_keeps_what_was(directory):
    store = ManifestStore(directory)
    old = manifest(entries=[entry()])
    store.install(old)
    assert store.lists(entry().path)
    failpoint.arm("durable.write.written=enospc,durable.write.replaced=eio")
    try:
        with pytest.raises(OSError, match="space"):
            store.replace(manifest(entries=[entry(name="t1-1")]))
        assert store.files() == list(old.entries)
        assert [p.name for p in directory.manifests.rglob("*.*")] == ["1.json"]
        # Whether the second one is durable nobody knows: it is what is there.
        with pytest.raises(OSError, match="Input"):
            store.replace(new := manifest(entries=[entry(name="t1-1")]))
    finally:
        failpoint.arm("")
    assert store.files() == list(new.entries)
    assert store.holding("dr1", "Object", 1).manifest == new


def test_what_people_put_beside_manifests_is_none(directory):
    store = ManifestStore(directory)
    store.install(manifest(entries=[entry()]))
    path = directory.manifest("dr1", "Object", 1)
    path.with_name("1.json.old.json").write_bytes(b"?")
    assert ManifestStore(directory).files() == [entry()]


def test_a_path_as_long_as_may_be_goes_into_quarantine(tmp_path):
    path = "dr1/" + "O" * 228 + ".parquet"
    (tmp_path / "bad").write_bytes(b"?")
    quarantine = Quarantine(tmp_path / "quarantine")
    quarantine.take(tmp_path / "bad", path, "it is bad")
    assert [note.path for note in quarantine.notes()] == [path]
