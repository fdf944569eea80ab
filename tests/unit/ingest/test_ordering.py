"""Sorting by packed numbers is a stable sort, however wide the numbers are."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qserv.ingest import ordering

LOWEST, HIGHEST = -(2**63), 2**63 - 1
NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.integers(2**62 - 3, 2**62),
    st.sampled_from([LOWEST, LOWEST + 1, -1, 0, HIGHEST - 1, HIGHEST]),
    st.integers(LOWEST, HIGHEST),
)


def stable(values):
    return np.argsort(values, kind="stable").tolist()


@settings(max_examples=500, deadline=None)
@given(st.lists(NUMBERS, max_size=60))
def test_numbers_of_any_width_are_sorted_stably(numbers):
    values = np.array(numbers, np.int64)
    assert ordering.ascending(values).tolist() == stable(values)


def wide():
    """Return numbers of which many differ only in bits that do not fit."""
    rng = np.random.default_rng(1)
    values = rng.choice(rng.integers(0, 2**62, 100), 5000) + rng.integers(0, 9, 5000)
    return np.concatenate((values, [0, 2**62]))


def test_numbers_that_differ_in_dropped_bits_only_are_told_apart():
    assert ordering.ascending(wide()).tolist() == stable(wide())


def test_without_the_second_sort_they_are_not(monkeypatch):
    monkeypatch.setattr(ordering, "untied", lambda order, *_: order)
    assert ordering.ascending(wide()).tolist() != stable(wide())


@pytest.mark.parametrize("keys", [[], [7], [3, -1, 3, 0], ["b", "a", "b", ""]])
def test_keys_are_sorted_stably(keys):
    kind = pa.string() if keys and isinstance(keys[0], str) else pa.int64()
    expected = sorted(range(len(keys)), key=keys.__getitem__)
    assert ordering.by_key(pa.array(keys, kind)).tolist() == expected


@given(st.lists(st.integers(0, 3), max_size=20).map(sorted))
def test_runs_are_all_of_the_values_and_each_has_one(values):
    runs = list(ordering.runs_of(np.array(values, np.int64)))
    assert [at for start, stop in runs for at in range(start, stop)] == [
        *range(len(values))
    ]
    assert all(len(set(values[start:stop])) == 1 for start, stop in runs)
    assert len(runs) == len(set(values))
