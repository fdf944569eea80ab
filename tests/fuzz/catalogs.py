"""Random catalogs with everything that goes wrong in catalogs, from a seed.

Three releases: `t` and `v` share a family, `u` has a tree of its own. The same rows lie
in three worlds whose trees have 12, about 60 and about 400 leaves, and whole in the
oracle. Floats are multiples of 1/8, so that their sums are exact in any order, but for
`jd`, whose squares are not: it tells a stable variance from sums of squares.
"""

import math
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from fuzz.nodes import Table as Stored
from fuzz.schemas import TABLES, domain_of, offered
from support.chunks import Chunks
from support.skies import base_borders, leaf_borders, mixed_tree, positions
from support.survey import Survey

from qserv.catalog.tables import Table
from qserv.sky import sqlfunctions
from qserv.sky.chunking import deepest_order
from qserv.sky.healpix import ORDER

TREES = (12, 60, 400)
_WORDS = ["o'Brien", 'quo"te', "", "100%", "a_b", "Δ Cep", None, "star", "STAR"]


_VECTOR = ", qserv_x(ra, dec) AS _x, qserv_y(ra, dec) AS _y, qserv_z(dec) AS _z"
"""Worked out once: the oracle does not see what the product stores."""


@dataclass
class Catalog:
    """The rows in their worlds, and what a generator must know of them."""

    seed: int
    overlap: float
    worlds: dict[int, Chunks]
    oracle: duckdb.DuckDBPyConnection
    """One plain DuckDB that holds all rows."""
    tables: dict[str, Stored]
    samples: dict[str, list]
    """Domain -> values of it."""


def catalog(seed: int) -> Catalog:
    """Make a catalog from a seed."""
    rng = np.random.default_rng(seed)
    overlap = float(rng.choice([30 / 3600, 60 / 3600, 0.05, 0.3]))
    deepest = min(deepest_order(overlap), 8)
    trees = {n: mixed_tree(n, seed + n, deepest) for n in TREES}
    surveys = _surveys(rng, overlap, trees)
    worlds = {}
    for leaves, others in zip(TREES, (60, 12, 60), strict=True):
        world = Chunks(surveys["t"], release="t", overlap=overlap, tree=trees[leaves])
        world.add(surveys["v"], release="v", family="t")
        world.add(surveys["u"], release="u", overlap=overlap, tree=trees[others])
        worlds[leaves] = world
    oracle = _oracle(surveys, worlds)
    return Catalog(seed, overlap, worlds, oracle, offered(), _samples(surveys))


def _oracle(surveys, worlds: dict[int, Chunks]) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"threads": 1})
    sqlfunctions.install(connection)
    for release, survey in surveys.items():
        connection.execute(f'CREATE SCHEMA "{release}"')
        for name, rows in survey.rows.items():
            plain = _without_nan(rows)
            if survey.tables[name].partitioned:
                plain = _with_chunks(plain, survey.tables[name], release, worlds)
            connection.register("arriving", plain)
            more = _VECTOR if "ra" in rows.column_names else ""
            connection.execute(
                f'CREATE TABLE "{release}"."{name}" AS SELECT *{more} FROM arriving'
            )
            connection.unregister("arriving")
    return connection


def _with_chunks(rows, table: Table, release: str, worlds: dict[int, Chunks]):
    """Add what the pseudo-columns are in each world."""
    for leaves, world in worlds.items():
        index = world._indexes[release, table.director or table.name]
        homes = index.locate(rows[table.key].combine_chunks())
        chunks = world.snapshot.family(release).tree.locate(homes)
        rows = rows.append_column(f"_chunk{leaves}", pa.array(chunks))
    return rows.append_column("_cell", pa.array(homes >> 2 * (ORDER - 12)))


def _without_nan(rows: pa.Table) -> pa.Table:
    for i, field in enumerate(rows.schema):
        if pa.types.is_floating(field.type):
            values = rows.column(i)
            kept = pc.if_else(pc.is_nan(values), pa.scalar(None, field.type), values)
            rows = rows.set_column(i, field, kept)
    return rows


def _surveys(rng, overlap, trees) -> dict[str, Survey]:
    lon, lat = _places(rng, int(rng.integers(40, 160)), overlap, trees)
    others = rng.choice(len(lon), int(rng.integers(20, 80)))
    stars = rng.choice(len(lon), int(rng.integers(20, 80)))
    gal_lon, gal_lat = _shaken(rng, lon[others], lat[others], overlap * 0.3)
    star_lon, star_lat = _shaken(rng, lon[stars], lat[stars], overlap * 0.5)
    rows = {
        "t": _object_rows(rng, lon, lat),
        "v": _galaxy_rows(rng, gal_lon, gal_lat),
        "u": _star_rows(rng, star_lon, star_lat),
    }
    refined = _shaken(rng, gal_lon, gal_lat, overlap * rng.choice([0.1, 2.0]))
    return {
        name: Survey(
            {t.name: rows[name][t.name] for t in TABLES[name]},
            {t.name: t for t in TABLES[name]},
            {"Galaxy": refined} if name == "v" else {},
        )
        for name in TABLES
    }


def _places(rng, count, overlap, trees):
    """Clumps about base borders, leaves' borders, poles, RA 0 and anywhere."""
    uniform = rng.normal(size=(6, 3))
    uniform /= np.linalg.norm(uniform, axis=1, keepdims=True)
    seam = np.column_stack([np.cos(t := rng.uniform(-1, 1, 3)), 0 * t, np.sin(t)])
    centers = np.concatenate(
        [
            base_borders(rng, 24)[rng.permutation(24)[:6]],
            np.array([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]),
            *(leaf_borders(rng, tree, 3) for tree in trees.values()),
            uniform,
            seam,
        ]
    )
    lon, lat = positions(centers)
    more = rng.choice(len(lon), count)
    spread = overlap * rng.choice([0.0, 0.3, 1.5], count, p=[0.15, 0.6, 0.25])
    near = _shaken(rng, lon[more], lat[more], spread)
    return np.concatenate([lon, near[0]]), np.concatenate([lat, near[1]])


def _shaken(rng, lon, lat, reach):
    """Move positions by about `reach` degrees in any direction, poles included."""
    lon_r, lat_r = np.radians(lon), np.radians(lat)
    place = np.column_stack(
        [np.cos(lat_r) * np.cos(lon_r), np.cos(lat_r) * np.sin(lon_r), np.sin(lat_r)]
    )
    away = (
        rng.normal(size=place.shape)
        * np.radians(np.broadcast_to(reach, len(lon)))[:, None]
    )
    moved = place + away
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    new_lon, new_lat = positions(moved)
    still = np.broadcast_to(reach, len(lon)) == 0
    return np.where(still, lon, new_lon), np.where(still, lat, new_lat)


def _eighths(rng, n, low, high, *, nulls=0.15, nan=0.0, dtype=np.float64):
    values = rng.integers(low * 8, high * 8, n) / 8
    values = np.where(rng.random(n) < nan, np.nan, values).astype(dtype)
    return pa.array(values, mask=rng.random(n) < nulls, from_pandas=False)


def _whole(rng, n, low, high, dtype, *, nulls=0.0):
    return pa.array(
        rng.integers(low, high, n).astype(dtype), mask=rng.random(n) < nulls
    )


def _object_rows(rng, lon, lat) -> dict[str, pa.Table]:
    n = len(lon)
    ids = rng.permutation(n).astype(np.int64) * 3 + 1
    parent = np.where(rng.random(n) < 0.8, rng.choice(ids, n), 2)
    objects = {
        "objectId": ids,
        "ra": lon,
        "dec": lat,
        "mag": _eighths(rng, n, 15, 25, dtype=np.float32),
        "flux": _eighths(rng, n, -9, 30, nan=0.15),
        "class": _whole(rng, n, 0, 5, np.int16, nulls=0.15),
        "extended": pa.array(rng.random(n) < 0.4, mask=rng.random(n) < 0.15),
        "name": _words(rng, n),
        "parent": pa.array(parent, mask=rng.random(n) < 0.2),
    }
    seen = np.repeat(np.arange(n), np.where(rng.random(n) < 0.3, 0, rng.poisson(2, n)))
    m = len(seen)
    reach = np.where(rng.random(m) < 0.3, 0, 0.002)
    ra, dec = _shaken(rng, lon[seen], lat[seen], reach)
    source = {
        "sourceId": rng.permutation(m).astype(np.int64),
        "objectId": ids[seen],
        "visit": _whole(rng, m, 0, 9, np.int32, nulls=0.1),
        "ra": ra,
        "dec": dec,
        "flux": _eighths(rng, m, -5, 20, nan=0.1),
        "jd": 2_460_000.5 + rng.integers(0, 3, m) * 1e-3 + rng.random(m) * 1e-4,
    }
    forced = np.repeat(ids, rng.poisson(1.5, n))
    forced = np.where(rng.random(len(forced)) < 0.07, forced * 0 + 3_000_002, forced)
    k = len(forced)
    return {
        "Object": pa.table(objects),
        "Source": pa.table(source),
        "Forced": pa.table(
            {
                "objectId": pa.array(forced, mask=rng.random(k) < 0.1),
                "visit": _whole(rng, k, 0, 9, np.int32, nulls=0.1),
                "psf": _eighths(rng, k, -5, 20, nan=0.1, dtype=np.float32),
            }
        ),
        **_replicated(rng),
    }


def _replicated(rng) -> dict[str, pa.Table]:
    # Visits 7 and up are not told of; 3 is told of twice; some have no filter.
    visits = np.array([0, 1, 2, 3, 3, 4, 5, 6, 20], np.int32)
    return {
        "Visit": pa.table(
            {
                "visit": pa.array(visits, mask=np.arange(9) == 4 * rng.integers(3)),
                "filterId": _whole(rng, 9, 0, 5, np.int16, nulls=0.2),
                "night": _eighths(rng, 9, 100, 110),
            }
        ),
        "Filter": pa.table(
            {
                "filterId": np.array([0, 1, 2, 3, 3, 9], np.int16),
                "band": ["u", "g", None, "r", "star", "none"],
            }
        ),
    }


def _galaxy_rows(rng, lon, lat) -> dict[str, pa.Table]:
    n = len(lon)
    ids = rng.permutation(n).astype(np.int64) * 2 + 1
    galaxies = {
        "galId": ids,
        "ra": lon,
        "dec": lat,
        "mag": _eighths(rng, n, 15, 25, dtype=np.float32),
        "z": _eighths(rng, n, -9, 30, nan=0.1),
        "class": _whole(rng, n, 0, 5, np.int16, nulls=0.15),
    }
    shapes = np.repeat(ids[: n // 3], 3)
    k = len(shapes) if rng.random() < 0.9 else 0
    return {
        "Galaxy": pa.table(galaxies),
        "Shape": pa.table(
            {
                "galId": shapes[:k],
                "visit": _whole(rng, k, 0, 9, np.int32),
                "size": _eighths(rng, k, 0, 9, dtype=np.float32),
            }
        ),
    }


def _star_rows(rng, lon, lat) -> dict[str, pa.Table]:
    n = len(lon)
    ids = rng.permutation(n).astype(np.int64) + 1
    stars = {
        "starId": ids,
        "ra": lon,
        "dec": lat,
        "mag": _eighths(rng, n, 15, 25, dtype=np.float32),
        "class": _whole(rng, n, 0, 5, np.int16, nulls=0.15),
        "name": _words(rng, n),
    }
    epochs = np.repeat(ids[: n // 2], rng.integers(0, 4, n // 2))
    k = len(epochs)
    return {
        "Star": pa.table(stars),
        "Epoch": pa.table(
            {
                "starId": epochs,
                "visit": _whole(rng, k, 0, 9, np.int32, nulls=0.1),
                "pm": _eighths(rng, k, -5, 20, nan=0.1),
            }
        ),
    }


def _words(rng, n):
    return pa.array([_WORDS[i] for i in rng.integers(0, len(_WORDS), n)], pa.string())


def _nan(value) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _samples(surveys: dict[str, Survey]) -> dict[str, list]:
    samples: dict[str, list] = {}
    for release, survey in surveys.items():
        for table in TABLES[release]:
            for column in table.columns:
                values = survey.rows[table.name][column.name].to_pylist()
                known = [v for v in values if v is not None and not _nan(v)]
                domain = domain_of(column)
                samples.setdefault(domain, []).extend(known or [1])
    for domain in ("chunkId", "subChunkId"):
        samples[domain] = [4, 5, 7, 15, 30, 60, 1000]
    return samples
