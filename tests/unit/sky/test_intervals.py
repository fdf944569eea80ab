import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from qserv.sky.intervals import Intervals

ends = st.sampled_from([-math.inf, *range(-4, 5), math.inf])
sets = st.lists(st.tuples(ends, ends), max_size=5)
PROBES = [-math.inf, *(n / 2 for n in range(-9, 10)), math.inf]


def members(found):
    return [found.contains(probe) for probe in PROBES]


@given(sets, sets)
def test_they_are_sets_of_numbers(first, second):
    a, b = Intervals.of(first), Intervals.of(second)
    both = list(zip(members(a), members(b), strict=True))
    assert members(a) == [any(lo <= p <= hi for lo, hi in first) for p in PROBES]
    assert members(a & b) == [x and y for x, y in both]
    assert members(a | b) == [x or y for x, y in both]
    assert (a & a, a | a) == (a, a)
    assert a.is_empty == (not any(lo <= hi for lo, hi in first))


@given(sets)
def test_pairs_are_sorted_and_disjoint(pairs):
    found = Intervals.of(pairs).pairs
    assert all(a[1] < b[0] for a, b in pairwise(found))


@given(sets, st.integers(1, 3))
def test_simplifying_fills_gaps_and_loses_nothing(pairs, most):
    found = Intervals.of(pairs)
    simple = found.simplify(most)
    assert found & simple == found
    assert len(simple.pairs) <= most
    assert found.is_empty or simple.ends == found.ends


def test_the_smallest_gaps_are_filled_first():
    found = Intervals.of([(0, 1), (2, 3), (9, 9), (5, 6)])
    assert found.simplify(3).pairs == ((0, 3), (5, 6), (9, 9))
    assert found.simplify(2).pairs[-1] == (5, 9) or found.simplify(2).pairs[0] == (0, 6)


def test_each_interval_goes_through_a_change():
    sizes = Intervals.of([(1, 2), (4, 5)])
    both = sizes.through(lambda low, high: [(low, high), (-high, -low)])
    assert both.pairs == ((-5, -4), (-2, -1), (1, 2), (4, 5))
    assert Intervals.all().through(lambda low, high: [(low, high)]) == Intervals.all()
