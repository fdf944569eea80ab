"""Rows that are kept without a director are found, wherever they were measured."""

from dataclasses import replace

import numpy as np
import pytest
from support.chunks import Chunks
from support.loads import OBJECT, SOURCE, data
from support.oracle import Oracle, same
from support.survey import Survey

from qserv.plan import keys
from qserv.plan.planner import plan
from qserv.plan.query import Relation
from qserv.sky.chunking import ChunkTree

QUERIES = [
    "SELECT COUNT(*) AS n FROM t.Source",
    "SELECT sourceId FROM t.Source WHERE objectId = 77",
    "SELECT sourceId FROM t.Source WHERE objectId IN (1, 77, 78)",
    "SELECT objectId, COUNT(*) AS n FROM t.Source GROUP BY objectId",
    "SELECT DISTINCT objectId FROM t.Source",
    (
        "SELECT a.sourceId, b.sourceId AS other FROM t.Source a JOIN t.Source b "
        "ON a.objectId = b.objectId"
    ),
    (
        "SELECT s.sourceId, o.mag FROM t.Source s LEFT JOIN t.Object o "
        "ON s.objectId = o.objectId"
    ),
    (
        "SELECT o.objectId, COUNT(s.sourceId) AS n FROM t.Object o "
        "LEFT JOIN t.Source s ON s.objectId = o.objectId GROUP BY o.objectId"
    ),
    (
        "SELECT sourceId, RANK() OVER (PARTITION BY objectId ORDER BY sourceId) AS r "
        "FROM t.Source"
    ),
    (
        "SELECT s.sourceId FROM t.Source s WHERE NOT EXISTS (SELECT 1 FROM t.Object o "
        "WHERE o.objectId = s.objectId)"
    ),
    (
        "SELECT sourceId FROM t.Source WHERE CONTAINS(POINT(ra, dec), "
        "CIRCLE(200, -40, 5)) = 1"
    ),
]


@pytest.fixture(scope="module")
def chunks():
    rng = np.random.default_rng(8)
    ids = np.arange(1, 41)
    ra, dec = rng.uniform(0, 360, 40), rng.uniform(-80, 80, 40)
    objects = data(OBJECT, objectId=ids, ra=ra, dec=dec)
    key = [
        *rng.integers(1, 41, 60).tolist(),
        *([77] * 20),
        *([78] * 10),
        *([None] * 10),
    ]
    at = np.array([k - 1 if k is not None and k <= 40 else -1 for k in key])
    own = rng.uniform(0, 360, 100), rng.uniform(-80, 80, 100)
    sources = data(
        SOURCE,
        objectId=key,
        ra=np.where(at >= 0, ra[at], own[0]),
        dec=np.where(at >= 0, dec[at], own[1]),
    )
    tables = {"Object": OBJECT, "Source": replace(SOURCE, orphans=True)}
    made = Survey({"Object": objects, "Source": sources}, tables)
    return Chunks(made, tree=ChunkTree.uniform(2)), Oracle({"t": made.rows})


def right(world, text):
    chunks, oracle = world
    made, expected = plan(text, chunks.snapshot), oracle.answer(text, chunks.snapshot)
    for batch in (1, 10**6):
        same(chunks.run(made, batch), expected, in_order=False)


@pytest.mark.parametrize("text", QUERIES)
def test_every_row_counts(chunks, text):
    right(chunks, text)


def test_by_the_key_of_a_missing_director_rows_would_be_lost(chunks, monkeypatch):
    """The guarantee, switched off: the key is taken for where rows live."""

    def key(relation):
        table = None if relation.stored is None else relation.stored.table
        if table is None or table.key is None:
            return None
        return keys.ColumnRef(relation.number, table.column(table.key))

    monkeypatch.setattr(Relation, "key", property(key))
    wrong = 0
    for text in QUERIES:
        try:
            right(chunks, text)
        except AssertionError:
            wrong += 1
    assert wrong >= 3
