"""A small survey of pairs, from a seed: what one catalog and another call the same.

Objects and objects of reference clump within an arcminute, at poles, at RA 0 and on
borders of base pixels; pairs of both, some of whose sides are NULL; pairs of objects
among themselves; sources with ids of their own.
"""

import numpy as np
import pyarrow as pa
from support.survey import ARCSEC, Survey

from qserv.catalog.tables import Column, DataType, Table, TableKind
from qserv.sky import healpix

_RADIUS = 59.9 * ARCSEC
_CENTERS = [(0, 90), (0, -90), (0, 0), (45, 0), (90, 0), (200, 41.8), (271, -66)]

TABLES = {
    "Object": Table(
        "Object",
        TableKind.DIRECTOR,
        (
            Column("objectId", DataType.BIGINT, nullable=False),
            Column("ra", DataType.DOUBLE, "deg", "pos.eq.ra;meta.main"),
            Column("dec", DataType.DOUBLE, "deg", "pos.eq.dec;meta.main"),
            Column("mag", DataType.DOUBLE, "mag"),
        ),
        key="objectId",
        position=("ra", "dec"),
    ),
    "RefObject": Table(
        "RefObject",
        TableKind.DIRECTOR,
        (
            Column("refId", DataType.BIGINT, nullable=False),
            Column("ra", DataType.DOUBLE, "deg"),
            Column("dec", DataType.DOUBLE, "deg"),
        ),
        key="refId",
        position=("ra", "dec"),
    ),
    "Match": Table(
        "Match",
        TableKind.REF_MATCH,
        (
            Column("objectId", DataType.BIGINT),
            Column("refId", DataType.BIGINT),
            Column("score", DataType.DOUBLE),
        ),
        key="objectId",
        director="Object",
        second_key="refId",
        second_director="RefObject",
    ),
    "Neighbour": Table(
        "Neighbour",
        TableKind.REF_MATCH,
        (
            Column("objectId", DataType.BIGINT, nullable=False),
            Column("otherId", DataType.BIGINT, nullable=False),
        ),
        key="objectId",
        director="Object",
        second_key="otherId",
        second_director="Object",
    ),
    "Source": Table(
        "Source",
        TableKind.CHILD,
        (
            Column("sourceId", DataType.BIGINT, nullable=False),
            Column("objectId", DataType.BIGINT, nullable=False),
            Column("flux", DataType.DOUBLE),
        ),
        key="objectId",
        director="Object",
        id="sourceId",
    ),
}


def paired(seed: int = 1, objects: int = 300) -> Survey:
    """Make the survey."""
    rng = np.random.default_rng(seed)
    here, there = _clumped(rng, objects), _clumped(rng, objects // 2)
    ids = rng.permutation(objects).astype(np.int64) * 3
    refs = rng.permutation(objects // 2).astype(np.int64) * 5 + 1
    seen = rng.integers(0, objects, 2 * objects)
    rows = {
        "Object": _placed("objectId", ids, here, mag=rng.normal(20, 2, objects)),
        "RefObject": _placed("refId", refs, there),
        "Match": _matches(rng, ids, refs, _near(here, there)),
        "Neighbour": _neighbours(ids, _near(here, here)),
        "Source": pa.table(
            {
                "sourceId": rng.permutation(2 * objects).astype(np.int64) * 7,
                "objectId": ids[seen],
                "flux": rng.integers(0, 100, 2 * objects) / 8,
            }
        ),
    }
    return Survey(rows, TABLES)


def _clumped(rng, n):
    centers = np.array(_CENTERS)[rng.integers(0, len(_CENTERS), n)]
    lat = centers[:, 1] + rng.normal(0, 60 * ARCSEC, n)
    # Beyond a pole the other side begins.
    over = np.abs(lat) > 90
    lat = np.where(over, np.sign(lat) * 180 - lat, lat)
    wide = rng.normal(0, 60 * ARCSEC, n) / np.maximum(np.cos(np.radians(lat)), 1e-4)
    return (centers[:, 0] + wide + 180 * over) % 360, lat


def _near(one, other):
    """Return the indices of all pairs that an overlap spans."""
    left, right = (
        np.stack(healpix.unit_vectors(*where), axis=-1) for where in (one, other)
    )
    apart = healpix.separations(left[:, np.newaxis], right[np.newaxis])
    return np.nonzero(apart <= _RADIUS)


def _placed(key, ids, where, **more):
    return pa.table({key: ids, "ra": where[0], "dec": where[1], **more})


def _matches(rng, ids, refs, near):
    alone = rng.integers(0, 8, len(near[0]))
    return pa.table(
        {
            "objectId": pa.array(ids[near[0]], mask=alone == 0),
            "refId": pa.array(refs[near[1]], mask=alone == 1),
            "score": rng.integers(0, 50, len(alone)) / 8,
        }
    )


def _neighbours(ids, near):
    others = near[0] != near[1]
    return pa.table({"objectId": ids[near[0][others]], "otherId": ids[near[1][others]]})
