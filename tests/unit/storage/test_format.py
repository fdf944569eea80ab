"""A worker's directory of an older qserv is brought forward, of a newer one refused."""

import json
from hashlib import sha256

import pytest

from qserv.errors import InvalidRequest
from qserv.storage import format as of_directory
from qserv.storage import manifest
from qserv.storage.layout import WorkerDirectory
from qserv.storage.manifest import Manifest
from qserv.storage.manifests import ManifestStore
from qserv.storage.recollection import recollect


@pytest.fixture
def directory(tmp_path):
    found = WorkerDirectory(tmp_path)
    found.identity.write_text(json.dumps({"worker_id": "w1", "cluster_id": "c"}))
    return found


def steps(*done):
    """Two steps that write down that they were taken."""
    return [lambda d, n=n: (d.root / f"step-{n}").write_text("done") for n in done]


def taken(directory):
    return sorted(path.name for path in directory.root.glob("step-*"))


def test_an_old_directory_is_brought_forward_once(directory):
    of_directory.settle(directory, steps(1, 2))
    assert taken(directory) == ["step-1", "step-2"]
    assert directory.format.read_text() == "3\n"
    for path in directory.root.glob("step-*"):
        path.unlink()
    of_directory.settle(directory, steps(1, 2))
    assert taken(directory) == []


def test_a_step_that_fails_is_taken_again(directory):
    def broken(_):
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        of_directory.settle(directory, [*steps(1), broken])
    assert directory.format.read_text() == "2\n"
    of_directory.settle(directory, steps(1, 2))
    assert taken(directory) == ["step-1", "step-2"]


def test_a_new_directory_has_the_newest_format(tmp_path):
    fresh = WorkerDirectory(tmp_path)
    of_directory.settle(fresh, steps(1, 2))
    assert taken(fresh) == []
    assert fresh.format.read_text() == "3\n"


def test_a_newer_directory_is_refused(directory):
    directory.format.write_text("99\n")
    match = r"has format 99, but this qserv knows 1 at most; use the newer qserv"
    with pytest.raises(InvalidRequest, match=match):
        of_directory.settle(directory)
    with pytest.raises(InvalidRequest, match=match):
        recollect(directory)


def test_a_format_that_is_no_number_is_refused(directory):
    directory.format.write_text("none\n")
    with pytest.raises(InvalidRequest, match="does not hold the number of a format"):
        of_directory.settle(directory)


MADE = Manifest("dr1", "Object", 3, 1, "t1", (4,), ())


def test_a_newer_manifest_is_refused(directory, monkeypatch):
    with monkeypatch.context() as newer:
        newer.setattr(manifest, "FORMAT", 99)
        ManifestStore(directory).install(MADE)
    with pytest.raises(
        InvalidRequest, match=r"manifest dr1/Object/3\.json has format 99"
    ):
        ManifestStore(directory).holding("dr1", "Object", 3)


def test_a_manifest_without_a_number_is_read(directory):
    ManifestStore(directory).install(MADE)
    path = directory.manifest("dr1", "Object", 3)
    body = path.read_bytes().rpartition(b"\n")[0].rpartition(b"\n")[0]
    body = body.replace(b'"format": 1, ', b"")
    assert b"format" not in body
    path.write_bytes(body + b"\n" + sha256(body).hexdigest().encode() + b"\n")
    assert ManifestStore(directory).holding("dr1", "Object", 3).manifest == MADE
