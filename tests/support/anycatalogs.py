"""Catalogs made to be hard to load, from a seed, and what must become of each row.

Positions crowd at the poles, around the meridian 0, on corners and sides of pixels, and
in clusters denser than a leaf; keys come twice, in a file, across files and in a later
load; some rows are bad, orphans, or pairs too far apart. What must become of a row is
decided here one by one, in plain Python.
"""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pyarrow as pa
from support.loads import (
    FORCED,
    MATCH,
    NAMED_SOURCE,
    OBJECT,
    REF_OBJECT,
    data,
)
from support.skies import base_borders, leaf_borders, mixed_tree, positions, scattered

from qserv.sky import healpix

TABLES = (OBJECT, REF_OBJECT, NAMED_SOURCE, FORCED, MATCH)
ODD_RA = (0.0, -0.0, 360.0, -5e-324, -1e-20, 1e-13, 360 - 1e-13, 359.99999999999994,
          -180.0, 539.9, 90.0, 45.0)  # fmt: skip
BAD = ((None, 0.0), (0.0, None), (540.0, 0.0), (-180.1, 0.0), (0.0, 90.0000001),
       (0.0, float("nan")), (float("inf"), 0.0))  # fmt: skip


def hard_places(rng, count, crowd, reach):
    """Return positions, a third of them at places where code breaks."""
    odd = rng.choice(ODD_RA, count // 6), rng.uniform(-90, 90, count // 6)
    poles = rng.uniform(-180, 540, 12), np.repeat([90.0, -90.0], 6)
    borders = np.concatenate(
        (
            base_borders(rng, 24),
            leaf_borders(rng, mixed_tree(60, int(rng.integers(99))), 8),
        )
    )
    near = positions(scattered(rng, borders, 4, min(reach, 5)))
    cluster = np.full(crowd, rng.uniform(0, 360)), np.full(crowd, rng.uniform(-80, 80))
    some = positions(rng.normal(size=(count // 2, 3)))
    ra, dec = map(np.concatenate, zip(odd, poles, near, cluster, some, strict=True))
    order = rng.permutation(len(ra))
    return ra[order], dec[order]


def moved(rng, ra, dec, reach):
    """Return other positions within a distance of some, on the sky."""
    vectors = np.column_stack(healpix.unit_vectors(ra, dec))
    reach = np.broadcast_to(reach, len(vectors))[:, None, None]
    return positions(scattered(rng, vectors, 2, reach).reshape(-1, 2, 3)[:, 1])


@dataclass
class Truth:
    """What is live: key -> home of each director; the rows of each table."""

    overlap: float
    homes: dict = field(default_factory=lambda: {"Object": {}, "RefObject": {}})
    places: dict = field(default_factory=lambda: {"Object": {}, "RefObject": {}})
    ids: set = field(default_factory=set)
    rows: dict = field(default_factory=lambda: {t.name: [] for t in TABLES})
    located: dict = field(default_factory=lambda: {t.name: [] for t in TABLES})

    def load(self, table, source, rows):
        """Take in the rows of a file; returns which are left out, and the wrapped."""
        left, wrapped = [], 0
        for number, row in enumerate(rows.to_pylist(), 1):
            if table is FORCED and row["objectId"].is_integer():
                row["objectId"] = int(row["objectId"])
            turned = self._wrap(table, row)
            home = self._home(table, row)
            if home is None:
                left.append(number)
                continue
            self.located[table.name].append(home)
            wrapped += turned
            if self._is_new(table, row, home):
                self.rows[table.name].append((home, source, row))
            else:
                left.append(number)
        return left, wrapped

    def _wrap(self, table, row):
        if table.position is None or row["ra"] is None or 0 <= row["ra"] < 360:
            return False
        if -180 <= row["ra"] < 540:
            # A tiny negative angle plus 360 is 360 when rounded.
            row["ra"] = np.mod(row["ra"], 360.0) % 360.0
            return True
        return False

    def _home(self, table, row):
        """Return the home of a good row, else None."""
        if table.position is not None:
            ra, dec = row["ra"], row["dec"]
            if ra is None or dec is None or not (0 <= ra < 360 and abs(dec) <= 90):
                return None
        if table in {OBJECT, REF_OBJECT}:
            return int(healpix.pixels([ra], [dec])[0])
        if table is not MATCH:
            return self.homes["Object"].get(row["objectId"])
        keys = row["objectId"], row["refObjectId"]
        found = [
            self.homes[name].get(key)
            for name, key in zip(("Object", "RefObject"), keys, strict=True)
        ]
        if keys == (None, None) or any(
            home is None and key is not None
            for home, key in zip(found, keys, strict=True)
        ):
            return None
        if None not in keys and self._apart(*keys) > self.overlap:
            return None
        return found[1] if found[0] is None else found[0]

    def _apart(self, first, second):
        here, there = self.places["Object"][first], self.places["RefObject"][second]
        half = np.linalg.norm(np.subtract(here, there)) / 2
        return np.degrees(2 * np.arcsin(min(half, 1)))

    def _is_new(self, table, row, home):
        if table in {OBJECT, REF_OBJECT}:
            key, known = row[table.key], self.homes[table.name]
            if key in known:
                return False
            known[key] = home
            self.places[table.name][key] = tuple(
                float(v[0]) for v in healpix.unit_vectors([row["ra"]], [row["dec"]])
            )
        elif table is NAMED_SOURCE:
            if row["sourceId"] in self.ids:
                return False
            self.ids.add(row["sourceId"])
        return True


def catalog(rng, *, count, crowd, overlap, known):
    """Return the rows of each table of one load; `known` are keys of a former one."""
    reach = max(overlap, 1e-3)
    ra, dec = hard_places(rng, count, crowd, 2 * reach)
    ids = 10**9 + rng.permutation(3 * len(ra))[: len(ra)]
    ids[: len(known)] = known
    twice = rng.integers(0, len(ra), (2, 10))
    ids[twice[0]] = ids[twice[1]]
    ids = rng.permutation(ids)
    serial = np.arange(len(ra), dtype=np.float32)
    found = {OBJECT: {"objectId": ids, "ra": ra, "dec": dec, "mag": serial}}
    ref_ra, ref_dec = moved(rng, ra, dec, 0.9 * overlap)
    refs = 7 * np.arange(len(ra)) + 1 + 10**12 * len(known)
    found[REF_OBJECT] = {"refObjectId": refs, "ra": ref_ra, "dec": ref_dec}
    which = rng.integers(0, len(ra), 2 * len(ra))
    # Half a milliarcsecond away is out of a home, and yet within a pixel's width.
    far = np.where(rng.random(len(which)) < 0.5, 3 * reach, 1.4e-7)
    away = moved(rng, ra[which], dec[which], far)
    turned = (rng.random(len(which)) < 0.1) & (away[0] >= 180)
    away = np.where(turned, away[0] - 360, away[0]), away[1]
    names = rng.permutation(10 * len(which))[: len(which)]
    names[:5] = names[5:10]
    keys = np.where(rng.random(len(which)) < 0.02, 17, ids[which])
    found[NAMED_SOURCE] = {
        "sourceId": names, "objectId": keys, "ra": away[0], "dec": away[1],
    }  # fmt: skip
    # The reader leaves these out: whole batches, and the last ones of a task.
    halves = np.where(np.arange(len(keys)) < len(keys) - 9, 0, 0.5) + keys[::-1]
    found[FORCED] = {"objectId": halves, "flux": np.arange(len(keys))}
    pairs = ids.astype(object), refs.astype(object), np.arange(len(ids))
    chance = rng.random(len(ids))
    pairs[0][chance < 0.2], pairs[1][(chance > 0.1) & (chance < 0.3)] = None, None
    pairs[1][chance > 0.97] = refs[0]
    found[MATCH] = dict(zip(("objectId", "refObjectId", "arcsec"), pairs, strict=True))
    for table in (OBJECT, REF_OBJECT, NAMED_SOURCE):
        spoil(rng, found[table])
    made = {
        table: data(table, **values)
        for table, values in found.items()
        if table is not FORCED
    }
    return made | {FORCED: pa.table(found[FORCED])}


def spoil(rng, values):
    """Put positions in some rows that are none."""
    at = rng.choice(len(values["ra"]), len(BAD), replace=False)
    for column, place in (("ra", 0), ("dec", 1)):
        values[column] = values[column].astype(object)
        values[column][at] = [bad[place] for bad in BAD]


def cut(rng, rows, files):
    """Cut rows into files, some of them empty."""
    ends = np.sort(rng.integers(0, rows.num_rows + 1, files - 1)).tolist()
    ends = [0, *ends, rows.num_rows]
    return [rows.slice(a, b - a) for a, b in pairwise(ends)]
