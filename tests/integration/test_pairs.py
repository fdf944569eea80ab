"""Pairs of two directors and ids of children, loaded by files and asked by SQL."""

import re
from itertools import count

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import qserv
from qserv.errors import BadContribution

OVERLAP = 1.0
SIDECAR = """
tables:
  Object: {kind: director, key: objectId, position: [ra, dec]}
  RefObject: {kind: director, key: refObjectId, position: [ra, dec]}
  Source: {kind: child, director: Object, key: objectId, id: sourceId}
  RefObjMatch:
    kind: ref-match
    key: objectId
    director: Object
    second_key: refObjectId
    second_director: RefObject
"""


@pytest.fixture(scope="module")
def rows():
    """Return tables whose pairs lie up to an overlap apart, some with one side only."""
    rng = np.random.default_rng(8)
    n = 3000
    ra, dec = rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-0.98, 0.98, n)))
    ids, refs = rng.permutation(n) * 3, rng.permutation(n) + 10**12
    alone = rng.integers(0, 6, n)
    sources = rng.integers(0, n, 2 * n)
    return {
        "Object": pa.table({"objectId": ids, "ra": ra, "dec": dec}),
        "RefObject": pa.table(
            {
                "refObjectId": refs,
                "ra": ra,
                "dec": dec + rng.uniform(-OVERLAP, OVERLAP, n),
            }
        ),
        "Source": pa.table(
            {"sourceId": rng.permutation(2 * n) * 7, "objectId": ids[sources]}
        ),
        "RefObjMatch": pa.table(
            {
                "objectId": pa.array(ids, mask=alone == 0),
                "refObjectId": pa.array(refs, mask=alone == 1),
                "n": np.arange(n),
            }
        ),
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("pairs")


@pytest.fixture(scope="module")
def load(place):
    """Write rows to files and load them as the sidecar says."""
    sidecar, numbers = place / "dr1.sidecar.yaml", count()
    sidecar.write_text(SIDECAR)

    def load(db, tables, **how):
        files = {name: place / f"{name}{next(numbers)}.parquet" for name in tables}
        for name, file in files.items():
            pq.write_table(tables[name], file)
        return db.load("dr1", files, sidecar=sidecar, **how)

    return load


@pytest.fixture(scope="module")
def db(rows, place, load):
    """Load a third of the pairs with both directors, with one of them, with none."""
    third = rows["RefObjMatch"].num_rows // 3
    parts = [rows["RefObjMatch"].slice(i * third, third) for i in range(3)]
    early = np.isin(
        rows["RefObject"]["refObjectId"], parts[0]["refObjectId"].drop_null()
    )
    refs = [rows["RefObject"].filter(pa.array(which)) for which in (early, ~early)]
    with qserv.LocalCluster(3, place / "cluster") as db:
        sources = rows["Source"].slice(0, third), rows["Source"].slice(third)
        first = {"RefObject": refs[0], "RefObjMatch": parts[0], "Source": sources[0]}
        load(db, rows | first, leaf_rows=30, overlap=OVERLAP)
        load(db, {"RefObjMatch": parts[1], "RefObject": refs[1]})
        load(db, {"RefObjMatch": parts[2], "Source": sources[1]})
        yield db


@pytest.fixture(scope="module")
def plain(rows):
    connection = duckdb.connect()
    connection.execute("CREATE SCHEMA dr1")
    for name, table in rows.items():
        connection.register("arriving", table)
        connection.execute(f"CREATE TABLE dr1.{name} AS SELECT * FROM arriving")
    return connection


PAIRED = "dr1.Object o JOIN dr1.RefObjMatch m ON o.objectId = m.objectId"
BOTH = f"{PAIRED} JOIN dr1.RefObject r ON r.refObjectId = m.refObjectId"
EITHER = (
    "dr1.RefObjMatch m LEFT JOIN dr1.Object o ON o.objectId = m.objectId "
    "LEFT JOIN dr1.RefObject r ON r.refObjectId = m.refObjectId"
)


SECOND = "dr1.RefObjMatch m JOIN dr1.RefObject r ON r.refObjectId = m.refObjectId"
SEEN = f"{BOTH} JOIN dr1.Source s ON s.objectId = o.objectId"


@pytest.mark.parametrize(
    "query",
    [
        "SELECT COUNT(*), COUNT(objectId), COUNT(refObjectId) FROM dr1.RefObjMatch",
        f"SELECT o.objectId, r.refObjectId, m.n, r.dec - o.dec FROM {BOTH}",
        f"SELECT o.objectId, r.refObjectId, m.n FROM {EITHER}",
        f"SELECT COUNT(*), COUNT(r.refObjectId) FROM {BOTH} WHERE r.dec > 20",
        f"SELECT m.n, r.refObjectId FROM {SECOND}",
        f"SELECT s.sourceId, r.refObjectId FROM {SEEN}",
    ],
)
def test_pairs_join_both_their_directors(db, plain, query):
    expected = plain.execute(query).fetchall()
    found = [tuple(row.values()) for row in db.query(query).to_arrow().to_pylist()]
    assert sorted(found, key=repr) == sorted(expected, key=repr)
    assert found


def test_many_pairs_cross_the_borders_of_chunks(db):
    """Else the others would prove nothing."""
    far = f"SELECT COUNT(*) AS n FROM {BOTH} WHERE o.chunkId <> r.chunkId"
    assert db.query(far).to_arrow()["n"][0].as_py() > 50


@pytest.mark.parametrize(
    "condition",
    ["s.sourceId = 700", "s.sourceId IN (700)", "s.sourceId BETWEEN 700 AND 706"],
)
def test_the_id_of_a_child_leads_to_its_chunk(db, plain, condition):
    query = (
        "SELECT s.objectId, o.ra FROM dr1.Source s "
        f"JOIN dr1.Object o ON o.objectId = s.objectId WHERE {condition}"
    )
    found = [tuple(row.values()) for row in db.query(query).to_arrow().to_pylist()]
    assert found == plain.execute(query).fetchall()
    assert len(found) == 1
    assert chunks_read(db, query) == 1


def test_an_id_that_no_row_has_reads_next_to_nothing(db):
    query = "SELECT objectId FROM dr1.Source WHERE sourceId = 701"
    assert db.query(query).to_arrow().num_rows == 0
    assert chunks_read(db, query) <= 1


def test_a_director_key_leads_to_the_chunk_of_its_pairs(db, plain):
    query = f"SELECT m.n, r.dec FROM {BOTH} WHERE m.objectId = 300"
    found = [tuple(row.values()) for row in db.query(query).to_arrow().to_pylist()]
    assert found == plain.execute(query).fetchall()
    assert len(found) == 1
    assert chunks_read(db, query) == 1


def chunks_read(db, query):
    told = db.explain(query, analyze=True)
    return int(re.search(r"(\d+) of \d+ chunks in \d+ task", told)[1])


BAD = {
    "far": (
        {"objectId": [300], "refObjectId": ["far"]},
        "lies farther from its Object",
    ),
    "nothing": ({"objectId": [None], "refObjectId": [None]}, "both it and refObjectId"),
    "no object": ({"objectId": [1], "refObjectId": [None]}, "1 is not in Object"),
    "no reference": ({"objectId": [None], "refObjectId": [1]}, "1 is not in RefObject"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_pairs_leave_the_tables_as_they_were(db, load, rows, case):
    values, message = BAD[case]
    if values["refObjectId"] == ["far"]:
        values = values | {"refObjectId": [farthest(rows, 300)]}
    everything = "SELECT COUNT(*) AS n, SUM(n) AS s FROM dr1.RefObjMatch"
    before = db.query(everything).to_arrow()
    # A good row before the bad one: all of it is refused.
    good = {"objectId": [300], "refObjectId": [None]}
    table = {n: pa.array(good[n] + values[n], pa.int64()) for n in good}
    pairs = pa.table(table | {"n": [1, 2]})
    with pytest.raises(BadContribution, match=rf"parquet, row 2, column .*{message}"):
        load(db, {"RefObjMatch": pairs})
    assert db.query(everything).to_arrow() == before


def farthest(rows, key):
    objects = rows["Object"].to_pydict()
    away = abs(rows["RefObject"]["ra"].to_numpy() - 180)
    here = objects["ra"][objects["objectId"].index(key)]
    there = np.argmin(away) if abs(here - 180) > 90 else np.argmax(away)
    return rows["RefObject"]["refObjectId"][int(there)].as_py()


def test_an_id_is_loaded_once(db, load):
    again = pa.table({"sourceId": [700], "objectId": [300]})
    with pytest.raises(BadContribution, match="700 is in the release already"):
        load(db, {"Source": again})
