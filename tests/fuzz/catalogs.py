"""Random catalogs with everything that goes wrong in catalogs, from a seed.

Three releases: `t` and `v` share a family, `u` has a tree of its own. The same rows lie
in three worlds whose trees have 12, about 60 and about 400 leaves, and whole in the
oracle. Floats are multiples of 1/8, so that their sums are exact in any order, but for
`jd`, whose squares are not: it tells a stable variance from sums of squares.
"""

import math
from dataclasses import dataclass, field

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from fuzz.nodes import Table as Stored
from fuzz.nodes import View
from fuzz.schemas import TABLES, domain_of, offered
from fuzz.stored import (
    galaxy_rows,
    object_rows,
    pair_rows,
    ref_rows,
    shaken,
    star_rows,
)
from support.chunks import Chunks
from support.skies import base_borders, leaf_borders, mixed_tree, positions
from support.survey import Survey

from qserv.catalog.tables import Table, TableKind
from qserv.sky import sqlfunctions
from qserv.sky.chunking import deepest_order
from qserv.sky.healpix import ORDER, pixels

TREES = (12, 60, 400)


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
    tables: dict[str, Stored | View]
    samples: dict[str, list]
    """Domain -> values of it."""
    views: list[str] = field(default_factory=list)
    """Which of `tables` are views."""


def catalog(seed: int) -> Catalog:
    """Make a catalog from a seed."""
    rng = np.random.default_rng(seed)
    overlap = float(rng.choice([30 / 3600, 60 / 3600, 0.05, 0.3]))
    deepest = min(deepest_order(overlap), 8)
    trees = {n: mixed_tree(n, seed + n, deepest) for n in TREES}
    surveys = _surveys(rng, overlap, trees)
    radii = _radii(seed, overlap, surveys)
    worlds = {}
    for leaves, others in zip(TREES, (60, 12, 60), strict=True):
        world = Chunks(
            surveys["t"], release="t", overlap=overlap, tree=trees[leaves], radii=radii
        )
        world.add(surveys["v"], release="v", family="t")
        world.add(surveys["u"], release="u", overlap=overlap, tree=trees[others])
        worlds[leaves] = world
    oracle = _oracle(surveys, worlds)
    return Catalog(seed, overlap, worlds, oracle, offered(), _samples(surveys))


def _radii(seed: int, overlap: float, surveys) -> dict[str, float]:
    """Give some directors less overlap than their family begins with."""
    rng = np.random.default_rng([seed, 1])
    directors = {
        name
        for survey in surveys.values()
        for name, table in survey.tables.items()
        if table.kind is TableKind.DIRECTOR
    }
    return {
        name: overlap * float(rng.choice([0, 0.3, 1, 1])) for name in sorted(directors)
    }


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
        homes = _homes(world, table, release, rows)
        chunks = world.snapshot.family(release).tree.locate(homes)
        rows = rows.append_column(f"_chunk{leaves}", pa.array(chunks))
    rows = rows.append_column("_home", pa.array(homes))
    if table.position:
        lon, lat = (rows[name].to_numpy() for name in table.position)
        rows = rows.append_column("_pixel", pa.array(pixels(lon, lat)))
    return rows.append_column("_cell", pa.array(homes >> 2 * (ORDER - 12)))


def _homes(world: Chunks, table: Table, release: str, rows: pa.Table) -> np.ndarray:
    """Return the home of each row: that of its first director that is not NULL."""
    links = table.links or ((table.key, table.name),)
    found = None
    for key, director in reversed(links):
        keys = rows[key].combine_chunks()
        homes = world._indexes[release, director].locate(keys)
        valid = keys.is_valid().to_numpy(zero_copy_only=False)
        found = homes if found is None else np.where(valid, homes, found)
    return found


def _without_nan(rows: pa.Table) -> pa.Table:
    for i, kept_as in enumerate(rows.schema):
        if pa.types.is_floating(kept_as.type):
            values = rows.column(i)
            kept = pc.if_else(pc.is_nan(values), pa.scalar(None, kept_as.type), values)
            rows = rows.set_column(i, kept_as, kept)
    return rows


def _surveys(rng, overlap, trees) -> dict[str, Survey]:
    lon, lat = _places(rng, int(rng.integers(40, 160)), overlap, trees)
    others = rng.choice(len(lon), int(rng.integers(20, 80)))
    stars = rng.choice(len(lon), int(rng.integers(20, 80)))
    gal_lon, gal_lat = shaken(rng, lon[others], lat[others], overlap * 0.3)
    star_lon, star_lat = shaken(rng, lon[stars], lat[stars], overlap * 0.5)
    refs = rng.choice(len(lon), int(rng.integers(20, 80)))
    ref_lon, ref_lat = shaken(rng, lon[refs], lat[refs], overlap * 0.5)
    at_first = shaken(rng, ref_lon, ref_lat, overlap * rng.choice([0.0, 0.3, 2.0]))
    objects = object_rows(rng, lon, lat)
    refs = ref_rows(rng, ref_lon, ref_lat)
    rows = {
        "t": objects | refs | pair_rows(rng, objects, refs, at_first, overlap),
        "v": galaxy_rows(rng, gal_lon, gal_lat),
        "u": star_rows(rng, star_lon, star_lat),
    }
    refined = shaken(rng, gal_lon, gal_lat, overlap * rng.choice([0.1, 2.0]))
    first = {"v": {"Galaxy": refined}, "t": {"Ref": at_first}}
    return {
        name: Survey(
            {t.name: rows[name][t.name] for t in TABLES[name]},
            {t.name: t for t in TABLES[name]},
            first.get(name, {}),
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
    near = shaken(rng, lon[more], lat[more], spread)
    return np.concatenate([lon, near[0]]), np.concatenate([lat, near[1]])


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
