"""Skies whose tables are read again: their files, and what plain DuckDB says."""

import os
import subprocess
import sys

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from support.skies import kdtree_pairs
from support.storedrows import own_rows
from support.survey import survey

from qserv.catalog.tables import Column, DataType, Table, TableKind

RADIUS = 0.01
NEAR = f"""SELECT COUNT(*) AS n FROM {{0}}.Object a JOIN {{0}}.Object b
ON DISTANCE(POINT(a.ra, a.dec), POINT(b.ra, b.dec)) <= {RADIUS}
WHERE a.objectId < b.objectId"""
QUERIES = (
    "SELECT COUNT(*), MIN(mag), MAX(mag), MIN(ra), MAX(dec) FROM {}.Object",
    "SELECT COUNT(*), COUNT(flux), MIN(mjd), MAX(mjd) FROM {}.Source",
    """SELECT COUNT(*), MIN(s.sourceId), MAX(s.sourceId), SUM(o.objectId)
    FROM {0}.Object o JOIN {0}.Source s ON o.objectId = s.objectId""",
    """SELECT COUNT(*), SUM(s.sourceId) FROM {0}.Source s JOIN {0}.Visit v
    ON s.visit = v.visit JOIN {0}.Filter f ON f.filterId = v.filterId""",
    "SELECT COUNT(*), SUM(visit) FROM {}.ForcedSource WHERE objectId = {key}",
    "SELECT ra, dec, name FROM {}.Object WHERE objectId = {key}",
)
"""With answers that no order of addition changes."""

STRAY = Table(
    "Stray",
    TableKind.CHILD,
    (
        Column("strayId", DataType.VARCHAR, nullable=False),
        Column("objectId", DataType.BIGINT),
        Column("ra", DataType.DOUBLE),
        Column("dec", DataType.DOUBLE),
        Column("x", DataType.REAL),
    ),
    key="objectId",
    director="Object",
    position=("ra", "dec"),
    id="strayId",
    orphans=True,
)
OBJECT = Table(
    "Object",
    TableKind.DIRECTOR,
    (
        Column("objectId", DataType.BIGINT, nullable=False),
        Column("ra", DataType.DOUBLE),
        Column("dec", DataType.DOUBLE),
        Column("mag", DataType.REAL),
    ),
    key="objectId",
    position=("ra", "dec"),
)
EVENT = Table(
    "Event",
    TableKind.CHILD,
    (
        Column("eventId", DataType.BIGINT, nullable=False),
        Column("objectId", DataType.BIGINT),
    ),
    key="objectId",
    director="Object",
    id="eventId",
)


class Sky:
    """One survey in several releases, and one plain DuckDB that has its rows."""

    def __init__(self, db, place):
        self.db, self.place = db, place
        self.survey = survey(seed=17, objects=450)
        self.plain = duckdb.connect()
        self.plain.execute("CREATE SCHEMA sky")
        self.files = {}
        for name, rows in self.survey.rows.items():
            self.files[name] = place / f"{name}.parquet"
            pq.write_table(rows, self.files[name])
            self.plain.register("arriving", rows)
            nulled = [_nulled(field) for field in rows.schema]
            self.plain.execute(
                f"CREATE TABLE sky.{name} AS SELECT {', '.join(nulled)} FROM arriving"
            )
        objects = self.survey.rows["Object"]
        self.key = objects["objectId"][0].as_py()
        ra, dec = (objects[name].to_numpy() for name in ("ra", "dec"))
        self.near = len(kdtree_pairs(ra, dec, RADIUS))

    def load(self, release):
        tables = tuple(self.survey.tables.values())
        return self.db.load(release, self.files, schema=tables, leaf_rows=60)

    def check(self, release, **how):
        """Assert that a release answers as plain DuckDB does."""
        for query in QUERIES:
            asked = query.format(release, key=self.key)
            wanted = query.format("sky", key=self.key)
            assert self.rows(asked, **how) == self.plain.execute(wanted).fetchall()
        assert self.rows(NEAR.format(release), **how) == [(self.near,)]

    def rows(self, query, **how):
        found = self.db.query(query, **how).to_arrow()
        return list(zip(*(c.to_pylist() for c in found.columns), strict=True))

    def own(self, name):
        return own_rows(self.db, name, self.place)


def _nulled(field):
    name = f'"{field.name}"'
    if pa.types.is_floating(field.type):
        return f"CASE WHEN NOT isnan({name}) THEN {name} END AS {name}"
    return name


def strays(path, first, keys, ra, dec):
    rows = {
        "strayId": [f"s{first + i}" if i else "" for i in range(len(keys))],
        "objectId": pa.array(keys, pa.int64()),
        "ra": ra,
        "dec": dec,
        "x": pa.array([None, -0.0, 0.0, 1e-40][: len(keys)], pa.float32()),
    }
    pq.write_table(pa.table(rows), path)
    return path


def cli(sky, *words, failpoint=""):
    return subprocess.run(
        [sys.executable, "-m", "qserv.cli.main", *words, "--czar", sky.db.endpoint],
        env=os.environ | {"QSERV_FAILPOINT": failpoint, "TMPDIR": str(sky.place)},
        check=False,
        capture_output=True,
        text=True,
    )


NIGHTS = (
    "SELECT COUNT(*), MIN(ra), MAX(ra), MIN(mag), MAX(mag) FROM {}.Object",
    "SELECT objectId, ra, dec, mag FROM {}.Object WHERE objectId IN (5, 405, 10777)",
    "SELECT COUNT(*), SUM(objectId) FROM {}.Object WHERE ra < 10 OR ra > 350",
)


def night(path, number, *, ids=None, moved=0.0, dec=None):
    """Write a file of objects around RA 0, a pole and elsewhere; return its rows."""
    rng = np.random.default_rng(number)
    ids = np.arange(200) + 200 * number if ids is None else np.array(ids)
    ra = np.concatenate([rng.normal(0, 0.01, 100), rng.uniform(0, 360, len(ids) - 100)])
    tilt = np.concatenate([rng.normal(0, 0.01, 100), 90 - rng.random(len(ids) - 100)])
    rows = pa.table(
        {
            "objectId": ids,
            "ra": (ra + moved) % 360,
            "dec": tilt if dec is None else np.full(len(ids), dec),
            "mag": rng.normal(20, 1, len(ids)).astype(np.float32),
        }
    )
    pq.write_table(rows, path)
    return rows


def same_nights(sky, release, nights, **how):
    """Assert that a release has the rows of some files, and answers as they say."""
    plain = duckdb.connect()
    plain.register("arriving", pa.concat_tables(nights))
    plain.execute("CREATE SCHEMA n; CREATE TABLE n.Object AS SELECT * FROM arriving")
    for query in NIGHTS:
        wanted = sorted(plain.execute(query.format("n")).fetchall())
        assert sorted(sky.rows(query.format(release), **how)) == wanted
    every = pa.concat_tables(nights)
    near = kdtree_pairs(every["ra"].to_numpy(), every["dec"].to_numpy(), RADIUS)
    assert sky.rows(NEAR.format(release), **how) == [(len(near),)]
