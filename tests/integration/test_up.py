"""``qserv up``: a cluster that comes, stays by itself, and goes without a trace."""

import signal

import pytest
from pyarrow import csv
from support.processes import Program, alive, descendants, until

import qserv
from qserv.errors import Conflict


@pytest.fixture
def up(tmp_path):
    """Start ``qserv up`` with two workers."""
    arguments = ("--dir", tmp_path / "data", "--workers", 2, "--port", 0)
    with Program("up", *arguments, log=tmp_path / "log") as program:
        yield program


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_leaves_no_process(up, number):
    with qserv.connect(up.ready()) as db:
        assert len(db.status().workers) == 2
    started = descendants(up.process.pid)
    assert len(started) >= 3
    assert up.end(number) == 0, up.log.read_text()
    assert alive(started) == set()


def test_killing_it_leaves_no_process_either(up):
    up.ready()
    started = descendants(up.process.pid)
    up.end(signal.SIGKILL)
    until(lambda: not alive(started))


def test_what_was_loaded_is_there_again(sky, tmp_path):
    query = "SELECT COUNT(*) AS n, SUM(objectId) AS s FROM sky.Object"
    with qserv.LocalCluster(2, tmp_path) as db:
        sky.load(db)
    with qserv.LocalCluster(directory=tmp_path) as db:
        (row,) = db.query(query).to_arrow().to_pylist()
    assert [tuple(row.values())] == sky.answer(query)


def test_two_clusters_on_one_machine_do_not_collide(sky, tmp_path):
    query = "SELECT SUM(objectId) AS s FROM sky.Object"
    few = "SELECT objectId, ra, dec FROM sky.Object LIMIT 10"
    other = tmp_path / "few.csv"
    csv.write_csv(sky.plain.sql(few).to_arrow_table(), other)
    with (
        qserv.LocalCluster(1, tmp_path / "a") as one,
        qserv.LocalCluster(1, tmp_path / "b") as two,
    ):
        sky.load(one)
        sidecar = tmp_path / "schema.yaml"
        sidecar.write_text(
            "tables:\n  Object: {kind: director, key: objectId, position: [ra, dec]}\n"
        )
        two.load("sky", {"Object": other}, schema=sidecar)
        found = [db.query(query).to_arrow()["s"][0].as_py() for db in (one, two)]
    queries = (query, f"SELECT SUM(objectId) FROM ({few})")
    assert found == [sky.answer(q)[0][0] for q in queries]


def test_a_directory_has_one_cluster(tmp_path):
    with (
        qserv.LocalCluster(1, tmp_path),
        pytest.raises(Conflict, match="runs in"),
        qserv.LocalCluster(1, tmp_path),
    ):
        pass
