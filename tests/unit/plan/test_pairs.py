"""Pairs join both their directors inside of chunks, and lose or double nothing."""

import numpy as np
import pytest
from support.chunks import Chunks, without_pruning
from support.oracle import Oracle, same
from support.pairs import paired
from support.stages import strategies

from qserv.ingest import partition
from qserv.plan.planner import plan


@pytest.fixture(scope="module")
def rows():
    return paired()


@pytest.fixture(scope="module")
def chunks(rows):
    return Chunks(rows, leaf_rows=20)


@pytest.fixture(scope="module")
def oracle(rows):
    return Oracle({"t": rows.rows})


LOCAL = """
SELECT COUNT(*) AS n, COUNT(objectId) AS o, COUNT(refId) AS r FROM Match

SELECT o.objectId, r.refId, m.score FROM Object o
JOIN Match m ON m.objectId = o.objectId JOIN RefObject r ON r.refId = m.refId

SELECT o.objectId, COUNT(*) AS n, SUM(m.score) AS s FROM Object o
JOIN Match m ON m.objectId = o.objectId GROUP BY o.objectId

SELECT r.refId, COUNT(*) AS n FROM RefObject r
JOIN Match m ON m.refId = r.refId GROUP BY r.refId

SELECT m.objectId, m.refId, o.mag, r.dec FROM Match m
LEFT JOIN Object o ON o.objectId = m.objectId
LEFT JOIN RefObject r ON r.refId = m.refId

SELECT r.refId, o.objectId FROM RefObject r
LEFT JOIN Match m ON m.refId = r.refId
LEFT JOIN Object o ON o.objectId = m.objectId

SELECT r.refId, m.objectId FROM RefObject r FULL JOIN Match m ON m.refId = r.refId

SELECT a.objectId, b.objectId AS other FROM Object a
JOIN Neighbour n ON n.objectId = a.objectId
JOIN Object b ON b.objectId = n.otherId WHERE a.mag < b.mag

SELECT s.sourceId, r.refId FROM Source s
JOIN Match m ON m.objectId = s.objectId JOIN RefObject r ON r.refId = m.refId

SELECT r.refId FROM RefObject r
WHERE NOT EXISTS (SELECT 1 FROM Match m WHERE m.refId = r.refId)

SELECT m.objectId, r.refId FROM Match m JOIN RefObject r ON r.refId = m.refId
WHERE DISTANCE(POINT(r.ra, r.dec), POINT(45, 0)) < 0.01

SELECT o.objectId FROM Object o JOIN Match m ON m.objectId = o.objectId
WHERE m.refId IN (6, 11)
""".strip().split("\n\n")


def check(query, chunks, oracle):
    made = plan(query, chunks.snapshot, default_release="t")
    expected = oracle.answer(query, chunks.snapshot, "t")
    assert expected.num_rows
    for found in (
        chunks.run(made, 1),
        chunks.run(made),
        chunks.run(without_pruning(made)),
    ):
        same(found, expected, in_order=False)
    return made


@pytest.mark.parametrize("query", LOCAL)
def test_pairs_join_their_directors_locally(query, chunks, oracle):
    assert strategies(check(query, chunks, oracle)) == ["local"]


def test_pairs_of_pairs_meet_too(chunks, oracle):
    """Two objects of one of reference may have their homes two overlaps apart."""
    check(
        "SELECT m.objectId, n.objectId AS other FROM Match m "
        "JOIN Match n ON n.refId = m.refId",
        chunks,
        oracle,
    )


@pytest.mark.parametrize(
    ("condition", "most"), [("s.sourceId = 14", 1), ("s.sourceId IN (14, 21, 28)", 3)]
)
def test_ids_of_children_lead_to_few_chunks(condition, most, chunks, oracle):
    query = (
        "SELECT s.flux, o.mag FROM Source s "
        f"JOIN Object o ON o.objectId = s.objectId WHERE {condition}"
    )
    made = check(query, chunks, oracle)
    assert len(chunks.routes(made)[0].chunks) <= most


def test_without_copies_beside_the_second_pairs_would_be_lost(
    rows, oracle, monkeypatch
):
    """The guarantee, switched off."""
    hosts = partition._hosts

    def without_pairs(located, tree, radius):
        which, beside = hosts(located, tree, radius)
        keep = np.full(len(which), located.seconds is None)
        return which[keep], beside[keep]

    monkeypatch.setattr(partition, "_hosts", without_pairs)
    with pytest.raises(AssertionError):
        check(LOCAL[3], Chunks(rows, 20), oracle)
