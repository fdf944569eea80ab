"""Tests for `qserv.ingest.bulk.counting`."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qserv.ingest.bulk.counting import added, coarse, counted

ORDER = 6
ROWS = st.lists(st.integers(0, 12 * 4**ORDER - 1), min_size=1, max_size=300)


def count(rows):
    return counted(np.sort(np.array(rows, np.int64)))


@given(ROWS, ROWS)
def test_counts_add_up(some, others):
    pixels, rows = added(count(some), count(others))
    both = count(some + others)
    assert np.array_equal(pixels, both[0])
    assert np.array_equal(rows, both[1])


@given(ROWS, st.integers(0, 50))
def test_only_few_rows_are_counted_where_they_are_not(places, few):
    exact, found = count(places), coarse(count(places), few)
    assert found[1].sum() == len(places)
    assert np.isin(found[0], exact[0]).all()
    for shift in range(0, 2 * ORDER + 1, 2):
        for pixel in range(12 * 4**ORDER >> shift if shift > 6 else 0):
            there = exact[1][exact[0] >> shift == pixel].sum()
            said = found[1][found[0] >> shift == pixel].sum()
            assert abs(there - said) <= few


def test_a_sky_of_single_rows_takes_few_counts():
    every = np.arange(12 * 4**ORDER)
    pixels, rows = coarse(count(every), 64)
    assert pixels.tolist() == every[::64].tolist()
    assert (rows == 64).all()
    crowded = np.repeat(np.arange(4), 20)
    assert coarse(count(crowded), 19)[0].tolist() == [0, 1, 2, 3]
    assert coarse(count(crowded), 80)[0].tolist() == [0]
