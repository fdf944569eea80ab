"""Values of a new column find their rows by key; what fits no row is told."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.loads import columns

from qserv.catalog.tables import Table, TableKind
from qserv.ingest import formats
from qserv.ingest.bulk import keys
from qserv.ingest.bulk.scratch import Scratch
from qserv.ingest.formats import rows as batches
from qserv.ingest.inputs import find
from qserv.ingest.rework import values
from qserv.ingest.rework.values import Values, ValuesTask, key_tasks, read

BY_NUMBER = Table("v", TableKind.REPLICATED, columns(id="BIGINT", v="VARCHAR"))
BY_TEXT = Table("v", TableKind.REPLICATED, columns(id="VARCHAR", v="REAL"))


@pytest.fixture(params=[2, 1000])
def small(request, monkeypatch):
    """Read few rows at a time, or all at once."""
    for module in (batches, formats.parquet):
        monkeypatch.setattr(module, "BATCH_ROWS", request.param)


def known(tmp_path, table, **given):
    """Read a file of values; return them and the rows that are bad."""
    file = tmp_path / "v.parquet"
    pq.write_table(pa.table(given), file)
    (found,) = find("v", [file])
    pieces = tuple(formats.pieces(table, found))
    task = ValuesTask("values", Scratch(tmp_path), table, pieces, 7)
    made = read(task)
    shards = tuple(keys.merge(each) for each in key_tasks(task, made))
    bad = [*made.rejects, *(r for shard in shards for r in shard.rejects)]
    kind = pa.string() if table is BY_NUMBER else pa.float32()
    return Values("id", kind, tuple(made.runs), shards), bad


@pytest.mark.usefixtures("small")
def test_each_row_gets_the_value_of_its_key(tmp_path):
    ids = [5, -3, 2**62, 11, 0]
    found, bad = known(tmp_path, BY_NUMBER, id=ids, v=["five", None, "", "ß", "0"])
    assert bad == []
    wanted = pa.chunked_array([pa.array([0, 5, None, 7]), pa.array([2**62, -3, 5])])
    got, places = found.find(wanted)
    assert got.to_pylist() == ["0", "five", None, None, "", None, "five"]
    assert (places >= 0).tolist() == [True, True, False, False, True, True, True]


@pytest.mark.usefixtures("small")
def test_keys_of_no_row_are_told_by_their_row_in_the_file(tmp_path):
    names = [f"k{n}" for n in range(9)]
    found, _ = known(tmp_path, BY_TEXT, id=names, v=np.arange(9, dtype=np.float32))
    scratch, used = Scratch(tmp_path), []
    for number, some in enumerate((["k3", "k0"], ["k3", "x", "k8"], ["k4"])):
        _, places = found.find(pa.chunked_array([some]))
        used.append(scratch.save(f"{number}.npy", np.unique(places[places >= 0])))
    told = sorted(found.unused(used, number=7, table="dr1.T"))
    assert [reject.row for reject in told] == [2, 3, 6, 7, 8]
    assert {reject.input for reject in told} == {7}
    assert told[0].value == "k1"
    assert told[0].reason == "k1 is no id of dr1.T"
    # Without what the tasks had noted, every key would be told.
    assert len(list(found.unused([], number=7, table="dr1.T"))) == 9


@pytest.mark.usefixtures("small")
def test_a_key_that_is_there_twice_or_not_at_all_is_bad(tmp_path):
    _, bad = known(tmp_path, BY_NUMBER, id=[4, 9, None, 4], v=["a", "b", "c", "d"])
    told = sorted((reject.row, reject.reason) for reject in bad)
    assert told == [(3, "the key is NULL"), (4, "4 is a duplicate key")]


def test_many_keys_are_cut_into_shards(tmp_path, monkeypatch):
    monkeypatch.setattr(values, "shard_count", lambda rows: 4)
    ids = np.random.default_rng(1).permutation(1000)
    found, bad = known(tmp_path, BY_NUMBER, id=ids, v=[str(n) for n in ids])
    assert bad == []
    assert len(found.shards) == 4
    assert all(one.high < two.low for one, two in pairwise(found.shards))
    got, _ = found.find(pa.chunked_array([pa.array([999, 0, 500, 1000])]))
    assert got.to_pylist() == ["999", "0", "500", None]
