"""Random rows of the stored tables: NULL, NaN, duplicates, orphans, pairs of keys.

Floats are multiples of 1/8, so that their sums are exact in any order, but for `jd`,
whose squares are not: it tells a stable variance from sums of squares.
"""

import numpy as np
import pyarrow as pa
from support.skies import positions

from qserv.sky import healpix

_WORDS = ["o'Brien", 'quo"te', "", "100%", "a_b", "Δ Cep", None, "star", "STAR"]


def shaken(rng, lon, lat, reach):
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


def object_rows(rng, lon, lat) -> dict[str, pa.Table]:
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
    ra, dec = shaken(rng, lon[seen], lat[seen], reach)
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


def galaxy_rows(rng, lon, lat) -> dict[str, pa.Table]:
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


def star_rows(rng, lon, lat) -> dict[str, pa.Table]:
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


def ref_rows(rng, lon, lat) -> dict[str, pa.Table]:
    """Make the objects of reference."""
    n = len(lon)
    rows = {
        "refId": rng.permutation(n).astype(np.int64) * 5 + 1,
        "ra": lon,
        "dec": lat,
        "mag": _eighths(rng, n, 15, 25, dtype=np.float32),
        "class": _whole(rng, n, 0, 5, np.int16, nulls=0.15),
    }
    return {"Ref": pa.table(rows)}


def pair_rows(rng, objects, refs, first, overlap: float) -> dict[str, pa.Table]:
    """Pair objects with objects of reference, whose first places are given; or twins.

    The homes of a pair are within the overlap, as a load demands. Some rows lack one of
    their keys, never both; some pairs are there twice.
    """
    one, other = objects["Object"], refs["Ref"]
    places = one["ra"].to_numpy(), one["dec"].to_numpy()
    ids = one["objectId"].to_numpy()
    found = _pairs(rng, places, first, overlap)
    keys = _keys(rng, found, ids, other["refId"].to_numpy())
    n = len(found)
    matches = {
        **dict(zip(("objectId", "refId"), keys, strict=True)),
        "apart": _eighths(rng, n, 15, 25, dtype=np.float32),
        "class": _whole(rng, n, 0, 5, np.int16, nulls=0.15),
    }
    found = _pairs(rng, places, places, overlap)
    # Few are twins of themselves.
    found = found[(found[:, 0] != found[:, 1]) | (rng.random(len(found)) < 0.1)]
    keys = _keys(rng, found, ids, ids)
    twins = {
        **dict(zip(("objectId", "twinId"), keys, strict=True)),
        "apart": _eighths(rng, len(found), 15, 25, dtype=np.float32),
    }
    return {"Match": pa.table(matches), "Twin": pa.table(twins)}


def _pairs(rng, one, other, radius: float) -> np.ndarray:
    """Choose pairs of places whose homes lie within a radius, shape (n, 2)."""
    left, right = (
        healpix.centers(healpix.ORDER, healpix.pixels(lon, lat))
        for lon, lat in (one, other)
    )
    chords = np.linalg.norm(left[:, None] - right[None], axis=-1)
    near = np.argwhere(2 * np.arcsin(np.minimum(chords / 2, 1)) < np.radians(radius))
    return near[rng.integers(0, len(near), 100)] if len(near) else near


def _keys(rng, pairs: np.ndarray, one: np.ndarray, other: np.ndarray):
    first, second = one[pairs[:, 0]], other[pairs[:, 1]]
    lacks = rng.choice([0, 1, 2], len(pairs), p=[0.8, 0.1, 0.1])
    return pa.array(first, mask=lacks == 1), pa.array(second, mask=lacks == 2)
