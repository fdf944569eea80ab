"""The overlap is complete: no pair within the radius is lost at a border."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.skies import (
    ARCSEC,
    base_borders,
    border_sky,
    corners,
    cross_border,
    kdtree_pairs,
    leaf_borders,
    mixed_tree,
    positions,
)
from support.strategies import bearings, from_here, sky

from qserv.errors import InvalidRequest
from qserv.sky import healpix
from qserv.sky.chunking import (
    ChunkTree,
    Load,
    deepest_order,
    order_of,
    overlap_hosts,
    pixel_of,
)

RADIUS = 60 * ARCSEC
TREES = {12: ChunkTree.uniform(0), 60: mixed_tree(60, 1), 400: mixed_tree(400, 2)}


def chunks_of(lon, lat, tree):
    return tree.locate(healpix.pixels(lon, lat))


def lost(pairs, lon, lat, tree, hosts=overlap_hosts):
    """How many pairs across a border are not side by side in both chunks."""
    homes = chunks_of(lon, lat, tree)
    rows, beside = hosts(lon, lat, tree, RADIUS)
    stored = set(zip(rows.tolist(), beside.tolist(), strict=True))
    both = np.concatenate((pairs, pairs[:, ::-1]))
    wanted = np.column_stack((both[:, 0], homes[both[:, 1]]))
    wanted = wanted[homes[both[:, 0]] != wanted[:, 1]]
    return sum(tuple(pair) not in stored for pair in np.unique(wanted, axis=0).tolist())


def nothing_beside(lon, lat, tree, radius):
    return np.empty(0, np.int64), np.empty(0, np.int64)


@pytest.mark.parametrize("leaves", TREES)
@pytest.mark.parametrize("arcsec", [5, 30, 60])
def test_no_pair_of_a_border_sky_is_lost(leaves, arcsec):
    tree = TREES[leaves]
    stars = border_sky(tree, seed=leaves)
    lon, lat = stars["ra"], stars["dec"]
    pairs = kdtree_pairs(lon, lat, arcsec * ARCSEC)
    assert cross_border(pairs, chunks_of(lon, lat, tree)) >= 10_000
    assert len(np.unique(stars["objectId"])) == len(lon)
    assert lost(pairs, lon, lat, tree) == 0
    assert lost(pairs, lon, lat, tree, hosts=nothing_beside) > 1000


def pairs_at(radius, tree, count, seed):
    """Rows 2i and 2i + 1 lie at r (1 ± 1e-13), the first of them on a border."""
    rng = np.random.default_rng(seed)
    where = np.concatenate(
        (base_borders(rng, count // 2), leaf_borders(rng, tree, count - count // 2))
    )
    lon, lat = positions(where)
    angle = radius * (1 + rng.uniform(-1e-13, 1e-13, count))
    # The middle, the first and the second of the pair lie on the border in turn.
    back = angle * rng.choice([0, 0.5, 1], count)
    bearing = rng.choice(np.linspace(0, 2 * np.pi, 16, endpoint=False), count)
    first = from_here(lon, lat, bearing, -back)
    second = from_here(lon, lat, bearing, angle - back)
    ends = np.stack((np.stack(first), np.stack(second)), axis=2).reshape(2, -1)
    return ends[0], ends[1], np.arange(2 * count).reshape(-1, 2)


@pytest.mark.parametrize("leaves", TREES)
def test_no_pair_at_exactly_the_radius_is_lost(leaves):
    tree = TREES[leaves]
    lon, lat, pairs = pairs_at(RADIUS, tree, 4000, seed=leaves)
    assert cross_border(pairs, chunks_of(lon, lat, tree)) > 1000
    assert lost(pairs, lon, lat, tree) == 0


def test_a_width_bound_twice_too_wide_loses_pairs(monkeypatch):
    tree = TREES[400]
    lon, lat, pairs = pairs_at(RADIUS, tree, 4000, seed=5)
    true_width = healpix.min_width
    monkeypatch.setattr(healpix, "min_width", lambda order: 2 * true_width(order))
    assert lost(pairs, lon, lat, tree) > 0


def test_without_neighbours_pairs_are_lost(monkeypatch):
    tree = TREES[400]
    lon, lat, pairs = pairs_at(RADIUS, tree, 1000, seed=6)
    none = np.full(8, -1, dtype=np.int64)
    monkeypatch.setattr(
        healpix, "neighbours", lambda _, pixels: np.tile(none, (len(pixels), 1))
    )
    assert lost(pairs, lon, lat, tree) > 0


@settings(deadline=None)
@given(
    st.builds(mixed_tree, st.integers(12, 80), st.integers(0, 99)),
    sky,
    bearings,
    st.floats(0, 1.2).flatmap(
        lambda r: st.tuples(
            st.just(r), st.sampled_from([r, r * (1 - 1e-13), r * (1 + 1e-13), r / 2])
        )
    ),
)
def test_every_leaf_within_the_radius_is_a_host(tree, position, bearing, angles):
    radius, angle = (a * healpix.min_width(tree.orders[-1] + 1) / 1.21 for a in angles)
    here = np.array([position[0]]), np.array([position[1]])
    there = from_here(*here, [bearing], angle)
    _, hosts = overlap_hosts(*here, tree, radius)
    own, other = chunks_of(*here, tree), chunks_of(*there, tree)
    assert own[0] not in hosts
    assert len(np.unique(hosts)) == len(hosts)
    assert own[0] == other[0] or other[0] in hosts


def test_a_copy_is_at_most_one_margin_pixel_too_far():
    tree = TREES[60]
    stars = border_sky(tree, background=20_000, seed=4)
    lon, lat = stars["ra"], stars["dec"]
    rows, hosts = overlap_hosts(lon, lat, tree, RADIUS)
    assert np.all(np.diff(rows) >= 0)
    # The row's own pixel of order 11 touches the host.
    farthest = 2 * healpix.max_radius(11)
    points = np.column_stack(healpix.unit_vectors(lon, lat))
    for host in np.unique(hosts)[:20].tolist():
        border = corners(order_of(host), pixel_of(host), step=2048)
        step = np.max(np.linalg.norm(np.diff(border, axis=0), axis=1))
        gap = np.linalg.norm(points[rows[hosts == host], None] - border, axis=2)
        assert gap.min(axis=1).max() <= np.radians(farthest) + step


def test_rows_far_from_borders_have_no_hosts():
    lon, lat = positions(healpix.centers(3, np.arange(768)))
    for order in (0, 1, 2, 3):
        rows, hosts = overlap_hosts(lon, lat, ChunkTree.uniform(order), RADIUS)
        inner = healpix.pixels(lon, lat, 3)[rows]
        assert len(hosts) == 0 or order < 3
        assert not len(inner)


def test_the_deepest_order_of_a_radius():
    assert deepest_order(RADIUS) == 10
    assert deepest_order(5 * ARCSEC) == 13
    assert deepest_order(19.7) == 0
    with pytest.raises(InvalidRequest, match="too wide for any tree"):
        deepest_order(20)
    for radius in (-1.0, float("nan")):
        with pytest.raises(InvalidRequest, match="0 degrees or more"):
            deepest_order(radius)


def test_a_tree_too_deep_for_the_radius_is_refused():
    crowd = Load(np.zeros(10, dtype=np.int64), 1.0, director=True)
    deep = ChunkTree.build([crowd], leaf_rows=1, leaf_bytes=1, max_order=11)
    with pytest.raises(InvalidRequest, match=r"order 11 is too deep .* order 10 at mo"):
        overlap_hosts([0.0], [0.0], deep, RADIUS)
    assert len(overlap_hosts([0.0], [0.0], deep, 20 * ARCSEC)[0]) == 0


def test_positions_off_the_sky_are_refused():
    with pytest.raises(InvalidRequest, match="not on the sky"):
        overlap_hosts([0.0], [91.0], TREES[12], RADIUS)
