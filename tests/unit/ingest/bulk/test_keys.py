"""Every key is kept once, and what was loaded first keeps it."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qserv.errors import BadContribution
from qserv.ingest.bulk import keys, runs
from qserv.ingest.bulk.keys import KEY, KeyTask, Known
from qserv.ingest.bulk.runs import INPUT, NUMBER, ORDER
from qserv.ingest.bulk.scratch import Scratch


class Live:
    """A live index that knows some keys."""

    def __init__(self, *known):
        self.known = known

    def homes(self, found):
        return np.array([0 if k in self.known else -1 for k in found.to_pylist()])


def shards(tmp_path, files, count=1, live=None, kind=None):
    """Sort the keys of input files, each given as a list, into shards."""
    scratch = Scratch(tmp_path)
    made = []
    for number, found in enumerate(files):
        order = sorted(range(len(found)), key=lambda at: found[at])
        rows = {
            KEY: pa.array([found[at] for at in order], kind),
            ORDER: pa.array([100 * number + at for at in order], pa.int64()),
            INPUT: pa.array([number] * len(found), pa.int32()),
            NUMBER: pa.array([at + 1 for at in order], pa.int64()),
        }
        made.append(keys.write_run(scratch, f"run{number}", pa.table(rows)))
    return [
        keys.merge(
            KeyTask(f"shard{n}", scratch, "objectId", tuple(made), low, high, live)
        )
        for n, (low, high) in enumerate(keys.ranges(made, count))
    ]


def content(shard):
    rows = runs.map_batch(shard.path)
    return dict(
        zip(rows.column(KEY).to_pylist(), rows.column(ORDER).to_pylist(), strict=True)
    )


def test_the_first_row_of_a_key_is_kept(tmp_path):
    (shard,) = shards(tmp_path, [[5, 6, 5], [7, 6]])
    assert content(shard) == {5: 0, 6: 1, 7: 100}
    assert [(r.input, r.row, r.value, r.reason) for r in shard.rejects] == [
        (0, 3, "5", "5 is a duplicate key"),
        (1, 2, "6", "6 is a duplicate key"),
    ]
    assert keys.dropped([shard]).tolist() == [3, (1 << 40) + 2]


def test_keys_that_are_live_are_left_out(tmp_path):
    (shard,) = shards(tmp_path, [[5, 6, 6]], live=Live(6))
    assert content(shard) == {5: 0}
    assert {r.reason for r in shard.rejects} == {"6 is in the release already"}


def test_without_the_comparison_a_duplicate_would_be_kept(tmp_path, monkeypatch):
    """The guarantee, switched off."""
    monkeypatch.setattr(keys, "_repeated", lambda rows: np.zeros(rows.num_rows, bool))
    (shard,) = shards(tmp_path, [[5, 5]])
    assert shard.rows == 2


def test_text_keys(tmp_path):
    found = shards(tmp_path, [["b", "é", "a"], ["b", "c"]], count=2)
    assert {k: v for shard in found for k, v in content(shard).items()} == {
        "a": 2, "b": 0, "c": 101, "é": 1,
    }  # fmt: skip
    known = Known(tuple(found), "the key k of T")
    assert known.homes(pa.array(["é", None, "zz", "a"])).tolist() == [1, -1, -1, 2]


def test_keys_of_other_types_do_not_meet(tmp_path):
    known = Known(tuple(shards(tmp_path, [[1, 2]])), "the key objectId of Object")
    with pytest.raises(
        BadContribution, match=r"keys are string, but the key objectId of Object is int"
    ):
        known.homes(pa.array(["1"]))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(st.integers(-50, 50) | st.sampled_from([-(2**63), 2**63 - 1])),
        min_size=1,
        max_size=4,
    ),
    st.integers(1, 5),
)
def test_shards_hold_each_key_once_and_find_it(tmp_path_factory, files, count):
    files = [found for found in files if found]
    place = tmp_path_factory.mktemp("keys")
    made = shards(place, files, count, kind=pa.int64()) if files else []
    expected = {}
    for number, found in enumerate(files):
        for at, key in enumerate(found):
            expected.setdefault(key, 100 * number + at)
    held = [content(shard) for shard in made]
    assert sum(map(len, held)) == len(expected)
    assert {k: v for each in held for k, v in each.items()} == expected
    total = sum(map(len, files))
    assert sum(len(shard.rejects) for shard in made) == total - len(expected)
    asked = [*expected, 51, -51]
    homes = Known(tuple(made), "").homes(pa.array(asked, pa.int64())).tolist()
    assert homes == [expected.get(key, -1) for key in asked]
