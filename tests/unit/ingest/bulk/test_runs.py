"""Tasks share the leaves so that all rows are cut once, and none gets too many."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qserv.errors import LimitExceeded
from qserv.ingest.bulk import runs
from qserv.ingest.bulk.runs import ORDER, Share, shares
from qserv.ingest.bulk.scratch import Scratch


def table(order, values):
    return pa.table({ORDER: pa.array(order, pa.int64()), "v": values})


def test_slices_come_run_after_run(tmp_path):
    scratch = Scratch(tmp_path)
    made = [
        runs.write(scratch, "a", table([1, 3, 3, 9], ["a", "b", "c", "d"])),
        runs.write(scratch, "b", table([3, 4], ["e", "f"])),
        runs.write(scratch, "c", table([8], ["g"])),
    ]
    assert (made[0].rows, made[0].low, made[0].high) == (4, 1, 9)
    assert runs.cut(made, 3, 8)["v"].to_pylist() == ["b", "c", "e", "f"]
    assert runs.cut(made, 0, 100).num_rows == 7
    assert runs.cut(made, 5, 8) is None


def test_a_slice_holds_no_more_memory_than_its_rows(tmp_path):
    """Of each run a little would be much more: the system maps what lies around it."""
    run = runs.write(Scratch(tmp_path), "a", table(range(10**5), range(10**5)))
    assert runs.cut([run], 500, 600).get_total_buffer_size() < 2 * 8 * 200


def test_rows_that_do_not_fit_one_batch_are_not_cut_off(tmp_path):
    """More than 2 GiB of text stay in several, and one is all that is mapped."""
    parts = pa.concat_tables([table([1], ["a"]), table([1], ["b"])])
    huge = SimpleNamespace(
        combine_chunks=lambda: parts, num_rows=2, schema=parts.schema
    )
    with pytest.raises(LimitExceeded, match="more than 2 GiB of text"):
        runs.write_batch(Scratch(tmp_path), "huge", huge)


def test_leaves_are_grouped_and_large_ones_cut():
    ranges = np.array([[0, 10], [10, 20], [20, 30], [30, 40], [40, 50]])
    at = np.array([1, 12, 20, 22, 24, 26, 45])
    size = np.array([4.0, 4, 9, 9, 9, 9, 1])
    assert list(shares(ranges, at, size, 10)) == [
        Share(0, 20, 0),
        Share(20, 22, 0),
        Share(22, 24, 1),
        Share(24, 26, 2),
        Share(26, 30, 3),
        Share(30, 50, 0),
    ]


def test_a_single_place_may_hold_more():
    assert list(shares(np.array([[0, 8]]), np.array([3]), np.array([99.0]), 10)) == [
        Share(0, 8, 0)
    ]


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=12),
    st.dictionaries(st.integers(0, 100), st.floats(0.1, 50), max_size=40),
    st.floats(1, 60),
)
def test_every_row_is_in_one_share_of_its_leaf(widths, rows, most):
    ends = np.cumsum([0, *widths])
    ranges = np.column_stack((ends[:-1], ends[1:]))
    at = np.array(sorted(place for place in rows if place < ends[-1]), np.int64)
    size = np.array([rows[place] for place in at.tolist()], np.float64)
    found = shares(ranges, at, size, most)
    assert [0, *(s.high for s in found)] == [*(s.low for s in found), ends[-1]]
    for share in found:
        inside = (at >= share.low) & (at < share.high)
        whole = {share.low, share.high} <= set(ends.tolist())
        leaves = np.searchsorted(ends, [share.low, share.high - 1], side="right")
        assert whole or leaves[0] == leaves[1]
        heaviest = size[inside].max(initial=0)
        assert size[inside].sum() <= most + heaviest
    named = [(np.searchsorted(ends, s.low, side="right"), s.part) for s in found]
    assert len(set(named)) == len(named)
