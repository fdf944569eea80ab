"""What loads have left in a scratch directory goes once nobody wants it."""

import os
from contextlib import nullcontext

import pytest

from qserv.errors import BadContribution, TaskFailed, WorkerUnavailable
from qserv.ingest.bulk import workshop
from qserv.ingest.bulk.workshop import scratch_of, sweep

OLD = 8 * 86400


@pytest.fixture
def left(tmp_path):
    """Make what five loads and a dry run have left: some of them long ago."""
    for name in ("load-over-1", "load-open-1", "load-new-1", "load-old-1", "dry-old"):
        place = tmp_path / f"qserv-{name}"
        place.mkdir()
        (place / "o-read-1.done").write_text("")
        if "old" in name:
            long_ago = place.stat().st_mtime - OLD
            os.utime(place, (long_ago, long_ago))
    (tmp_path / "somebody-else").mkdir()
    return tmp_path


def ended(load):
    return {"over": True, "open": False}.get(load)


def test_only_what_nobody_wants_goes(left):
    sweep(left, ended)
    assert {path.name for path in left.iterdir()} == {
        "qserv-load-open-1",
        "qserv-load-new-1",
        "somebody-else",
    }


def swept_in_use(tmp_path):
    """Sweep while a loader that nobody heard of works on; say whether it can."""
    with scratch_of("over", tmp_path) as scratch:
        sweep(tmp_path, ended)
        return scratch.root.exists()


def test_what_is_in_use_stays(tmp_path):
    assert swept_in_use(tmp_path)


def test_it_would_go_if_nobody_held_it(tmp_path, monkeypatch):
    """The guarantee, switched off."""
    monkeypatch.setattr(workshop, "_held", lambda _: nullcontext(lambda: None))
    assert not swept_in_use(tmp_path)


@pytest.mark.parametrize(
    ("load", "error", "stays"),
    [
        ("open", WorkerUnavailable, True),
        ("open", BadContribution, False),
        ("open", KeyboardInterrupt, False),
        ("", WorkerUnavailable, False),
    ],
)
def test_a_load_that_can_be_gone_on_with_keeps_it(tmp_path, load, error, stays):
    with pytest.raises(error), scratch_of(load, tmp_path) as scratch:
        raise error("it does not work")
    assert scratch.root.exists() is stays


def test_a_loader_that_was_taken_over_leaves_it_to_the_other(tmp_path):
    with scratch_of("open", tmp_path) as scratch:
        with pytest.raises(KeyboardInterrupt), scratch_of("open", tmp_path):
            raise KeyboardInterrupt
        assert scratch.root.exists()
    assert not scratch.root.exists()


def test_a_full_disk_is_told_and_the_load_can_be_gone_on_with(tmp_path):
    with (
        pytest.raises(TaskFailed, match=r"No space left .* space in .* with --scratch"),
        scratch_of("open", tmp_path) as scratch,
    ):
        raise OSError(28, "No space left on device")
    assert scratch.root.exists()
