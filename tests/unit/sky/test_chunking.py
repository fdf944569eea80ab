import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.skies import border_sky, mixed_tree

from qserv.errors import InvalidRequest
from qserv.sky import chunking, healpix
from qserv.sky.chunking import (
    CHILD_ROWS_FACTOR,
    ChunkTree,
    Load,
    chunk_id,
    order_of,
    pixel_of,
    pixel_range,
)
from qserv.sky.ranges import SPHERE, RangeSet

trees = st.builds(mixed_tree, st.integers(12, 200), st.integers(0, 99))
homes = st.integers(0, SPHERE - 1)


@given(st.integers(0, 29), st.floats(0, 1, exclude_max=True))
def test_a_chunk_id_tells_order_and_pixel(order, part):
    pixel = int(part * 12 * 4**order)
    chunk = chunk_id(order, pixel)
    assert (order_of(chunk), pixel_of(chunk)) == (order, pixel)
    many = np.array([chunk, 4])
    assert order_of(many).tolist() == [order, 0]
    assert pixel_of(many).tolist() == [pixel, 0]
    low, high = pixel_range(chunk)
    assert (low >> 2 * (29 - order), high - low) == (pixel, 4 ** (29 - order))


@pytest.mark.parametrize("number", [-1, 0, 3, 4**31])
def test_what_is_no_chunk_id_is_refused(number):
    with pytest.raises(InvalidRequest, match="no chunk id"):
        order_of(number)


@given(trees, st.lists(homes, min_size=1))
def test_each_row_is_in_exactly_one_chunk(tree, rows):
    rows = np.array([*rows, 0, SPHERE - 1])
    low, high = chunking.pixel_ranges(tree.chunks).T
    within = (low <= rows[:, None]) & (rows[:, None] < high)
    assert within.sum(axis=1).tolist() == [1] * len(rows)
    assert tree.locate(rows).tolist() == tree.chunks[within.argmax(axis=1)].tolist()


@given(trees, st.lists(st.tuples(homes, homes), max_size=4))
def test_overlapping_finds_every_chunk_touched(tree, pairs):
    ranges = RangeSet.of([(min(pair), max(pair) + 1) for pair in pairs])
    wanted = [
        chunk
        for chunk in tree.chunks.tolist()
        if not (RangeSet.of([pixel_range(chunk)]) & ranges).is_empty
    ]
    assert tree.overlapping(ranges).tolist() == wanted


@given(trees, st.data())
def test_positions_are_where_chunks_stand(tree, data):
    some = data.draw(st.lists(st.integers(0, len(tree) - 1)))
    assert tree.positions(tree.chunks[some]).tolist() == some
    parent = chunk_id(29, 0)
    with pytest.raises(InvalidRequest, match=f"chunk {parent} is no leaf"):
        tree.positions(np.array([parent]))


def test_a_tree_covers_the_sphere_exactly_once():
    whole = ChunkTree.uniform(1).chunks
    again = np.concatenate(([4], whole))
    for broken in (whole[1:], whole[:-1], whole[::-1], again, whole[:0]):
        with pytest.raises(InvalidRequest, match="not a tree"):
            ChunkTree(broken)
    assert ChunkTree(whole) == ChunkTree.uniform(1) != ChunkTree.uniform(0)
    assert len({ChunkTree(whole), ChunkTree.uniform(1)}) == 1


def test_locate_refuses_what_is_no_pixel():
    for pixel in (-1, SPHERE):
        with pytest.raises(InvalidRequest, match="pixels lie in"):
            ChunkTree.uniform(0).locate(np.array([pixel]))


def clumpy(seed):
    sky = border_sky(mixed_tree(40, seed), seed=seed)
    return healpix.pixels(sky["ra"], sky["dec"])


@pytest.mark.parametrize("seed", [1, 2])
def test_build_splits_what_is_too_full_and_nothing_else(seed):
    stars, sources = clumpy(seed), np.repeat(clumpy(seed + 10), 9)
    limits = {"leaf_rows": 100, "leaf_bytes": 20_000}
    loads = [Load(stars, 100.0, director=True), Load(sources, 1.0, director=False)]
    tree = ChunkTree.build(loads, max_order=7, **limits)

    def too_full(chunk):
        low, high = pixel_range(chunk)
        rows = [int(np.sum((low <= x.homes) & (x.homes < high))) for x in loads]
        return (
            rows[0] > 100
            or rows[1] > 100 * CHILD_ROWS_FACTOR
            or rows[0] * 100 + rows[1] > 20_000
        )

    deeper = [c for c in tree.chunks.tolist() if order_of(c) > 0]
    assert len(tree.orders) >= 3
    assert max(tree.orders) <= 7
    assert not any(too_full(c) for c in tree.chunks.tolist() if order_of(c) < 7)
    parents = {chunk_id(order_of(c) - 1, pixel_of(c) // 4) for c in deeper}
    assert all(too_full(parent) for parent in parents)


def test_each_limit_splits_alone():
    rows = np.zeros(1000, dtype=np.int64)

    def depth(*loads, leaf_rows=10**9, leaf_bytes=10**15):
        tree = ChunkTree.build(
            loads, leaf_rows=leaf_rows, leaf_bytes=leaf_bytes, max_order=2
        )
        return tree.orders[-1]

    director, child = Load(rows, 10.0, director=True), Load(rows, 10.0, director=False)
    assert depth(director, child) == 0
    assert depth(director, leaf_rows=999) == 2
    assert depth(director, leaf_rows=1000) == 0
    assert depth(child, leaf_rows=999) == 0
    assert depth(child, leaf_rows=1000 // CHILD_ROWS_FACTOR - 1) == 2
    assert depth(director, child, leaf_bytes=20_000) == 0
    assert depth(director, child, leaf_bytes=19_999) == 2


def test_counted_rows_are_as_many_rows():
    pixels, rows = np.unique(clumpy(3) >> 38, return_counts=True)
    limits = {"leaf_rows": 50, "leaf_bytes": 10**9, "max_order": 8}
    counted = Load(pixels[::-1] << 38, 10.0, director=True, rows=rows[::-1])
    single = Load(clumpy(3), 10.0, director=True)
    assert ChunkTree.build([counted], **limits) == ChunkTree.build([single], **limits)


def test_build_refuses_limits_that_make_no_sense():
    for limits in ((0, 1, 1), (1, 0, 1), (1, 1, -1), (1, 1, 30)):
        names = ("leaf_rows", "leaf_bytes", "max_order")
        with pytest.raises(InvalidRequest, match="a tree needs leaf_rows >= 1"):
            ChunkTree.build([], **dict(zip(names, limits, strict=True)))
    assert ChunkTree.build(
        [], leaf_rows=1, leaf_bytes=1, max_order=5
    ) == ChunkTree.uniform(0)
