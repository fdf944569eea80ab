"""The czar or a worker dies at each step of moving copies: nothing is lost."""

from contextlib import contextmanager

import numpy as np
import pytest
from support.chaos import some
from support.loads import OBJECT, SOURCE, parquet
from support.processes import until

import qserv
from qserv.failpoint import NAMES

ROWS = 1000
QUERY = (
    "SELECT COUNT(*) AS n, SUM(o.objectId) AS s FROM dr1.Object o "
    "JOIN dr1.Source t ON o.objectId = t.objectId"
)
RIGHT = {"n": ROWS, "s": ROWS * (ROWS + 1) // 2}
CZAR = sorted(name for name in NAMES if name.startswith("czar.placement."))
WORKER = sorted(name for name in NAMES if name.startswith("worker.pull."))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    place = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(5)
    ids = np.arange(1, ROWS + 1)
    sky = {"ra": rng.uniform(0, 360, ROWS), "dec": rng.uniform(-80, 80, ROWS)}
    return {
        "Object": parquet(place / "o.parquet", OBJECT, objectId=ids, **sky),
        "Source": parquet(place / "s.parquet", SOURCE, objectId=ids, **sky),
    }


class Armed(qserv.LocalCluster):
    """A cluster whose czar dies once where it is told to."""

    failpoint = ""

    def _czar(self, port):
        arguments = super()._czar(port)
        if self.failpoint:
            arguments += ["--failpoint", self.failpoint]
            self.failpoint = ""
        return arguments


@contextmanager
def loaded(place, files, failpoint="", **more):
    cluster = Armed(2, place, replicas=1, **more)
    cluster.failpoint = failpoint
    with cluster as db:
        tables = (OBJECT, SOURCE)
        db.load("dr1", files, schema=tables, leaf_rows=100)
        yield db


def moved_to(db, name):
    """Wait until a worker has its share, and everything is where it shall be."""
    worker = db.cluster.worker_id(name)

    def settled():
        shown = db.placement.show()
        held = {w.id: w.chunks for w in shown.workers}
        return shown.replication.settled and held[worker]

    until(lambda: answered(settled), seconds=60)


def answered(ask):
    try:
        return ask()
    except qserv.errors.ClusterError:
        return None


def right(db):
    assert db.query(QUERY, timeout=30).to_arrow().to_pylist() == [RIGHT]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("point", some(CZAR, 2))
def test_the_czar_goes_on_where_another_died(tmp_path, files, point):
    with loaded(tmp_path, files, point) as db:
        czar = db.cluster.processes["czar"]
        db.cluster.add()
        until(lambda: db.cluster.processes.get("czar", czar) != czar, seconds=60)
        db.cluster.wait_whole()
        moved_to(db, "worker-3")
        right(db)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("point", some(WORKER, 1))
def test_a_worker_goes_on_where_it_died(tmp_path, files, point):
    arguments = {"worker-3": ["--failpoint", point]}
    with loaded(tmp_path, files, worker_arguments=arguments) as db:
        db.cluster.add()
        new = db.cluster.processes["worker-3"]
        arguments.clear()
        until(lambda: db.cluster.processes.get("worker-3", new) != new, seconds=60)
        db.cluster.wait_whole()
        moved_to(db, "worker-3")
        right(db)
