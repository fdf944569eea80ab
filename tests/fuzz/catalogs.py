"""Random catalogs with everything that goes wrong in catalogs, from a seed.

Three releases: `t` and `v` share a family, `u` has a tree of its own. The same rows lie
in three worlds whose trees have 12, about 60 and about 400 leaves, and whole in the
oracle. Floats are multiples of 1/8, so that their sums are exact in any order, but for
`jd`, whose squares are not: it tells a stable variance from sums of squares.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from fuzz.nodes import Column as Offered
from fuzz.nodes import Table as Stored
from support.chunks import Chunks
from support.oracle import Oracle
from support.skies import base_borders, leaf_borders, mixed_tree, positions
from support.survey import Survey

from qserv.catalog.tables import Column, DataType, Table, TableKind
from qserv.sky.chunking import MAX_ORDER_FOR

TREES = (12, 60, 400)
_KINDS = {
    DataType.BOOLEAN: "flag",
    DataType.REAL: "float",
    DataType.DOUBLE: "float",
    DataType.VARCHAR: "text",
}
_WORDS = ["o'Brien", 'quo"te', "", "100%", "a_b", "Δ Cep", None, "star", "STAR"]


def _columns(text: str) -> tuple[Column, ...]:
    """Read ``name:TYPE``; a ``!`` says that there is no NULL."""
    columns = []
    for word in text.split():
        name, _, datatype = word.partition(":")
        columns.append(
            Column(name, DataType(datatype.rstrip("!")), nullable="!" not in datatype)
        )
    return tuple(columns)


_POSITION = "ra:DOUBLE! dec:DOUBLE!"
TABLES = {
    "t": (
        Table(
            "Object",
            TableKind.DIRECTOR,
            _columns(
                f"objectId:BIGINT! {_POSITION} mag:REAL flux:DOUBLE class:SMALLINT "
                "extended:BOOLEAN name:VARCHAR parent:BIGINT"
            ),
            key="objectId",
            position=("ra", "dec"),
        ),
        Table(
            "Source",
            TableKind.CHILD,
            _columns(
                f"sourceId:BIGINT! objectId:BIGINT! visit:INTEGER {_POSITION} "
                "flux:DOUBLE jd:DOUBLE"
            ),
            key="objectId",
            director="Object",
            position=("ra", "dec"),
        ),
        Table(
            "Forced",
            TableKind.CHILD,
            _columns("objectId:BIGINT visit:INTEGER psf:REAL"),
            key="objectId",
            director="Object",
        ),
        Table(
            "Visit",
            TableKind.REPLICATED,
            _columns("visit:INTEGER filterId:SMALLINT night:DOUBLE"),
        ),
        Table(
            "Filter",
            TableKind.REPLICATED,
            _columns("filterId:SMALLINT! band:VARCHAR"),
        ),
    ),
    "v": (
        Table(
            "Galaxy",
            TableKind.DIRECTOR,
            _columns(f"galId:BIGINT! {_POSITION} mag:REAL z:DOUBLE class:SMALLINT"),
            key="galId",
            position=("ra", "dec"),
        ),
        Table(
            "Shape",
            TableKind.CHILD,
            _columns("galId:BIGINT! visit:INTEGER size:REAL"),
            key="galId",
            director="Galaxy",
        ),
    ),
    "u": (
        Table(
            "Star",
            TableKind.DIRECTOR,
            _columns(
                f"starId:BIGINT! {_POSITION} mag:REAL class:SMALLINT name:VARCHAR"
            ),
            key="starId",
            position=("ra", "dec"),
        ),
        Table(
            "Epoch",
            TableKind.CHILD,
            _columns("starId:BIGINT! visit:INTEGER pm:DOUBLE"),
            key="starId",
            director="Star",
        ),
    ),
}
_DOMAINS = {"parent": "objectId", "psf": "flux", "pm": "flux", "z": "flux"}
_CONDITIONS = {
    "Object": (
        *("duplicate positions", "chunk borders", "poles", "RA wrap", "NaN"),
        *("NULL", "duplicate values", "no children"),
    ),
    "Source": ("δ > 0 child", "NaN", "NULL"),
    "Forced": ("NULL keys", "orphans"),
    "Visit": ("replicated NULL", "replicated duplicates", "dangling"),
    "Filter": ("replicated NULL",),
    "Galaxy": ("δ > 0 director", "chunk borders", "NULL"),
    "Shape": ("empty chunks",),
    "Star": ("second family", "poles", "RA wrap"),
    "Epoch": ("second family", "empty chunks"),
}


@dataclass
class Catalog:
    """The rows in their worlds, and what a generator must know of them."""

    seed: int
    overlap: float
    worlds: dict[int, Chunks]
    oracle: Oracle
    tables: dict[str, Stored]
    samples: dict[str, list]
    """Domain -> values of it."""


def catalog(seed: int) -> Catalog:
    """Make a catalog from a seed."""
    rng = np.random.default_rng(seed)
    overlap = float(rng.choice([30 / 3600, 60 / 3600, 0.05, 0.3]))
    deepest = min(MAX_ORDER_FOR(overlap), 8)
    trees = {n: mixed_tree(n, seed + n, deepest) for n in TREES}
    surveys = _surveys(rng, overlap, trees)
    worlds = {}
    for leaves, others in zip(TREES, (60, 12, 60), strict=True):
        world = Chunks(surveys["t"], release="t", overlap=overlap, tree=trees[leaves])
        world.add(surveys["v"], release="v", family="t")
        world.add(surveys["u"], release="u", overlap=overlap, tree=trees[others])
        worlds[leaves] = world
    oracle = Oracle({name: survey.rows for name, survey in surveys.items()})
    oracle.connection.execute("SET threads = 1")
    return Catalog(seed, overlap, worlds, oracle, _offered(), _samples(surveys))


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


def _offered() -> dict[str, Stored]:
    return {
        table.name: Stored(
            release, table.name, [_column(c) for c in table.columns], _tags(table)
        )
        for release, tables in TABLES.items()
        for table in tables
    }


def _tags(table: Table) -> tuple[str, ...]:
    conditions = (f"data {each}" for each in _CONDITIONS[table.name])
    return (f"table {table.kind}", *conditions)


def _column(column: Column) -> Offered:
    kind = "int" if column.datatype.is_integer else _KINDS[column.datatype]
    domain = _DOMAINS.get(column.name, column.name)
    # Sums of what is no multiple of 1/8 depend on their order.
    rough = column.name in {"ra", "dec", "jd"}
    return Offered(column.name, kind, domain, column.nullable, rough=rough)


def _samples(surveys: dict[str, Survey]) -> dict[str, list]:
    samples: dict[str, list] = {}
    for release, survey in surveys.items():
        for table in TABLES[release]:
            for column in table.columns:
                values = survey.rows[table.name][column.name].to_pylist()
                known = [v for v in values if v is not None and v == v]  # noqa: PLR0124
                domain = _DOMAINS.get(column.name, column.name)
                samples.setdefault(domain, []).extend(known or [1])
    return samples
