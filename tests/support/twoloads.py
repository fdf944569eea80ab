"""A release in two loads, and what every query answers before, between and after."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from support.skies import kdtree_pairs

SIDECAR = """\
tables:
  Object: {kind: director, key: objectId, position: [ra, dec]}
  Source: {kind: child, director: Object, key: objectId, id: sourceId}
  Filter: {kind: replicated}
"""
RADIUS = 0.01
"""Degrees within which neighbours are counted; the overlap is wider."""

COUNTS = {
    "Object": "SELECT COUNT(*) AS n, SUM(objectId) AS s FROM {}.Object",
    "Source": "SELECT COUNT(*) AS n, SUM(sourceId) AS s, SUM(flux) AS f FROM {}.Source",
    "Filter": "SELECT COUNT(*) AS n, SUM(filterId) AS s FROM {}.Filter",
    "both": """
        SELECT COUNT(*) AS n, SUM(o.objectId) AS o, SUM(s.sourceId) AS s
        FROM {0}.Object o JOIN {0}.Source s ON o.objectId = s.objectId
    """,
    "key": "SELECT objectId, mag FROM {}.Object WHERE objectId = 500",
    "id": "SELECT sourceId, objectId FROM {}.Source WHERE sourceId = 1500",
}
"""What is asked all the time: on all chunks, across tables, through both indexes."""

ROWS = {
    "Object": "SELECT objectId, ra, dec, mag FROM {}.Object",
    "Source": "SELECT sourceId, objectId, flux FROM {}.Source",
    "Filter": "SELECT filterId, band FROM {}.Filter",
}
PAIRS = f"""
    SELECT COUNT(*) AS n FROM {{0}}.Object a JOIN {{0}}.Object b
    ON DISTANCE(POINT(a.ra, a.dec), POINT(b.ra, b.dec)) <= {RADIUS}
    WHERE a.objectId < b.objectId
"""


@dataclass(frozen=True)
class TwoLoads:
    """The files of both loads, and one plain DuckDB that knows every state.

    Parameters
    ----------
    place
        Where the files lie.
    rows
        Table -> the rows of each load.
    leaf_rows
        That make the sky fall into few chunks, or more.
    replaces
        Whether the second load replaces the tables that it has files for.
    """

    place: Path
    rows: dict[str, list[pa.Table]]
    leaf_rows: int
    replaces: bool = False

    def arguments(self, release, load):
        """Return the words of ``qserv load`` for load 1 or 2."""
        loaded = [t for t in self.rows if len(self.rows[t]) >= load]
        return [
            *("load", release),
            *(f"{table}={self.place}/{table}{load}*.parquet" for table in loaded),
            *("--sidecar", self.place / "sidecar.yaml"),
            *("--replicas", 2, "--leaf-rows", self.leaf_rows, "--overlap", 60),
            *(["--replace"] if self.replaces and load == 2 else []),
        ]

    def there(self, table, state):
        """Return the rows of a table in a state."""
        parts = self.rows[table][:state]
        return pa.concat_tables(parts[-1:] if self.replaces else parts)

    @cached_property
    def plain(self):
        """One schema a state: s0 (empty), s1, s2."""
        plain = duckdb.connect()
        for state in (1, 2):
            plain.execute(f"CREATE SCHEMA s{state}")
            for table in self.rows:
                plain.register("arriving", self.there(table, state))
                plain.execute(f"CREATE TABLE s{state}.{table} AS FROM arriving")
                plain.unregister("arriving")
        return plain

    def states(self, release):
        """Return what is asked all the time, and its answers in each state."""
        return {
            query.format(release): (None, *(self.answer(query, s) for s in (1, 2)))
            for query in COUNTS.values()
        }

    def answer(self, query, state):
        """Return the rows of a query in a state, sorted."""
        return sorted(self.plain.execute(query.format(f"s{state}")).fetchall())

    def pairs(self, state):
        """Return how many neighbours there are in a state."""
        objects = self.there("Object", state)
        ra, dec = objects["ra"].to_numpy(), objects["dec"].to_numpy()
        return len(kdtree_pairs(ra, dec, RADIUS))


def two_loads(
    place: Path, seed: int = 7, leaf_rows: int = 120, *, replaces: bool = False
) -> TwoLoads:
    """Make them: a crowded field around a corner of four base pixels."""
    rng = np.random.default_rng(seed)
    objects = [_objects(rng, 1, 400), _objects(rng, 401, 200)]
    known = np.concatenate([part["objectId"].to_numpy() for part in objects])
    # Sources of the second load belong to objects of both, where both are there.
    then = known[400:] if replaces else known
    sources = [_sources(rng, 1, known[:400], 1000), _sources(rng, 1001, then, 700)]
    filters = pa.table(
        {"filterId": pa.array(range(6), pa.int16()), "band": list("ugrizy")}
    )
    rows = {"Object": objects, "Source": sources, "Filter": [filters]}
    made = TwoLoads(place, rows, leaf_rows, replaces)
    (place / "sidecar.yaml").write_text(SIDECAR)
    for table, parts in made.rows.items():
        for number, part in enumerate(parts, 1):
            middle = part.num_rows // 2
            pq.write_table(part[:middle], place / f"{table}{number}a.parquet")
            pq.write_table(part[middle:], place / f"{table}{number}b.parquet")
    return made


def _objects(rng, first, count):
    spread = np.where(rng.random(count) < 0.5, 0.02, 2.0)
    return pa.table(
        {
            "objectId": np.arange(first, first + count),
            "ra": 45 + rng.normal(0, 1, count) * spread,
            "dec": rng.normal(0, 1, count) * spread,
            "mag": rng.integers(0, 2**10, count) / 64,
        }
    )


def _sources(rng, first, objects, count):
    return pa.table(
        {
            "sourceId": np.arange(first, first + count),
            "objectId": rng.choice(objects, count),
            # Sums of such numbers are exact in any order.
            "flux": rng.integers(0, 2**20, count) / 1024,
        }
    )
