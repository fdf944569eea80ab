"""A small survey with everything that goes wrong in catalogs, from a seed.

Object, Source, ForcedSource, Filter and Visit, as Arrow tables and catalog tables:
clumps within an arcminute, both poles, RA 0, NULLs, NaN, duplicated values, objects
without sources, children whose own position lies outside their home chunk.
"""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from qserv.catalog.tables import Column, DataType, Table, TableKind

ARCSEC = 1 / 3600

TABLES = {
    "Object": Table(
        "Object",
        TableKind.DIRECTOR,
        (
            Column(
                "objectId", DataType.BIGINT, ucd="meta.id;meta.main", nullable=False
            ),
            Column("ra", DataType.DOUBLE, "deg", "pos.eq.ra;meta.main"),
            Column("dec", DataType.DOUBLE, "deg", "pos.eq.dec;meta.main"),
            Column("mag", DataType.REAL, "mag", "phot.mag"),
            Column("flux", DataType.DOUBLE, "nJy", "phot.flux"),
            Column("class", DataType.SMALLINT),
            Column("extended", DataType.BOOLEAN),
            Column("name", DataType.VARCHAR),
        ),
        key="objectId",
        position=("ra", "dec"),
    ),
    "Source": Table(
        "Source",
        TableKind.CHILD,
        (
            Column("sourceId", DataType.BIGINT, nullable=False),
            Column("objectId", DataType.BIGINT, nullable=False),
            Column("visit", DataType.INTEGER),
            Column("ra", DataType.DOUBLE, "deg"),
            Column("dec", DataType.DOUBLE, "deg"),
            Column("flux", DataType.DOUBLE, "nJy"),
            Column("mjd", DataType.DOUBLE, "d", "time.epoch"),
        ),
        key="objectId",
        director="Object",
        position=("ra", "dec"),
    ),
    "ForcedSource": Table(
        "ForcedSource",
        TableKind.CHILD,
        (
            Column("objectId", DataType.BIGINT, nullable=False),
            Column("visit", DataType.INTEGER),
            Column("flux", DataType.REAL, "nJy"),
        ),
        key="objectId",
        director="Object",
    ),
    "Visit": Table(
        "Visit",
        TableKind.REPLICATED,
        (
            Column("visit", DataType.INTEGER, nullable=False),
            Column("filterId", DataType.SMALLINT),
            Column("mjd", DataType.DOUBLE, "d"),
        ),
    ),
    "Filter": Table(
        "Filter",
        TableKind.REPLICATED,
        (
            Column("filterId", DataType.SMALLINT, nullable=False),
            Column("band", DataType.VARCHAR),
        ),
    ),
}


@dataclass(frozen=True)
class Survey:
    """The rows, the definitions of the tables, and where directors were at first.

    `first` holds (lon, lat) of directors whose positions were refined after the load
    that gave them their homes.
    """

    rows: dict[str, pa.Table]
    tables: dict[str, Table]
    first: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)


def survey(seed: int = 1, objects: int = 1500, *, one_pixel: bool = False) -> Survey:
    """Make the survey; `one_pixel` puts it inside one base pixel of HEALPix."""
    rng = np.random.default_rng(seed)
    ra, dec = _one_pixel(rng, objects) if one_pixel else _whole_sky(rng, objects)
    n = len(ra)
    ids = rng.permutation(n).astype(np.int64) * 7 + 1
    mag = rng.normal(20, 2, n).astype(np.float32)
    flux = np.where(rng.random(n) < 0.05, np.nan, rng.normal(0, 1000, n))
    rows = {
        "Object": pa.table(
            {
                "objectId": ids,
                "ra": ra,
                "dec": dec,
                "mag": pa.array(mag, mask=rng.random(n) < 0.05),
                "flux": flux,
                "class": pa.array(
                    rng.integers(0, 5, n).astype(np.int16), mask=rng.random(n) < 0.1
                ),
                "extended": pa.array(rng.random(n) < 0.3, mask=rng.random(n) < 0.1),
                "name": pa.array(_names(rng, n)),
            }
        ),
        **_children(rng, ids, ra, dec),
        "Visit": pa.table(
            {
                "visit": np.arange(40, dtype=np.int32),
                "filterId": (np.arange(40) % 6).astype(np.int16),
                "mjd": 60000.0 + np.arange(40) * 0.7,
            }
        ),
        "Filter": pa.table(
            {
                # No visit has filter 9, and no filter row says what 5 is.
                "filterId": np.array([0, 1, 2, 3, 4, 9], dtype=np.int16),
                "band": ["u", "g", "r", "i", None, "none"],
            }
        ),
    }
    return Survey(rows, TABLES)


def _names(rng, n):
    words = ["o'Brien", 'quo"te', "", "100%", "a_b", "Δ Cep", None, "star", "STAR"]
    return [words[i] for i in rng.integers(0, len(words), n)]


def _whole_sky(rng, n):
    third = n // 3
    ra = [rng.uniform(0, 360, third), rng.uniform(0, 360, 40), rng.uniform(0, 360, 40)]
    dec = [
        np.degrees(np.arcsin(rng.uniform(-1, 1, third))),
        90 - rng.exponential(0.01, 40),
        -90 + rng.exponential(0.01, 40),
    ]
    ra += [rng.normal(0, 0.005, 60) % 360, np.array([0.0, 90.0, 123.0])]
    dec += [rng.normal(0, 0.005, 60), np.array([90.0, -90.0, 0.0])]
    clumps = rng.integers(0, third, n - sum(map(len, ra)))
    ra.append((ra[0][clumps] + rng.normal(0, 20 * ARCSEC, len(clumps))) % 360)
    dec.append(
        np.clip(dec[0][clumps] + rng.normal(0, 20 * ARCSEC, len(clumps)), -90, 90)
    )
    return np.concatenate(ra), np.concatenate(dec)


def _one_pixel(rng, n):
    # Base pixel 4 holds RA 0, dec 0 and reaches 40 degrees from it.
    ra, dec = rng.normal(0, 2, n), rng.normal(0, 2, n)
    clumped = rng.integers(0, n // 2, n // 2)
    ra[n - n // 2 :] = ra[clumped] + rng.normal(0, 20 * ARCSEC, n // 2)
    dec[n - n // 2 :] = dec[clumped] + rng.normal(0, 20 * ARCSEC, n // 2)
    return ra % 360, np.clip(dec, -20, 20)


def _children(rng, ids, ra, dec):
    n = len(ids)
    seen = np.repeat(np.arange(n), np.where(rng.random(n) < 0.2, 0, rng.poisson(3, n)))
    m = len(seen)
    source_dec = np.clip(dec[seen] + rng.normal(0, 0.5 * ARCSEC, m), -90, 90)
    source = pa.table(
        {
            "sourceId": np.arange(m, dtype=np.int64),
            "objectId": ids[seen],
            "visit": rng.integers(0, 40, m).astype(np.int32),
            "ra": (ra[seen] + rng.normal(0, 0.5 * ARCSEC, m)) % 360,
            "dec": source_dec,
            "flux": np.where(rng.random(m) < 0.1, np.nan, rng.normal(100, 50, m)),
            "mjd": 60000.0 + rng.random(m) * 28,
        }
    )
    forced = np.repeat(np.arange(n), rng.poisson(5, n))
    return {
        "Source": source,
        "ForcedSource": pa.table(
            {
                "objectId": ids[forced],
                "visit": rng.integers(0, 45, len(forced)).astype(np.int32),
                "flux": rng.normal(100, 50, len(forced)).astype(np.float32),
            }
        ),
    }
