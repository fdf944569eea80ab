"""What became of loads: which content is live where, what each file brought."""

from contextlib import closing

import pytest
from support import metadata

from qserv.catalog import loadhistory, loadstore
from qserv.catalog.counters import reserve
from qserv.catalog.provenance import Contribution, Input, Load, Origin
from qserv.catalog.store import Store


@pytest.fixture
def store(tmp_path, metadata_place):
    with closing(Store.open(tmp_path, metadata_place)) as opened:
        yield opened


def ask(store, question, *given, **values):
    with store.reading() as connection:
        return question(connection, store.tables, *given, **values)


def test_a_content_is_known_by_the_table_it_went_to(store):
    metadata.publish(store)
    known, new = "cd" * 32, "ef" * 32
    wanted = [("Object", known), ("Object", new), ("Source", known)]
    found = ask(store, loadhistory.origins, "HIP", wanted)
    assert found == {("Object", known): Origin("objects.parquet", "load-1", 1, 1, 1)}
    assert ask(store, loadhistory.origins, "other", wanted) == {}


def test_loads_are_told_newest_first_and_those_that_ended_in_part(store):
    metadata.publish(store)
    metadata.publish(
        store, "load-2", files=metadata.files("load-2", metadata.family(), version=2)
    )
    store.begin(Load("load-3", "other", "other", "me", "p 1", "c0ffee", ("x",), ("T",)))

    def ids(**wanted):
        return [load.id for load in ask(store, loadhistory.loads, **wanted)]

    assert ids() == ["load-3", "load-2", "load-1"]
    assert ids(ended=1) == ["load-3", "load-2"]
    assert ids(release="HIP", ended=None) == ["load-2", "load-1"]
    (open_,) = ask(store, loadhistory.loads, load="load-3")
    assert (open_.state, open_.ended, open_.snapshot) == ("begun", "", None)
    assert (open_.configuration, open_.input_ids) == ("c0ffee", ("x",))
    assert open_.tables == ("T",)


def test_contributions_have_the_numbers_that_were_given(store):
    named = Contribution("Source", "s.parquet", "aa" * 32, 50, 0, 0, 3, number=7)
    other = Contribution("Object", "o.parquet", "bb" * 32, 20, 1, 2)
    with store.writing() as connection:
        assert reserve(connection, store.tables, "contributions", 7) == 0
    metadata.publish(store, contributions=(named, other))
    found = ask(store, loadhistory.contributions, "load-1")
    assert [(each.number, each.source) for each in found] == [
        (7, "s.parquet"),
        (8, "o.parquet"),
    ]
    assert found[0] == named


def test_an_abort_drops_what_is_kept_but_not_the_counts(store):
    load = Load("load-1", "hip", "hip", "me", "")
    kept = loadstore.Kept("load-1", "begun", 1, "", {}, {})
    with store.writing() as connection:
        loadstore.begin(connection, store.tables, load, kept)
        read = [
            Input(0, "Object", "o", "aa", read=True, rows=9, rejected=1),
            Input(0, "Object", "p", "bb", read=True, rows=1),
        ]
        numbered = loadstore.contribute(
            connection,
            store.tables,
            "load-1",
            state="contributing",
            read=read,
            files=metadata.files("load-1", metadata.family()),
            known=(),
        )
    assert [each.number for each in numbered] == [1, 2]
    (found,) = ask(store, loadstore.unfinished)
    assert (found.inputs, len(found.files)) == (numbered, 6)
    store.abort("load-1", "Ctrl-C", ())
    assert ask(store, loadstore.unfinished) == ()
    (past,) = ask(store, loadhistory.loads)
    assert (past.state, past.rows, past.rejected) == ("aborted", 10, 1)


@pytest.mark.parametrize("counter", ["contributions", "shards"])
def test_a_number_is_given_once(store, counter):
    with store.writing() as connection:
        taken = [reserve(connection, store.tables, counter, n) for n in (3, 0, 2)]
        assert taken == [0, 3, 3]
        assert reserve(connection, store.tables, counter, 1) == 5
