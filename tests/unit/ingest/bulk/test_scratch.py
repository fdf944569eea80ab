"""A task that was done is not done again; one that was not, is."""

import pytest

from qserv.ingest.bulk.scratch import Scratch


def test_what_is_done_stays_done(tmp_path):
    calls = []

    def make():
        calls.append(1)
        return {"rows": 3}

    for _ in range(2):
        assert Scratch(tmp_path).once("a-read-0", make) == {"rows": 3}
    assert len(calls) == 1


def test_what_failed_is_done_again(tmp_path):
    def fail():
        raise LookupError

    scratch = Scratch(tmp_path)
    with pytest.raises(LookupError):
        scratch.once("a", fail)
    assert scratch.once("a", lambda: 1) == 1


def test_two_tries_do_not_write_one_file(tmp_path):
    scratch = Scratch(tmp_path)
    assert scratch.fresh("a") != scratch.fresh("a")
    scratch.remove()
    assert not tmp_path.exists()
