"""Any catalog, cut and read in any way: each row is once where it must be."""

import csv
from itertools import pairwise

import healpy
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.spatial import cKDTree
from support.anycatalogs import TABLES, Truth, catalog, cut
from support.loads import MATCH, NAMED_SOURCE, OBJECT, REF_OBJECT, load_all

from qserv.catalog.snapshot import Role
from qserv.ingest import index
from qserv.ingest.bulk import gathered, reading, tasks
from qserv.ingest.formats import parquet
from qserv.ingest.formats import rows as batches
from qserv.sky import healpix
from qserv.sky.chunking import deepest_order, order_of, pixel_of, pixel_ranges
from qserv.sky.regions import chord2

pytestmark = [pytest.mark.usefixtures("scratch"), pytest.mark.timeout(60)]

SYSTEM = ("_healpix_29", "_chunk", "_source")
SHAPES = (
    (1e-5, 15, 3_000, 3_000),
    (5 / 3600, 60, 10**8, 3_000),
    (60 / 3600, 15, 3_000, 20_000),
    (60 / 3600, 10**6, 3_000, 3_000),
    (0.5, 60, 20_000, 10**8),
    (0.5, 15, 3_000, 3_000),
    (3.0, 15, 10**8, 10**8),
)
"""Overlap in degrees; rows of a leaf; bytes of a run, and of a share of leaves."""


class Loaded:
    """A catalog in two loads of random shape, and the truth about it."""

    def __init__(self, czar, place, seed, monkeypatch):
        self.rng = rng = np.random.default_rng(seed)
        self.czar, self.place = czar, place
        self.overlap, self.leaf_rows, size, share = SHAPES[seed]
        self.truth = Truth(self.overlap)
        self.numbers = {}
        for module in (reading, tasks):
            monkeypatch.setattr(module, "RUN_BYTES", size)
        for module in (gathered, tasks):
            monkeypatch.setattr(module, "SHARE_BYTES", share)
        for module in (batches, parquet):
            monkeypatch.setattr(module, "BATCH_ROWS", int(rng.choice([7, 100, 10**5])))
        monkeypatch.setattr(parquet, "_PIECE", int(rng.choice([2_000, 10**8])))
        monkeypatch.setattr(index, "_SMALL_SHARD_ROWS", int(rng.choice([50, 10**5])))
        # What the czar of these tests refuses, it refuses again.
        monkeypatch.setattr("qserv.patience.CZAR", 0.0)
        self.load("first", leaf_rows=self.leaf_rows)
        self.first = {name: list(found) for name, found in self.truth.located.items()}
        known = list(self.truth.homes["Object"])[:20]
        self.load("second", leaf_rows=None, known=known)
        self.ranges = pixel_ranges(np.array(czar.tree))

    def load(self, name, *, leaf_rows, known=()):
        """Write the files of a load and load them; compare what is told of each."""
        made = catalog(
            self.rng,
            count=int(self.rng.integers(60, 150)),
            crowd=int(self.rng.choice([1, 40])),
            overlap=self.overlap,
            known=known,
        )
        inputs, told, bad = {}, {}, set()
        for table, whole in made.items():
            for number, some in enumerate(cut(self.rng, whole, 4)):
                path = self.place / f"{name}-{table.name}-{number}.parquet"
                size = int(self.rng.choice([10, 100, 10**5]))
                pq.write_table(some, path, row_group_size=size)
                inputs.setdefault(table.name, []).append(path)
        for table in TABLES:
            for path in inputs[table.name]:
                some = pq.read_table(path)
                left, wrapped = self.truth.load(table, str(path), some)
                told[str(path)] = some.num_rows - len(left), len(left), wrapped
                bad |= {(table.name, str(path), str(row)) for row in left}
        before, rejects = len(self.czar.contributions), self.place / f"{name}.csv"
        load_all(
            self.czar, inputs, tables=TABLES, leaf_rows=leaf_rows, overlap=self.overlap,
            max_rejects=10**6, rejects=rejects,
        )  # fmt: skip
        new = self.czar.contributions[before:]
        # The content of an empty file is live after another one.
        told = {name: counts for name, counts in told.items() if any(counts)}
        counts = {c.source: (c.rows, c.rejected, c.wrapped) for c in new}
        assert {name: each for name, each in counts.items() if any(each)} == told
        with rejects.open(newline="") as file:
            written = [tuple(row)[:3] for row in csv.reader(file)][1:]
        assert sorted(written) == sorted(bad)
        self.numbers |= {c.source: c.number for c in new}

    def chunk(self, homes):
        """Return the leaf around each home, by looking at all of them."""
        low, high = self.ranges.T
        inside = (low <= np.array(homes)[:, None]) & (np.array(homes)[:, None] < high)
        assert np.all(inside.sum(axis=1) == 1)
        return np.array(self.czar.tree)[inside.argmax(axis=1)]

    def wanted(self, table):
        """Return the rows that must be there, with their system columns."""
        found = self.truth.rows[table.name]
        chunks = self.chunk([home for home, _, _ in found]).tolist()
        return [
            (home, chunk, self.numbers[source], *row.values())
            for chunk, (home, source, row) in zip(chunks, found, strict=True)
        ]

    def there(self, table, role):
        """Return the rows that are there, in the order of files and rows."""
        names = (*SYSTEM, *(column.name for column in table.columns))
        found = []
        for entry, some in self.czar.files(table.name, role):
            assert set(some["_chunk"].to_pylist()) == {entry.chunk}
            assert entry.rows == some.num_rows
            check_order(table, some)
            found.append(some)
        if not found:
            return pa.table({name: [] for name in names})
        return pa.concat_tables(found)


def plain(table, rows):
    """Return rows as tuples, sorted, whatever is NULL."""
    names = (*SYSTEM, *(column.name for column in table.columns))
    return sorted(zip(*(rows[n].to_pylist() for n in names), strict=True), key=str)


def check_order(table, rows):
    keys = (key or 0 for key in rows[table.key].to_pylist())
    found = list(zip(rows["_healpix_29"].to_pylist(), keys, strict=True))
    assert all(one <= next_ for one, next_ in pairwise(found))


def vectors(rows):
    return np.column_stack([rows[name].to_numpy() for name in ("_x", "_y", "_z")])


@pytest.mark.parametrize("seed", range(len(SHAPES)))
def test_each_row_is_once_where_it_must_be(czar, tmp_path, seed, monkeypatch):
    loaded = Loaded(czar, tmp_path, seed, monkeypatch)
    for table in TABLES:
        own = loaded.there(table, Role.BASE)
        assert plain(table, own) == sorted(loaded.wanted(table), key=str)
        if table.position:
            check_vectors(own)
    check_tree(loaded)
    check_offsets(loaded)
    assert czar.index("Object") == loaded.truth.homes["Object"]
    assert czar.index("RefObject") == loaded.truth.homes["RefObject"]
    assert czar.index("Source") == {
        row["sourceId"]: home for home, _, row in loaded.truth.rows["Source"]
    }
    shards = [f.entry.chunk for f in czar.live.values() if f.entry.role is Role.INDEX]
    assert len(shards) == len(set(shards))
    for table in (OBJECT, REF_OBJECT):
        check_overlap(loaded, table)
    check_pairs(loaded)


def check_vectors(own):
    ra, dec = (np.radians(own[name].to_numpy()) for name in ("ra", "dec"))
    expected = np.column_stack(
        [np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)]
    )
    assert np.abs(vectors(own) - expected).max() < 1e-15


def check_tree(loaded):
    """No leaf has too many rows, but the deepest; none was split without need."""
    tree = np.array(loaded.czar.tree)
    above = np.unique(tree[order_of(tree) > 0] // 4)
    deepest = min(deepest_order(loaded.overlap), 12)
    crowded = np.zeros(len(above), np.bool_)
    for table in TABLES:
        homes = np.sort(loaded.first[table.name])
        most = loaded.leaf_rows * (1 if table in {OBJECT, REF_OBJECT} else 50)
        counts = np.diff(np.searchsorted(homes, loaded.ranges))[:, 0]
        assert np.all((counts <= most * 1.01) | (order_of(tree) == deepest))
        counts = np.diff(np.searchsorted(homes, pixel_ranges(above)))[:, 0]
        crowded |= counts > most * 0.99
    assert crowded.all()


def check_offsets(loaded):
    """δ bounds how far rows lie from their homes."""
    for entry, rows in loaded.czar.files(NAMED_SOURCE.name, Role.BASE):
        homes = rows["_healpix_29"].to_numpy()
        out = homes != healpix.pixels(rows["ra"].to_numpy(), rows["dec"].to_numpy())
        way = healpix.separations(vectors(rows), healpix.centers(29, homes))
        farthest = way[out].max(initial=0)
        assert farthest <= entry.offset <= farthest + 2e-7
    for table in (OBJECT, REF_OBJECT):
        files = loaded.czar.files(table.name, Role.BASE)
        assert {entry.offset for entry, _ in files} == {0.0}


def check_overlap(loaded, table):
    """Beside each leaf lies what is near any of its points, once, and little else."""
    own, beside = (loaded.there(table, role) for role in (Role.BASE, Role.OVERLAP))
    places = vectors(own)
    near = np.sqrt(chord2(loaded.overlap + healpix.SLACK / 2))
    keys, chunks = own[table.key].to_numpy(), own["_chunk"].to_numpy()
    rows = cKDTree(places)
    points = {
        leaf: np.concatenate((border(leaf), places[chunks == leaf]))
        for leaf in loaded.czar.tree
    }
    wanted = {
        (leaf, keys[row])
        for leaf, some in points.items()
        for row in set().union(*rows.query_ball_point(some, near))
        if chunks[row] != leaf
    }
    found = list(
        zip(beside["_chunk"].to_pylist(), beside[table.key].to_pylist(), strict=True)
    )
    assert len(found) == len(set(found))
    assert wanted <= set(found)
    order = healpix.order_wider_than(loaded.overlap)
    excess = 2 * healpix.max_radius(order)
    at = {key: row for row, key in enumerate(keys.tolist())}
    same = own.take([at[key] for _, key in found])
    for name in own.column_names:
        assert name == "_chunk" or same[name].equals(beside[name])
    for leaf, key in found:
        away = np.linalg.norm(points[leaf] - places[at[key]], axis=1).min()
        assert chunks[at[key]] != leaf
        assert np.degrees(away) <= excess + 120 / 256


def border(leaf):
    """Return points on the border of a leaf, at most half a degree apart."""
    order = order_of(leaf)
    step = max(4, 256 >> order)
    found = healpy.boundaries(2**order, pixel_of(leaf), step=step, nest=True)
    return found.T


def check_pairs(loaded):
    """A pair lies in its first home, and once beside its second, if that is another."""
    homes = loaded.truth.homes
    wanted = []
    for row in loaded.wanted(MATCH):
        first, second = row[3:5]
        if first is not None and second is not None:
            (host,) = loaded.chunk([homes["RefObject"][second]]).tolist()
            if host != row[1]:
                wanted.append((row[0], host, *row[2:]))
    beside = loaded.there(MATCH, Role.OVERLAP)
    assert plain(MATCH, beside) == sorted(wanted, key=str)
