"""Near neighbours farther apart than the overlap is wide: rows come from peers."""

import pytest
from support.processes import until

import qserv

VICTIM = "worker-2"
NEAR = "DISTANCE(a.ra, a.dec, b.ra, b.dec) < 2"
HAVERSINE = """2 * asin(least(1, sqrt(
    sin(radians(a.dec - b.dec) / 2) ** 2 + cos(radians(a.dec)) * cos(radians(b.dec))
    * sin(radians(a.ra - b.ra) / 2) ** 2))) < radians(2)"""
PAIRS = (
    "SELECT a.objectId, b.objectId AS other FROM sky.Object a JOIN sky.Object b ON "
    "{near} WHERE a.class = 3"
)
COUNTS = (
    "SELECT a.objectId, COUNT(b.objectId) AS n FROM sky.Object a LEFT JOIN "
    "sky.Object b ON {near} AND b.mag > 19 WHERE a.class = 3 GROUP BY a.objectId"
)


def rows(result):
    return sorted(tuple(row.values()) for row in result.to_arrow().to_pylist())


@pytest.mark.parametrize("batch_chunks", [0, 1])
@pytest.mark.parametrize("query", [PAIRS, COUNTS])
def test_pairs_wider_than_the_overlap_are_those_of_one_database(
    cluster, sky, query, batch_chunks
):
    asked = query.format(near=NEAR)
    assert "halo sky.Object" in cluster.explain(asked)
    right = sorted(sky.answer(query.format(near=HAVERSINE)))
    assert rows(cluster.query(asked, batch_chunks=batch_chunks)) == right


def test_a_worker_that_dies_while_it_is_read_takes_no_pair_with_it(sky, tmp_path):
    """Its chunks run elsewhere, and what it gave to others comes from elsewhere."""
    arguments = {VICTIM: ["--failpoint", "worker.task.data-sent"]}
    with qserv.LocalCluster(3, tmp_path, worker_arguments=arguments) as db:
        sky.load(db, replicas=2)
        arguments.clear()  # it starts again without
        before = db.cluster.processes[VICTIM]
        right = sorted(sky.answer(PAIRS.format(near=HAVERSINE)))
        result = db.query(PAIRS.format(near=NEAR), batch_chunks=1)
        assert rows(result) == right
        until(lambda: db.cluster.processes.get(VICTIM, before) != before)
