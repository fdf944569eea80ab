"""Least and greatest values of real loads, asked without reading a chunk."""

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import qserv

SIDECAR = """
tables:
  Object: {kind: director, key: objectId, position: [ra, dec]}
  Visit: {kind: replicated}
"""
TEXT = (
    "SELECT COUNT(*) AS n, MIN(objectId) AS a, MAX(objectId) AS b, MIN(ra) AS c, "
    "MAX(ra) AS d, MIN(mag) AS e, MAX(mag) AS f, MIN(none) AS g, MAX(seen) AS h, "
    "MIN(seen) AS i, MAX(flux) - MIN(flux) AS j FROM {}Object"
)


def objects(seed: int, first: int) -> pa.Table:
    """Return objects with keys beyond the whole numbers of a double, NaN and NULL."""
    rng = np.random.default_rng(seed)
    n = 500
    mag = rng.normal(20, 3, n).astype(np.float32)
    seen = rng.integers(0, 2 * 10**15, n)
    return pa.table(
        {
            "objectId": 2**60 + first + 2 * np.arange(n) + 1,
            "ra": rng.uniform(-180, 180, n),
            "dec": rng.uniform(-90, 90, n),
            "mag": np.where(rng.random(n) < 0.1, np.float32(np.nan), mag),
            "flux": pa.array(rng.normal(0, 1e3, n), mask=rng.random(n) < 0.1),
            "none": pa.nulls(n, pa.int32()),
            "seen": pa.array(seen, pa.timestamp("us"), mask=rng.random(n) < 0.1),
        }
    )


@pytest.fixture(scope="module")
def db(tmp_path_factory):
    place = tmp_path_factory.mktemp("bounds")
    (place / "t.sidecar.yaml").write_text(SIDECAR)
    with qserv.LocalCluster(2, place / "cluster") as db:
        for number in range(2):
            file = place / f"objects{number}.parquet"
            pq.write_table(objects(number, 10**4 * number), file)
            db.load("t", {"Object": file}, sidecar=place / "t.sidecar.yaml")
        yield db


def test_they_are_those_of_the_rows_after_every_load(db):
    assert "answered   from the manifests: no chunk is read" in db.explain(
        TEXT.format("t.")
    )
    (found,) = db.query(TEXT.format("t.")).to_arrow().to_pylist()
    rows = pa.concat_tables([objects(0, 0), objects(1, 10**4)])
    plain = (
        "SELECT * REPLACE (CASE WHEN ra < 0 THEN ra + 360 ELSE ra END AS ra, "
        "CASE WHEN NOT isnan(mag) THEN mag END AS mag) FROM rows"
    )
    connection = duckdb.connect()
    connection.register("rows", rows)
    connection.execute(f"CREATE TABLE Object AS {plain}")
    (wanted,) = connection.sql(TEXT.format("")).to_arrow_table().to_pylist()
    assert found == wanted
    assert found["a"] == 2**60 + 1


def test_rows_say_the_same(db):
    """What is known is what a scan finds: HAVING makes one of the same query."""
    scanned = f"{TEXT.format('t.')} HAVING COUNT(*) > 0"
    assert "from the manifests" not in db.explain(scanned)
    answers = [db.query(text).to_arrow() for text in (TEXT.format("t."), scanned)]
    assert answers[0].to_pylist() == answers[1].to_pylist()
    assert answers[0].schema.types == answers[1].schema.types
