"""Each row lies in one chunk, copies lie beside all chunks near it, δ is a bound."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.loads import (
    FORCED,
    MATCH,
    OBJECT,
    REF_OBJECT,
    SOURCE,
    columns,
    located,
    locator,
)
from support.skies import border_sky, cross_border, kdtree_pairs, mixed_tree

from qserv.catalog.tables import SYSTEM_COLUMNS, Table, TableKind
from qserv.ingest import check, partition
from qserv.sky import chunking, healpix
from qserv.sky.chunking import ChunkTree, overlap_hosts

RADIUS = 60 / 3600


@pytest.fixture(scope="module")
def tree():
    return mixed_tree(60, seed=3)


@pytest.fixture(scope="module")
def sky(tree):
    """Objects that clump on borders, and sources that stray around them."""
    rng = np.random.default_rng(11)
    ra, dec = rng.uniform(0, 360, 3000), np.degrees(np.arcsin(rng.uniform(-1, 1, 3000)))
    corner = tree.chunks[rng.integers(0, len(tree), 500)]
    low = chunking.pixel_ranges(corner)[:, 0]
    x, y, z = healpix.centers(29, low).T
    ra = np.concatenate([ra, np.degrees(np.arctan2(y, x)) % 360])
    dec = np.concatenate([dec, np.degrees(np.arcsin(z))])
    ids = rng.permutation(len(ra)) + 1000
    return {"objectId": ids, "ra": ra, "dec": dec, "mag": rng.normal(size=len(ra))}


def load(sky):
    objects = located(OBJECT, **(sky | {"mag": np.float32(sky["mag"])}))
    return locator(objects), objects


def together(slices):
    return pa.concat_tables([slice_.rows for slice_ in slices])


def test_every_row_lies_in_the_one_chunk_of_its_home(sky, tree):
    _, objects = load(sky)
    slices = list(partition.own(objects, tree))
    chunks = [slice_.chunk for slice_ in slices]
    assert chunks == sorted(set(chunks), key=chunking.pixel_range)
    rows = together(slices)
    assert sorted(rows["objectId"].to_pylist()) == sorted(sky["objectId"].tolist())
    homes = rows["_healpix_29"].to_numpy()
    assert np.all(np.diff(homes) >= 0)
    assert np.array_equal(tree.locate(homes), rows["_chunk"].to_numpy())
    ours = healpix.pixels(rows["ra"].to_numpy(), rows["dec"].to_numpy())
    assert np.array_equal(homes, ours)
    for slice_ in slices:
        assert set(slice_.rows["_chunk"].to_pylist()) == {slice_.chunk}
        assert slice_.offset == 0
    assert tuple(rows.column_names[:6]) == SYSTEM_COLUMNS
    x, y, z = healpix.unit_vectors(rows["ra"].to_numpy(), rows["dec"].to_numpy())
    for name, value in zip(("_x", "_y", "_z"), (x, y, z), strict=True):
        assert np.array_equal(rows[name].to_numpy(), value)


def test_children_lie_with_their_directors_and_offset_bounds_their_way(sky, tree):
    where, objects = load(sky)
    rng = np.random.default_rng(5)
    which = rng.integers(0, len(sky["ra"]), 5000)
    shift = rng.normal(0, 0.02, 5000)
    dec = np.clip(sky["dec"][which] + shift, -90, 90)
    sources = located(
        SOURCE, where, objectId=sky["objectId"][which], ra=sky["ra"][which], dec=dec
    )
    assert np.array_equal(sources.homes, objects.homes[which])
    slices = list(partition.own(sources, tree))
    assert sum(s.rows.num_rows for s in slices) == 5000
    strayed = 0
    for slice_ in slices:
        inside = tree.locate(slice_.rows["_healpix_29"].to_numpy())
        assert set(inside.tolist()) == {slice_.chunk}
        distance = outside_by_sampling(slice_, tree)
        strayed += int(np.count_nonzero(distance))
        assert slice_.offset >= distance.max()
        assert slice_.offset < 0.2
        # An area is dilated by it to hold the homes, also those in the same chunk.
        assert slice_.offset >= from_home(slice_.rows).max()
    assert strayed > 50


def from_home(rows):
    there = np.stack([rows[c].to_numpy() for c in ("_x", "_y", "_z")], axis=1)
    homes = healpix.centers(29, rows["_healpix_29"].to_numpy())
    return np.degrees(2 * np.arcsin(np.linalg.norm(homes - there, axis=1) / 2))


def outside_by_sampling(slice_, tree):
    """Lower bounds of how far rows lie outside: the chord to their home, if outside."""
    rows = slice_.rows
    own = healpix.pixels(rows["ra"].to_numpy(), rows["dec"].to_numpy())
    there = np.stack([rows[c].to_numpy() for c in ("_x", "_y", "_z")], axis=1)
    # The nearest point of the chunk is at most as far as any of its points: sample it.
    low, high = chunking.pixel_range(slice_.chunk)
    points = healpix.centers(29, np.arange(low, high, (high - low) // 16_384))
    homes = healpix.centers(29, rows["_healpix_29"].to_numpy())
    away = np.flatnonzero(tree.locate(own) != slice_.chunk)
    found = np.zeros(rows.num_rows)
    for i in away:
        nearest = min(
            np.linalg.norm(points - there[i], axis=1).min(),
            np.linalg.norm(homes[i] - there[i]),
        )
        found[i] = np.degrees(2 * np.arcsin(nearest / 2))
    return found


def test_a_table_without_position_has_no_unit_vector(sky, tree):
    where, _ = load(sky)
    forced = located(FORCED, where, objectId=sky["objectId"][:100])
    slices = list(partition.own(forced, tree))
    assert slices[0].rows.column_names == [
        "_healpix_29",
        "_chunk",
        "_source",
        "objectId",
        "flux",
    ]
    assert {slice_.offset for slice_ in slices} == {0.0}


def test_rows_of_a_home_are_sorted_by_key(tree):
    same = {"ra": [10.0] * 4, "dec": [20.0] * 4}
    rows = together(partition.own(located(OBJECT, objectId=[4, 2, 9, 1], **same), tree))
    assert rows["objectId"].to_pylist() == [1, 2, 4, 9]
    worded = Table(
        "Object",
        TableKind.DIRECTOR,
        columns(objectId="VARCHAR", ra="DOUBLE", dec="DOUBLE"),
        key="objectId",
        position=("ra", "dec"),
    )
    text = located(worded, objectId=["d", "b", "z", "a"], **same)
    assert together(partition.own(text, tree))["objectId"].to_pylist() == list("abdz")


def test_overlap_has_every_neighbour_across_a_border(tree):
    assert lost_pairs(tree) == 0


def test_without_overlap_pairs_are_lost(tree, monkeypatch):
    """The guarantee, switched off."""
    nobody = np.array([], dtype=np.int64)
    monkeypatch.setattr(partition, "overlap_hosts", lambda *_: (nobody, nobody))
    assert lost_pairs(tree) > 1000


def lost_pairs(tree):
    """Count neighbours across borders whose copy does not lie beside the other."""
    sky = border_sky(tree)
    objects = located(OBJECT, **sky)
    pairs = kdtree_pairs(sky["ra"], sky["dec"], RADIUS)
    homes = tree.locate(objects.homes)
    assert cross_border(pairs, homes) > 1000
    copies = {
        (slice_.chunk, key)
        for slice_ in partition.overlap(objects, tree, RADIUS)
        for key in slice_.rows["objectId"].to_pylist()
    }
    both = np.concatenate([pairs, pairs[:, ::-1]])
    here, there = both[homes[both[:, 0]] != homes[both[:, 1]]].T
    wanted = zip(homes[here].tolist(), sky["objectId"][there].tolist(), strict=True)
    return len(set(wanted) - copies)


def test_overlap_rows_carry_their_host_and_keep_their_home(sky, tree):
    _, objects = load(sky)
    slices = list(partition.overlap(objects, tree, RADIUS))
    assert len({slice_.chunk for slice_ in slices}) == len(slices)
    rows, hosts = overlap_hosts(sky["ra"], sky["dec"], tree, RADIUS)
    expected = set(zip(sky["objectId"][rows].tolist(), hosts.tolist(), strict=True))
    found = together(slices)
    assert (
        set(
            zip(found["objectId"].to_pylist(), found["_chunk"].to_pylist(), strict=True)
        )
        == expected
    )
    for slice_ in slices:
        homes = slice_.rows["_healpix_29"].to_numpy()
        assert np.all(np.diff(homes) >= 0)
        assert slice_.chunk not in tree.locate(homes)
        assert slice_.offset is None


def test_nothing_gives_nothing():
    tree = ChunkTree.uniform(0)
    empty = located(OBJECT, objectId=[], ra=[], dec=[], mag=[])
    assert list(partition.own(empty, tree)) == []
    assert list(partition.overlap(empty, tree, RADIUS)) == []
    assert list(partition.copies(OBJECT, empty.data)) == []


@pytest.fixture(scope="module")
def pairs(sky, tree):
    """Objects, and one of reference up to an overlap away from each; some alone."""
    rng = np.random.default_rng(13)
    n = len(sky["ra"])
    away = rng.uniform(0, RADIUS, n) * rng.choice((-1, 1), n)
    dec = np.clip(sky["dec"] + away, -90, 90)
    objects = located(OBJECT, **(sky | {"mag": np.float32(sky["mag"])}))
    references = located(REF_OBJECT, refObjectId=np.arange(n), ra=sky["ra"], dec=dec)
    alone = rng.integers(0, 5, n)
    keys = {
        "objectId": pa.array(sky["objectId"], mask=alone == 0),
        "refObjectId": pa.array(np.arange(n), mask=alone == 1),
    }
    where = locator(objects, references, overlap=RADIUS)
    return objects, references, located(MATCH, where, **keys)


def test_a_pair_lies_in_one_chunk_and_a_copy_beside_its_second(pairs, tree):
    objects, references, matches = pairs
    own = together(partition.own(matches, tree)).to_pydict()
    copies = together(partition.overlap(matches, tree, RADIUS)).to_pydict()
    homes = dict(zip(objects.keys.to_pylist(), objects.homes.tolist(), strict=True))
    assert homes.pop(None, None) is None
    seconds = references.homes.tolist()
    expected, crossing = set(), set()
    for key, second in zip(*(matches.data[c].to_pylist() for c in KEYS), strict=True):
        home = seconds[second] if key is None else homes[key]
        expected.add((key, second, home, chunk_of(tree, home)))
        if key is None or second is None:
            continue
        if (host := chunk_of(tree, seconds[second])) != chunk_of(tree, home):
            crossing.add((key, second, home, host))
    columns = (*KEYS, "_healpix_29", "_chunk")
    assert set(zip(*(own[c] for c in columns), strict=True)) == expected
    assert set(zip(*(copies[c] for c in columns), strict=True)) == crossing
    assert len(own["_chunk"]) == len(expected) == len(objects.homes)
    assert len(copies["_chunk"]) == len(crossing) > 100


KEYS = ("objectId", "refObjectId")


def chunk_of(tree, home):
    return int(tree.locate(np.array([home]))[0])


def test_both_directors_of_a_pair_meet_in_each_of_its_chunks(pairs, tree):
    """What the planner relies on: no pair needs a row that is not stored there."""
    objects, references, matches = pairs
    beside = {
        name: held(located, tree)
        for name, located in zip(KEYS, (objects, references), strict=True)
    }
    for slices in (
        partition.own(matches, tree),
        partition.overlap(matches, tree, RADIUS),
    ):
        for slice_ in slices:
            whole = slice_.rows.drop_null()
            for name in KEYS:
                assert set(whole[name].to_pylist()) <= beside[name][slice_.chunk]


def test_without_the_limit_the_directors_of_a_pair_would_not_meet(
    pairs, tree, monkeypatch
):
    """The guarantee, switched off."""
    monkeypatch.setattr(check, "pairs", lambda *_: None)
    objects, references, _ = pairs
    known = objects, references
    far = located(
        MATCH,
        locator(*known, overlap=RADIUS),
        objectId=objects.keys,
        refObjectId=np.roll(references.keys, 1),
    )
    beside = held(references, tree)
    assert any(
        not set(slice_.rows["refObjectId"].to_pylist()) <= beside[slice_.chunk]
        for slice_ in partition.own(far, tree)
    )


def held(located, tree):
    """Return the keys that each chunk has, own or beside it."""
    found = {}
    for slices in (
        partition.own(located, tree),
        partition.overlap(located, tree, RADIUS),
    ):
        for slice_ in slices:
            keys = slice_.rows[located.table.key].to_pylist()
            found.setdefault(slice_.chunk, set()).update(keys)
    return found


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(-3, 3)), max_size=40))
def test_rows_are_sorted_by_home_then_key_stably(rows):
    homes = np.array([home for home, _ in rows], np.int64)
    keys = pa.array([key for _, key in rows], pa.int64())
    expected = sorted(range(len(rows)), key=lambda at: rows[at])
    assert partition.sorted_by(keys, homes).tolist() == expected
