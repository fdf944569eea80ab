"""A local cluster watches its parts, and says what is wrong with them."""

import pytest
from support.processes import alive, until

import qserv
from qserv.errors import ClusterError, InvalidRequest
from qserv.local import part, read_endpoint

QUERY = "SELECT COUNT(*) AS n FROM sky.Source"


def test_a_part_that_dies_at_its_start_shows_the_end_of_its_log(tmp_path):
    arguments = {"worker-2": ["--threads", "0"]}
    cluster = qserv.LocalCluster(2, tmp_path, worker_arguments=arguments)
    with pytest.raises(ClusterError, match="worker-2 died at its start") as caught:
        cluster.start()
    assert "setting threads" in str(caught.value)
    assert cluster.processes == {}
    with pytest.raises(InvalidRequest, match="no cluster runs in"):
        read_endpoint(tmp_path)


def test_a_directory_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InvalidRequest, match="cannot make the directory"):
        qserv.LocalCluster(1, tmp_path / "file" / "data").start()


def test_what_an_earlier_start_logged_is_not_shown(tmp_path):
    for threads, other in (("0", "-1"), ("-1", "0")):
        arguments = {"worker-1": ["--threads", threads]}
        with pytest.raises(ClusterError, match=f"not {threads}") as caught:
            qserv.LocalCluster(1, tmp_path, worker_arguments=arguments).start()
        assert f"not {other}" not in str(caught.value)


def test_a_directory_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "lock").mkdir()  # root may write what is read-only
    with pytest.raises(InvalidRequest, match="cannot write in the directory"):
        qserv.LocalCluster(1, tmp_path).start()


def test_a_killed_cluster_is_none(tmp_path):
    with qserv.LocalCluster(1, tmp_path):
        endpoint = read_endpoint(tmp_path)
    (tmp_path / "endpoint").write_text(endpoint)
    with pytest.raises(InvalidRequest, match="no cluster runs in"):
        read_endpoint(tmp_path)


def test_a_part_that_is_not_ready_in_time_is_named(tmp_path):
    cluster = qserv.LocalCluster(1, tmp_path, deadline=0.01)
    with pytest.raises(ClusterError, match="czar did not get ready in time"):
        cluster.start()
    assert cluster.processes == {}


def test_a_dead_czar_comes_back_where_it_was(sky, tmp_path):
    with qserv.LocalCluster(2, tmp_path) as db:
        sky.load(db)
        endpoint = db.cluster.endpoint
        before = db.cluster.processes["czar"]
        db.cluster.kill("czar")
        until(lambda: db.cluster.processes.get("czar", before) != before)
        db.cluster.wait_whole()
        assert read_endpoint(tmp_path) == endpoint
        (row,) = db.query(QUERY).to_arrow().to_pylist()
        assert [tuple(row.values())] == sky.answer("SELECT COUNT(*) FROM sky.Source")


def test_a_part_that_keeps_dying_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(part, "_BACK_OFF", (0.0,))
    with qserv.LocalCluster(1, tmp_path) as db:
        first = db.cluster.processes["worker-1"]
        db.cluster.kill("worker-1")
        until(lambda: db.cluster.processes.get("worker-1", first) != first)
        db.cluster.kill("worker-1")
        with pytest.raises(ClusterError, match="not ready: worker-1"):
            db.cluster.wait_whole(1)


def test_without_restarting_the_dead_stay_dead(tmp_path):
    with qserv.LocalCluster(1, tmp_path, restart=False) as db:
        started = set(db.cluster.processes.values())
        db.cluster.kill("worker-1")
        assert set(db.cluster.processes) == {"czar"}
        with pytest.raises(InvalidRequest, match="there are czar, worker-1"):
            db.cluster.kill("worker-7")
    assert alive(started) == set()


def test_no_worker_with_data_is_left_out(tmp_path):
    for name in ("worker-1", "worker-2", "worker-3"):
        (tmp_path / name).mkdir()
    assert len(qserv.LocalCluster(directory=tmp_path).workers) == 3
    assert len(qserv.LocalCluster(4, tmp_path).workers) == 4
    with pytest.raises(InvalidRequest, match="start at least 3"):
        qserv.LocalCluster(2, tmp_path)
    with pytest.raises(InvalidRequest, match="start at least 1"):
        qserv.LocalCluster(0, tmp_path / "new")


def test_a_temporary_cluster_that_cannot_be_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(InvalidRequest, match="start at least 1"):
        qserv.LocalCluster(0)
    assert list(tmp_path.iterdir()) == []


def test_a_temporary_cluster_leaves_nothing():
    cluster = qserv.LocalCluster(1)
    with cluster as db:
        assert db.status().workers[0].alive
        assert cluster.directory.exists()
    assert not cluster.directory.exists()
