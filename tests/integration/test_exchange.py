"""Rows that move between workers by hash; a worker that dies of it costs no row."""

import os
from contextlib import contextmanager

import pytest
from support.processes import until

import qserv

JOINED = (
    "SELECT s.sourceId, f.objectId FROM sky.Source s JOIN sky.ForcedSource f "
    "ON s.visit = f.visit WHERE MOD(s.objectId, 25) = 1"
)
COUNTED = (
    "SELECT s.visit, COUNT(*) AS n FROM sky.Source s JOIN sky.ForcedSource f "
    "ON s.visit = f.visit GROUP BY s.visit"
)
VICTIM = "worker-2"


@pytest.fixture(scope="module", autouse=True)
def _small():
    """Let so little travel with a task that joins exchange their rows by hash."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QSERV_BROADCAST_MEMORY", "1KiB")
        yield


@contextmanager
def two_copies(sky, place, arguments=None):
    """Start workers as they are told, and load two copies of each chunk."""
    with qserv.LocalCluster(3, place, worker_arguments=arguments) as db:
        sky.load(db, replicas=2)
        yield db


@pytest.fixture(scope="module")
def cluster(sky, tmp_path_factory):
    with two_copies(sky, tmp_path_factory.mktemp("exchange")) as db:
        yield db


def rows(result):
    return sorted(tuple(row.values()) for row in result.to_arrow().to_pylist())


def kept(db):
    """Return the files that workers keep for queries; what goes meanwhile is gone."""
    spools = db.cluster.directory.glob("*/spool")
    return [
        name for spool in spools for _, _, names in os.walk(spool) for name in names
    ]


@pytest.mark.parametrize("query", [JOINED, COUNTED])
@pytest.mark.parametrize("batch_chunks", [0, 1])
def test_two_large_sides_are_joined_by_hash(cluster, sky, query, batch_chunks):
    assert "by hash of" in cluster.explain(query)
    found = rows(cluster.query(query, batch_chunks=batch_chunks))
    assert found == sorted(sky.answer(query))
    until(lambda: not kept(cluster))


def test_a_worker_that_dies_while_it_spools_takes_nothing_with_it(sky, tmp_path):
    arguments = {VICTIM: ["--failpoint", "worker.task.batch-sent"]}
    with two_copies(sky, tmp_path, arguments) as db:
        arguments.clear()  # it starts again without
        before = db.cluster.processes[VICTIM]
        assert rows(db.query(COUNTED, batch_chunks=1)) == sorted(sky.answer(COUNTED))
        until(lambda: db.cluster.processes.get(VICTIM, before) != before)


def test_a_worker_that_dies_while_others_read_takes_nothing_with_it(sky, tmp_path):
    with two_copies(sky, tmp_path) as db:
        found = []
        for batch in db.query(JOINED, batch_chunks=1):
            if not found:
                db.cluster.kill(VICTIM)
            found += [tuple(row.values()) for row in batch.to_pylist()]
    assert sorted(found) == sorted(sky.answer(JOINED))
