"""A query that nobody wants any more leaves its workers with nothing running."""

import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.processes import until

import qserv
from qserv.catalog.tables import Column, DataType, Table, TableKind
from qserv.errors import Cancelled, DeadlineExceeded, QservError
from qserv.wire.channel import sync_channel
from qserv.wire.v1.worker_pb2 import DescribeRequest
from qserv.wire.v1.worker_pb2_grpc import WorkerStub

# Each of 100,000 stars is near each: far more pairs than anybody waits for.
ENDLESS = """
    SELECT SUM(a.objectId * b.ra) AS s FROM clump.Object a JOIN clump.Object b
    ON DISTANCE(POINT(a.ra, a.dec), POINT(b.ra, b.dec)) < 0.01
"""
STARS = 100_000
OBJECT = Table(
    "Object",
    TableKind.DIRECTOR,
    (
        Column("objectId", DataType.BIGINT, nullable=False),
        Column("ra", DataType.DOUBLE, "deg"),
        Column("dec", DataType.DOUBLE, "deg"),
    ),
    key="objectId",
    position=("ra", "dec"),
)


@pytest.fixture(scope="module")
def clump(tmp_path_factory):
    """Start a worker with a clump of stars within 10 arcseconds."""
    place = tmp_path_factory.mktemp("clump")
    rng = np.random.default_rng(3)
    rows = pa.table(
        {
            "objectId": np.arange(STARS),
            "ra": 150 + rng.uniform(0, 10 / 3600, STARS),
            "dec": 2 + rng.uniform(0, 10 / 3600, STARS),
        }
    )
    pq.write_table(rows, place / "clump.parquet")
    with qserv.LocalCluster(1, place / "cluster") as db:
        db.load("clump", {"Object": place / "clump.parquet"}, schema=[OBJECT])
        yield db


@pytest.fixture
def running(clump):
    """Return a function that says how many batches run or wait."""
    (worker,) = clump.status().workers
    with sync_channel(worker.endpoint) as channel:
        stub = WorkerStub(channel)

        def count():
            reply = stub.Describe(DescribeRequest(), timeout=10)
            return reply.running_batches + reply.waiting_batches

        yield count
        until(lambda: count() == 0)


class Asking(threading.Thread):
    """Asks in another thread, and keeps the error."""

    def __init__(self, db, **options):
        super().__init__()
        self.db, self.options, self.error = db, options, None
        self.start()

    def run(self):
        try:
            self.db.query(ENDLESS, **self.options).to_arrow()
        except QservError as error:
            self.error = error


def test_a_cancelled_query_stops_on_its_worker(clump, running):
    asking = Asking(clump, query_id="endless")
    until(running)
    assert [q.id for q in clump.status().queries] == ["endless"]
    assert clump.cancel("endless")
    until(lambda: running() == 0, seconds=10)
    asking.join(10)
    assert type(asking.error) is Cancelled
    assert clump.status().queries == ()


def test_a_deadline_stops_it_on_its_worker(clump, running):
    asking = Asking(clump, timeout=1.5)
    until(running)
    until(lambda: running() == 0, seconds=10)
    asking.join(10)
    assert type(asking.error) is DeadlineExceeded


def test_a_client_that_goes_away_stops_it_on_its_worker(clump, running):
    asking = Asking(qserv.connect(clump.endpoint))
    until(running)
    asking.db.close()
    until(lambda: running() == 0, seconds=10)
    asking.join(10)
    assert type(asking.error) is Cancelled


def test_what_does_not_run_cannot_be_cancelled(clump):
    assert not clump.cancel("nothing")


def test_the_worker_answers_on(clump):
    answer = clump.query("SELECT COUNT(*) AS n FROM clump.Object WHERE ra > 0")
    assert answer.to_arrow()["n"].to_pylist() == [STARS]
