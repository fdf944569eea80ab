import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qserv.errors import InvalidRequest
from qserv.sky.ranges import SPHERE, RangeSet

pixels = st.sets(st.integers(0, 40))
pairs = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 9)).map(lambda p: (p[0], sum(p)))
)


def range_set(members):
    return RangeSet.of([(m, m + 1) for m in members])


def members(ranges):
    return {p for low, high in ranges.bounds.tolist() for p in range(low, high)}


@given(pixels, pixels)
def test_algebra_is_that_of_sets(a, b):
    x, y = range_set(a), range_set(b)
    assert members(x & y) == a & b
    assert members(x | y) == a | b
    assert members(x - y) == a - b
    assert (x == y) == (a == b)
    assert (a != b) or hash(x) == hash(y)
    assert x.is_empty == (not a)


@given(pairs)
def test_of_is_the_union_with_the_fewest_ranges(given_pairs):
    ranges = RangeSet.of(given_pairs)
    wanted = {p for low, high in given_pairs for p in range(low, high)}
    assert members(ranges) == wanted
    assert len(ranges) == sum(p - 1 not in wanted for p in wanted)
    everywhere = np.arange(60)
    assert ranges.contains(everywhere).tolist() == [p in wanted for p in range(60)]


@given(pixels, st.integers(1, 6))
def test_simplify_fills_the_smallest_gaps(a, most):
    ranges = range_set(a)
    simple = ranges.simplify(most)
    assert len(simple) == min(most, len(ranges))
    assert (ranges - simple).is_empty
    filled = (simple - ranges).bounds
    kept = (RangeSet.of([(0, 60)]) - simple).bounds[1:-1]
    if len(filled) and len(kept):
        assert np.diff(filled).max() <= np.diff(kept).min()


@given(st.integers(0, 3), st.sets(st.integers(0, 11), min_size=1))
def test_pixels_of_any_order_come_back(order, some):
    found = RangeSet.from_pixels(order, list(some) * 2)
    assert found.pixels(order).tolist() == sorted(some)
    assert found.touched(order + 1) == 4 * len(some)
    assert found.coarsen(0).pixels(0).tolist() == np.unique(found.pixels(0)).tolist()


@given(pixels, st.integers(24, 29))
def test_coarsen_is_the_smallest_superset_of_whole_pixels(a, order):
    step = 4 ** (29 - order)
    wanted = {q for p in a for q in range(p // step * step, (p // step + 1) * step)}
    assert members(range_set(a).coarsen(order)) == wanted


def test_everything_and_nothing():
    everything, nothing = RangeSet.everything(), RangeSet.nothing()
    assert everything.contains([0, SPHERE - 1]).all()
    assert everything == RangeSet.from_pixels(0, np.arange(12))
    assert everything - everything == nothing == everything & nothing
    assert not nothing.contains([0, 5]).any()


def test_bounds_cannot_be_changed():
    given_bounds = np.array([[1, 2]])
    ranges = RangeSet(given_bounds)
    given_bounds[0, 0] = 0
    assert ranges.bounds[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        ranges.bounds[0, 0] = 0


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: RangeSet.of([(5, 3)]), "ends before it begins"),
        (lambda: RangeSet.of([(-1, 3)]), "leave the sphere"),
        (lambda: RangeSet.of([(0, SPHERE + 1)]), "leave the sphere"),
        (lambda: RangeSet(np.array([[0, 2], [2, 4]])), "sorted and disjoint"),
        (lambda: RangeSet.everything().simplify(0), "at least one range"),
    ],
)
def test_refusals(make, text):
    with pytest.raises(InvalidRequest, match=text):
        make()
