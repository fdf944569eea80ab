"""A crash at any instruction of a load leaves a worker what was, or what was asked."""

import os
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from support.powerloss import Disk
from support.receiving import CHUNKS, Worker, content, entry, install_request

from qserv.ingest import receiver as module
from qserv.storage import durable


class Crash(BaseException):
    """The machine went off."""


STEPS = (
    (os, "fsync"),
    (Path, "hardlink_to"),
    (Path, "mkdir"),
    (Path, "replace"),
    (Path, "unlink"),
    (os, "rmdir"),
    (os, "unlink"),
)


def crash_at(monkeypatch, step):
    """Let change number `step` of the disk, and all after it, never happen."""
    count = 0

    def spoil(real):
        def change(*args, **kwargs):
            nonlocal count
            count += 1
            if count > step:
                raise Crash
            return real(*args, **kwargs)

        return change

    for owner, name in STEPS:
        monkeypatch.setattr(owner, name, spoil(getattr(owner, name)))


async def crashes(work, monkeypatch, step):
    """Tell whether `work` met the crash at `step`; otherwise it is done."""
    with monkeypatch.context() as patch:
        crash_at(patch, step)
        try:
            await work()
        except Crash:
            return True
    return False


async def test_a_crash_anywhere_in_a_load_leaves_the_old_or_the_new(
    tmp_path, monkeypatch
):
    before = [entry(chunk, "t0") for chunk in CHUNKS]
    step, seen = 0, set()
    crashed = True
    while crashed:
        root = tmp_path / str(step)
        worker = Worker(root)
        await worker.load("t0", 1)
        load = lambda w=worker: w.load("t1", 2, before=before)  # noqa: E731
        crashed = await crashes(load, monkeypatch, step)

        again = Worker(root)
        whole = again.held(2)
        seen.add(whole is not None)
        for found in filter(None, (again.held(1), whole)):
            for file in found.manifest.entries:
                data = again.directory.file(file.path).read_bytes()
                assert sha256(data).hexdigest() == file.sha256
        assert again.held(1).manifest.entries == tuple(before)

        await again.load("t1", 2, before=before)
        assert len(again.held(2).manifest.entries) == 6
        assert again.staged() == []
        step += 1
    assert seen == {False, True}
    assert step > 20


async def test_a_crash_anywhere_in_a_discard_is_finished_by_the_next(
    tmp_path, monkeypatch
):
    step = 0
    crashed = True
    while crashed:
        root = tmp_path / str(step)
        worker = Worker(root)
        await worker.load("t0", 1)
        await worker.load("t1", 2, before=[entry(chunk, "t0") for chunk in CHUNKS])
        crashed = await crashes(
            lambda w=worker: w.receiver.discard("t1"), monkeypatch, step
        )
        again = Worker(root)
        await again.receiver.discard("t1")
        assert again.files() == {entry(chunk, "t0").path for chunk in CHUNKS}
        assert again.held(2) is None
        assert again.held(1) is not None
        step += 1
    assert step > 3


@pytest.fixture
async def loaded(tmp_path, monkeypatch):
    """Return a worker that has a load after a loss of power, and its disk."""
    root = tmp_path / "worker"
    worker = Worker(root)
    disk = Disk(root, tmp_path / "saved")
    with disk.watched(monkeypatch):
        await worker.load("t0", 1)
    disk.fail()
    return Worker(root), disk


async def test_what_was_acknowledged_outlives_the_loss_of_power(loaded, monkeypatch):
    worker, disk = loaded
    root = worker.directory.root
    before = [entry(chunk, "t0") for chunk in CHUNKS]
    assert worker.held(1).manifest.entries == tuple(before)
    assert worker.files() == {each.path for each in before}
    added = [*before, *(entry(chunk) for chunk in CHUNKS)]
    with disk.watched(monkeypatch):
        for chunk in CHUNKS:
            await worker.stage(chunk)
    disk.fail()
    worker = Worker(root)
    with disk.watched(monkeypatch):
        assert await worker.install(install_request(*added, version=2)) == []
    disk.fail()
    worker = Worker(root)
    assert worker.held(2).manifest.entries == tuple(added)
    for chunk in CHUNKS:
        file = worker.directory.file(entry(chunk).path)
        assert file.read_bytes() == content(chunk)
    with disk.watched(monkeypatch):
        await worker.receiver.discard("t1")
    disk.fail()
    worker = Worker(root)
    assert worker.held(2) is None
    assert worker.files() == {each.path for each in before}
    fewer = replace(worker.held(1).manifest, entries=tuple(before[1:]))
    with disk.watched(monkeypatch):
        await worker.receiver.take_over([fewer], [before[0].path])
    disk.fail()
    worker = Worker(root)
    assert worker.held(1).manifest == fewer
    assert worker.files() == {each.path for each in before[1:]}


@pytest.mark.parametrize("lost", ["link", "manifest", "stage"])
async def test_without_a_sync_what_was_acknowledged_would_be_lost(
    loaded, monkeypatch, lost
):
    """The guarantee, switched off: the first test notices each."""
    worker, disk = loaded
    if lost == "manifest":
        monkeypatch.setattr(durable, "sync_directory", lambda _: None)
    where = durable if lost == "link" else module
    monkeypatch.setattr(where, "sync_directory", lambda _: None)
    with disk.watched(monkeypatch):
        await worker.load("t1", 2, before=[entry(chunk, "t0") for chunk in CHUNKS])
        await worker.stage(20, "t2")
    disk.fail()
    again = Worker(worker.directory.root)
    whole = again.held(2) is not None and len(again.files()) == 6
    assert not (whole and again.directory.staged("t2", entry(20, "t2").path).exists())


async def test_a_loss_of_power_anywhere_leaves_the_old_or_the_new(
    tmp_path, monkeypatch
):
    before = [entry(chunk, "t0") for chunk in CHUNKS]
    step, crashed = 0, True
    while crashed:
        root = tmp_path / str(step)
        worker = Worker(root)
        await worker.load("t0", 1)
        disk = Disk(root, tmp_path / f"saved-{step}")
        load = lambda w=worker: w.load("t1", 2, before=before)  # noqa: E731
        with disk.watched(monkeypatch):
            crashed = await crashes(load, monkeypatch, step)
        disk.fail()

        again = Worker(root)
        found = [again.held(1), again.held(2)]
        assert found[0].manifest.entries == tuple(before)
        assert crashed or found[1]
        for file in [e for held in found if held for e in held.manifest.entries]:
            data = again.directory.file(file.path).read_bytes()
            assert sha256(data).hexdigest() == file.sha256
        await again.load("t1", 2, before=before)
        assert len(again.held(2).manifest.entries) == 6
        step += 1
    assert step > 20
