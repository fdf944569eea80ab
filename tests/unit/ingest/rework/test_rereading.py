"""What was read again is compared with what had to come; a stored row is never bad."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from support.loads import OBJECT

from qserv.errors import BadContribution, Conflict, InternalError
from qserv.ingest.bulk import keys
from qserv.ingest.bulk.gathered import Gathered
from qserv.ingest.bulk.keys import KEY, KeyTask
from qserv.ingest.bulk.runs import INPUT, NUMBER, ORDER
from qserv.ingest.bulk.scratch import Scratch
from qserv.ingest.rejects import Named, Reject, Rejects
from qserv.ingest.rework.asked import Rework, Stored, check_versions
from qserv.ingest.rework.rereading import arranged, numbers_of
from qserv.wire.v1 import czar_pb2 as pb

STORED = Stored(
    "dr1",
    OBJECT,
    7,
    tuple(
        pb.StoredContribution(number=number, source=f"/{number}", rows=rows, load="l")
        for number, rows in ((4, 10), (9, 20))
    ),
    (),
    (),
    children=True,
)
OTHER = replace(STORED, table=replace(OBJECT, name="Other"))


def rereading(tmp_path, *asked):
    return arranged(asked, after=3, scratch=Scratch(tmp_path))


def test_each_contribution_that_is_kept_is_an_input_of_its_own(tmp_path):
    part = Rework(OTHER, frozenset({"l"}), frozenset({4}))
    again = rereading(tmp_path, Rework(STORED), part)
    firsts = {name: (each.values_input, each.first) for name, each in again.items()}
    # Three files, two places for files of values, then what is kept.
    assert firsts == {"object": (3, 5), "other": (4, 7)}
    assert numbers_of(again.values()) == [0, 0, 4, 9, 9]


def test_rows_that_are_missing_are_no_rows_that_were_never_there(tmp_path):
    again = rereading(tmp_path, Rework(STORED))["object"]
    gathered = Gathered(OBJECT, 4, 100)
    gathered.rows = Counter({4: 10, 5: 20})
    again.check(gathered, None, Rejects([], allowed=0, file=None))
    gathered.rows[5] = 19
    with pytest.raises(InternalError, match=r"19 rows of /9 \(number 9\).* brought 20"):
        again.check(gathered, None, Rejects([], allowed=0, file=None))


def test_a_table_that_changed_before_the_load_began_is_not_reworked():
    begun = pb.BeginReply(
        replaced=[pb.ReplacedTable(name="OBJECT", manifest_version=7)]
    )
    check_versions([Rework(STORED)], begun)
    begun.replaced[0].manifest_version = 8
    with pytest.raises(Conflict, match=r"dr1\.Object changed just now"):
        check_versions([Rework(STORED)], begun)


def test_a_stored_row_is_never_left_out_as_bad():
    rejects = Rejects([Named("T", "f.csv")], allowed=None, file=None)
    rejects.add([Reject(0, 1, "id", "7", "7 is a duplicate key")])
    with pytest.raises(InternalError, match="id = 7: 7 is a duplicate key"):
        rejects.add([Reject(1, 1, "id", "7", "7 is a duplicate key")])


def test_rows_that_are_needed_cannot_be_left_out():
    rejects = Rejects([Named("T", "v.csv", needed=True)], allowed=5, file=None)
    rejects.add([Reject(0, 1, "id", "7", "7 is no id of T")])
    with pytest.raises(BadContribution, match=r"7 is no id of T\ncorrect them$"):
        rejects.refuse()


def run(scratch, name, found, homes):
    count = np.arange(len(found))
    columns = {KEY: found, ORDER: homes, INPUT: count.astype(np.int32), NUMBER: count}
    return keys.write_run(scratch, name, pa.table(columns))


@pytest.mark.parametrize(
    ("new", "homes", "missing"),
    [
        ([1, 2, 3], [10, 20, 30], []),
        ([0, 1, 2, 3, 4], [5, 10, 20, 30, 40], []),
        ([1, 3], [10, 30], [2]),
        ([1, 2, 3], [10, 21, 31], [2, 3]),
        ([], [], [1, 2, 3]),
    ],
)
def test_keys_that_go_come_again_at_their_homes(tmp_path, new, homes, missing):
    scratch = Scratch(tmp_path)
    made = run(scratch, "new", pa.array(new, pa.int64()), np.array(homes, np.int64))
    task = KeyTask("keys", scratch, "objectId", (made,), None, None, None)
    gathered = Gathered(OBJECT, 4, 100, shards=(keys.merge(task),))
    old = np.array([1, 2, 3]), np.array([10, 20, 30])
    gathered.gone = [run(scratch, "old", pa.array(old[0]), old[1])]
    again = rereading(tmp_path, Rework(STORED))["object"]
    if not missing:
        again.check_homes(gathered)
        return
    with pytest.raises(BadContribution) as caught:
        again.check_homes(gathered)
    assert f"such as {', '.join(map(str, missing))};" in caught.value.text
