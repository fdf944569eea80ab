"""A connection says what it was told to, and whom it could not reach."""

from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest
from support.fake_czar import answer

import qserv
from qserv.catalog.tables import Column, DataType
from qserv.client.address import endpoint_of
from qserv.errors import CzarUnavailable, InvalidRequest, UnsupportedQuery
from qserv.wire.v1 import czar_pb2 as pb

NAN = float("nan")
ONE = [Column("n", DataType.BIGINT)]


@pytest.mark.parametrize(
    ("address", "endpoint"),
    [
        ("127.0.0.1:7481", "127.0.0.1:7481"),
        ("qserv://sky.example.org:80", "sky.example.org:80"),
        ("qserv://sky.example.org/", "sky.example.org:7480"),
        ("localhost", "localhost:7480"),
        ("[::1]:7480", "[::1]:7480"),
        ("[::1]", "[::1]:7480"),
    ],
)
def test_addresses(address, endpoint):
    assert endpoint_of(address) == endpoint


@pytest.mark.parametrize("address", ["", ":7480", "a:b", "h:70000", "http://h:1"])
def test_an_address_that_makes_no_sense(address):
    with pytest.raises(InvalidRequest, match="no address of a czar"):
        endpoint_of(address)


def test_connecting_to_nobody_says_so():
    with pytest.raises(CzarUnavailable, match=r"127\.0\.0\.1:1"):
        qserv.connect("127.0.0.1:1")


def test_a_token_is_not_sent_unprotected():
    with pytest.raises(UnsupportedQuery, match="no authentication"):
        qserv.connect("127.0.0.1:1", token="secret")


def test_a_query_carries_everything_it_was_given(db, czar):
    czar.frames = answer(ONE, {"n": [1]})
    db.query(
        "SELECT ?",
        [1, 2.5, "three", True],
        snapshot=5,
        release="hip",
        max_rows=9,
        batch_chunks=1,
        query_id="mine",
    ).to_arrow()
    (request,) = czar.requests
    assert request.text == "SELECT ?"
    assert [value.WhichOneof("kind") for value in request.parameters] == [
        "integer",
        "real",
        "text",
        "truth",
    ]
    assert (request.snapshot, request.default_release) == (5, "hip")
    assert (request.max_rows, request.batch_chunks) == (9, 1)
    assert request.query_id == "mine"


def test_what_was_not_given_is_not_sent(db, czar):
    czar.frames = answer(ONE, {"n": [1]})
    db.query("SELECT").to_arrow()
    (request,) = czar.requests
    assert not request.HasField("snapshot")
    assert not request.HasField("max_rows")


@pytest.mark.parametrize(
    "limit", [{"max_rows": -1}, {"timeout": 0}, {"timeout": -1}, {"timeout": NAN}]
)
def test_a_limit_that_makes_no_sense_is_not_sent(db, czar, limit):
    with pytest.raises(InvalidRequest, match=f"{next(iter(limit))} is"):
        db.query("SELECT", **limit)
    assert czar.requests == []


@pytest.mark.parametrize(
    "use",
    [
        lambda db: db.query("SELECT"),
        lambda db: db.status(),
        lambda db: db.load("mine", {"Object": "o.parquet"}),
    ],
)
def test_a_closed_connection_says_so(db, use):
    db.close()
    with pytest.raises(InvalidRequest, match="is closed"):
        use(db)


def test_rows_in_memory_are_no_files_to_load(db):
    with pytest.raises(InvalidRequest, match=r"Object: give paths .* not a Table"):
        db.load("mine", {"Object": pa.table({"objectId": [1]})})


def test_no_files_are_no_files_to_load(db):
    with pytest.raises(InvalidRequest, match="Object: give at least one file"):
        db.load("mine", {"Object": []})


def test_explain_and_cancel(db):
    assert db.explain("SELECT 1") == "the plan of SELECT 1"
    assert db.explain("SELECT 1", analyze=True) == "what happened to SELECT 1"
    assert db.cancel("q-1")
    assert not db.cancel("q-2")


def test_status_is_values(db, czar):
    table = pb.TableStatus(
        name="Object", kind="director", rows=5, chunk_ids=[17, 16], chunk_rows=[3, 2]
    )
    table.columns.add(name="ra", datatype="DOUBLE", unit="deg", nullable=True)
    czar.status.releases.add(
        name="hip", state="published", chunks=12, orders=[0], tables=[table]
    )
    czar.status.workers.add(worker_id="w1", endpoint="h:1", alive=True, chunks=12)
    status = db.status()
    assert status.snapshot == 7
    assert status.workers[0].id == "w1"
    found = status.find("HIP", "object")
    assert found.columns == (Column("ra", DataType.DOUBLE, "deg"),)
    assert dict(zip(found.chunk_ids, found.chunk_rows, strict=True)) == {17: 3, 16: 2}
    assert status.find("hip", "Source") is None


def test_threads_share_a_connection(db, czar):
    czar.frames = answer(ONE, {"n": list(range(100))})

    def ask(_):
        return db.query("SELECT").to_arrow()["n"].to_pylist()

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(40)))
    assert answers == [list(range(100))] * 40
