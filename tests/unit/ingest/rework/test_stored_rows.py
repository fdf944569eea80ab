"""Stored files are read as they are: right copies only, and no row is changed."""

import hashlib
import io
import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import grpc
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.loads import FILTER, OBJECT, locator, rows
from support.storedrows import rows_of

from qserv import patience
from qserv.catalog.snapshot import ManifestEntry, Role
from qserv.catalog.tables import HEALPIX, SOURCE
from qserv.errors import ChunkMissing, InternalError
from qserv.ingest.bulk.scratch import Scratch
from qserv.ingest.rework import fetching
from qserv.ingest.rework.fetching import fetch
from qserv.ingest.rework.pieces import GONE, Sources, StoredPiece, read
from qserv.ingest.stored import stored_schema
from qserv.wire.v1 import czar_pb2, worker_pb2, worker_pb2_grpc

NAN = struct.unpack("<d", struct.pack("<Q", 0x7FF8_0000_DEAD_BEEF))[0]


class Holder(worker_pb2_grpc.WorkerServicer):
    """Sends what it has of any file, in two parts; without any it fails."""

    def __init__(self, content):
        self.content = content
        self.asked = 0

    def Fetch(self, request, context):
        self.asked += 1
        if self.content is None:
            context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        half = len(self.content) // 2
        yield worker_pb2.FetchPart(data=self.content[:half])
        yield worker_pb2.FetchPart(data=self.content[half:])


@pytest.fixture
def served(monkeypatch):
    """Serve the copies of a file; returns the servicers and their places."""
    monkeypatch.setattr(patience, "STORED", (0.01,))
    servers = []

    def serve(*contents):
        holders, places = [Holder(content) for content in contents], []
        for number, holder in enumerate(holders):
            server = grpc.server(ThreadPoolExecutor(2))
            worker_pb2_grpc.add_WorkerServicer_to_server(holder, server)
            port = server.add_insecure_port("127.0.0.1:0")
            server.start()
            servers.append(server)
            places.append(
                czar_pb2.WorkerLocation(
                    worker_id=f"w{number}", endpoint=f"127.0.0.1:{port}"
                )
            )
        return holders, places

    yield serve
    for server in servers:
        server.stop(None)


def entry(content, count=3):
    return ManifestEntry(
        Role.BASE, 4, "data/x", count, count, len(content),
        hashlib.sha256(content).hexdigest(),
    )  # fmt: skip


def test_holders_are_asked_in_turn_until_one_has_it_right(served, tmp_path):
    good = b"all of it"
    holders, places = served(None, b"some of i", good[:4], good, good)
    fetch(entry(good), places, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == good
    assert [holder.asked for holder in holders] == [1, 1, 1, 1, 0]


def test_if_nobody_has_it_right_all_are_told(served, tmp_path):
    good = b"all of it"
    holders, places = served(None, b"some of i")
    with pytest.raises(ChunkMissing, match=r"Socket closed.*w1 at .* sent 9"):
        fetch(entry(good), places, tmp_path / "copy")
    assert [holder.asked for holder in holders] == [2, 2]


def test_without_checksums_a_bad_copy_would_be_taken(served, tmp_path, monkeypatch):
    class Blind:
        def __init__(self, wanted):
            self.update, self.hexdigest = (lambda data: None), (lambda: wanted)

    good, bad = b"all of it", b"some of i"
    wanted = entry(good)
    blind = Blind(wanted.sha256)
    monkeypatch.setattr(fetching, "hashlib", SimpleNamespace(sha256=lambda: blind))
    _, places = served(bad, good)
    fetch(wanted, places, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == bad


def stored(table, numbers, **values):
    """Return rows as a file has them, and the file."""
    given = rows(table, **values).data
    count = given.num_rows
    system = {name: np.arange(count, dtype=np.float64) for name in ("_x", "_y", "_z")}
    system |= {HEALPIX: np.arange(count) * 7, "_chunk": np.full(count, 4)}
    system[SOURCE] = np.array(numbers, np.int32)
    arrays = [pa.array(system[name]) for name in table.system_columns]
    found = pa.Table.from_arrays([*arrays, *given.columns], schema=stored_schema(table))
    sink = io.BytesIO()
    pq.write_table(found, sink)
    return found, sink.getvalue()


def piece(served, tmp_path, table, content, kept=(3, 5), gone=()):
    np.save(tmp_path / "kept.npy", np.array(kept, np.int64))
    _, places = served(content)
    sources = Sources(tmp_path / "kept.npy", frozenset(gone), 100)
    return StoredPiece(table, entry(content), tuple(places), sources)


VALUES = {
    "objectId": [1, 2, 3],
    "ra": [0.0, -0.0, 359.99999999999994],
    "dec": [90.0, NAN, -90.0],
    "mag": pa.array([None, -0.0, 1e-45], pa.float32()),
}


def test_rows_come_as_they_were_stored(served, tmp_path):
    whole, content = stored(OBJECT, [5, 3, 5], **VALUES)
    (found,) = read(piece(served, tmp_path, OBJECT, content), Scratch(tmp_path))
    names = [column.name for column in OBJECT.columns]
    assert rows_of(found.data) == rows_of(whole.select(names))
    assert found.homes.tolist() == [0, 7, 14]
    assert found.inputs.tolist() == [101, 100, 101]
    assert found.numbers.tolist() == [1, 2, 3]
    assert sorted(tmp_path.iterdir()) == [tmp_path / "kept.npy"]


def test_texts_come_as_they_were_stored(served, tmp_path):
    texts = ["", None, "\0 ß \n"]
    _, content = stored(FILTER, [3, 3, 3], filterId=[1, 1, None], name=texts)
    (found,) = read(piece(served, tmp_path, FILTER, content), Scratch(tmp_path))
    assert found.data.column("name").to_pylist() == texts
    assert found.homes is None


def test_rows_that_go_are_marked_and_rows_of_nowhere_refused(served, tmp_path):
    _, content = stored(OBJECT, [5, 4, 5], **VALUES)
    some = piece(served, tmp_path, OBJECT, content, gone=[4])
    (found,) = read(some, Scratch(tmp_path))
    assert found.inputs.tolist() == [101, GONE, 101]
    strange = piece(served, tmp_path, OBJECT, content)
    with pytest.raises(InternalError, match="rows of file 4, which brought no"):
        list(read(strange, Scratch(tmp_path)))


def test_files_of_other_columns_are_refused(served, tmp_path):
    _, content = stored(FILTER, [3, 3, 3], filterId=[1, 1, 1], name=["a", "b", "c"])
    with pytest.raises(InternalError, match="other columns than table Object"):
        list(read(piece(served, tmp_path, OBJECT, content), Scratch(tmp_path)))


def test_a_home_is_kept_though_the_position_is_elsewhere():
    made = rows(OBJECT, objectId=[1, 2], ra=[10.0, 20.0], dec=[0.0, 0.0])
    homes = np.array([5, 6])
    kept = locator().locate(replace(made, homes=homes)).located
    assert kept.homes.tolist() == [5, 6]
    # Without the homes, the rows would move to where they are now.
    assert not np.isin(locator().locate(made).located.homes, homes).any()
