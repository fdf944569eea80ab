"""What is remembered of verified files: never trusted more than the disk."""

import os
from hashlib import sha256
from types import SimpleNamespace

import pytest

from qserv import failpoint
from qserv.catalog.snapshot import ManifestEntry, Role
from qserv.errors import CorruptData, TaskFailed
from qserv.storage import inventory as storage
from qserv.storage.inventory import Inventory
from qserv.storage.quarantine import Quarantine
from qserv.storage.verified import Verification, VerifiedLog

CONTENT = bytes(range(256)) * 100
GOOD = Verification((1, 2, 3, 4), "ab", 5.0)
DAY = 86400.0


@pytest.fixture
def log(tmp_path):
    return VerifiedLog(tmp_path / "verified.log")


@pytest.fixture
def entry(tmp_path):
    path = "dr1/Object/dataset/Norder=0/Dir=0/Npix=0/a.parquet"
    file = tmp_path / "data" / path
    file.parent.mkdir(parents=True)
    file.write_bytes(CONTENT)
    digest = sha256(CONTENT).hexdigest()
    return ManifestEntry(Role.BASE, 4, path, 1, 1, len(CONTENT), digest)


def inventory(tmp_path, **how):
    return Inventory(
        tmp_path / "data", log=VerifiedLog(tmp_path / "verified.log"), **how
    )


def test_what_was_kept_is_read_again(log):
    log.keep("a", GOOD)
    log.keep("b", GOOD)
    log.forget("b")
    log.keep("c", GOOD)
    assert log.read() == {"a": GOOD, "c": GOOD}


def test_a_line_that_is_torn_or_damaged_is_no_verification(log, tmp_path):
    log.keep("a", GOOD)
    log.keep("b", GOOD)
    file = tmp_path / "verified.log"
    for place in range(file.stat().st_size):
        data = bytearray(file.read_bytes())
        data[place] ^= 1
        (tmp_path / "flipped.log").write_bytes(data)
        found = VerifiedLog(tmp_path / "flipped.log").read()
        assert all(found[path] == GOOD for path in found)
    for length in range(file.stat().st_size):
        (tmp_path / "torn.log").write_bytes(file.read_bytes()[:length])
        torn = VerifiedLog(tmp_path / "torn.log")
        assert torn.read().keys() <= {"a", "b"}
        torn.keep("c", GOOD)
        assert torn.read()["c"] == GOOD


def test_old_lines_are_dropped(log, tmp_path):
    for _ in range(1200):
        log.keep("a", GOOD)
    assert log.read() == {"a": GOOD}
    assert len((tmp_path / "verified.log").read_bytes().split()) < 10


def test_a_disk_that_takes_nothing_costs_only_time(tmp_path, entry):
    failpoint.arm("worker.verified.kept=enospc")
    try:
        one = inventory(tmp_path)
        one.verify([entry])
    finally:
        failpoint.arm("")
    assert one.unverified([entry]) == []
    assert inventory(tmp_path).unverified([entry]) == [entry]


def test_a_verification_outlives_a_restart_but_not_a_change(tmp_path, entry):
    inventory(tmp_path).verify([entry])
    assert inventory(tmp_path).unverified([entry]) == []
    os.utime(tmp_path / "data" / entry.path)
    assert inventory(tmp_path).unverified([entry]) == [entry]


def test_a_change_that_hides_its_time_is_seen(tmp_path, entry):
    held, file = inventory(tmp_path), tmp_path / "data" / entry.path
    held.verify([entry])
    before = file.stat()
    file.write_bytes(CONTENT[::-1])
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert held.unverified([entry]) == [entry]


def test_what_was_read_of_a_file_that_was_replaced_is_not_used(tmp_path, entry):
    """Though the new one is good: nobody knows what of it was read of which."""
    held, file = inventory(tmp_path), tmp_path / "data" / entry.path
    pinned = held.ready([entry])
    held.check(pinned)
    fresh = file.with_name("fresh")
    fresh.write_bytes(CONTENT)
    fresh.replace(file)
    held.verify([entry])
    with pytest.raises(CorruptData, match="changed, or was found bad"):
        held.check(pinned)
    held.check(held.ready([entry]))


def test_a_file_that_was_just_written_waits_for_a_tick(tmp_path, entry, monkeypatch):
    """A change within it would not show: what was verified would pass for it."""
    file, waits = tmp_path / "data" / entry.path, []
    written = file.stat().st_ctime
    for age in (-60.0, 0.005, 60.0):
        clock = SimpleNamespace(time=lambda a=age: written + a, sleep=waits.append)
        monkeypatch.setattr(storage, "time", clock)
        inventory(tmp_path, clock=clock.time).verify([entry])
    assert waits == [pytest.approx(0.015, abs=1e-4)]


def test_of_another_content_under_that_path_nothing_is_known(tmp_path, entry):
    inventory(tmp_path).verify([entry])
    other = ManifestEntry(Role.BASE, 4, entry.path, 1, 1, entry.size, "00" * 32)
    assert inventory(tmp_path).unverified([other]) == [other]


def test_a_verification_ages(tmp_path, entry):
    now = [1e9]
    held = inventory(tmp_path, trusted_for=DAY, clock=lambda: now[0])
    held.verify([entry])
    now[0] += DAY - 1
    assert held.pin([entry])
    now[0] += 2
    assert held.pin([entry]) is None
    assert held.unverified([entry]) == [entry]
    assert held.ready([entry])
    assert held.unverified([entry]) == []


def test_a_verification_of_a_clock_that_was_wrong_does_not_count(tmp_path, entry):
    """Else a file that was read in 2099 would be trusted until then."""
    now = [4e9]
    held = inventory(tmp_path, trusted_for=DAY, clock=lambda: now[0])
    held.verify([entry])
    now[0] -= 60
    assert held.pin([entry]), "a clock that is set right by a minute"
    now[0] = 1e9
    assert held.pin([entry]) is None
    assert held.verified(entry) is None
    assert held.unverified([entry]) == [entry]
    held.verify([entry])
    assert held.verified(entry) == now[0]


def test_a_copy_that_cannot_be_moved_away_is_refused_every_time(tmp_path, entry):
    (tmp_path / "data" / entry.path).write_bytes(CONTENT[:-1])
    quarantine = Quarantine(tmp_path / "quarantine")
    held = inventory(tmp_path, quarantine=quarantine)
    for _ in range(2):
        failpoint.arm("worker.quarantine.noted=eio")
        try:
            with pytest.raises(CorruptData, match="cannot be moved away"):
                held.ready([entry])
        finally:
            failpoint.arm("")
    with pytest.raises(CorruptData, match="does not match its checksum"):
        held.ready([entry])
    assert not (tmp_path / "data" / entry.path).exists()


def test_a_good_copy_that_came_meanwhile_is_left_alone(tmp_path, entry, monkeypatch):
    """A repair may replace the bad copy while it is read to its end."""
    file = tmp_path / "data" / entry.path
    file.write_bytes(CONTENT[:-1])
    read = storage.checksum

    def replaced(path, **how):
        found = read(path, **how)
        fresh = file.with_name("fresh")
        fresh.write_bytes(CONTENT)
        fresh.replace(file)
        return found

    monkeypatch.setattr(storage, "checksum", replaced)
    held = inventory(tmp_path, quarantine=Quarantine(tmp_path / "quarantine"))
    with pytest.raises(CorruptData):
        held.ready([entry])
    monkeypatch.setattr(storage, "checksum", read)
    assert held.ready([entry])


@pytest.mark.parametrize(
    ("number", "kind"), [(5, CorruptData), (117, CorruptData), (24, TaskFailed)]
)
def test_a_disk_that_cannot_read_has_a_bad_copy(
    tmp_path, entry, monkeypatch, number, kind
):
    def broken(path, **how):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(storage, "checksum", broken)
    damaged = []
    held = inventory(
        tmp_path,
        quarantine=Quarantine(tmp_path / "quarantine"),
        damaged=lambda *told: damaged.append(told),
    )
    with pytest.raises(kind):
        held.ready([entry])
    assert bool(damaged) is (kind is CorruptData)
    assert (tmp_path / "data" / entry.path).exists() is (kind is TaskFailed)


def test_all_bad_files_of_a_batch_are_told_at_once(tmp_path, entry):
    more = [
        ManifestEntry(Role.BASE, chunk, f"dr1/Object/{chunk}.parquet", 1, 1, 1, "00")
        for chunk in (5, 6)
    ]
    with pytest.raises(CorruptData, match="and 1 more files") as told:
        inventory(tmp_path).ready([more[0], entry, more[1]])
    assert told.value.chunks == (5, 6)
