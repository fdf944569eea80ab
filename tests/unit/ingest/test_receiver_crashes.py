"""A crash at any instruction of a load leaves a worker what was, or what was asked."""

import os
from hashlib import sha256
from pathlib import Path

from support.receiving import CHUNKS, Worker, entry


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
