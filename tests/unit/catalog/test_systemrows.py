"""The tables that qserv fills itself, as the metadata of either kind tell them."""

from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from support import metadata

from qserv.catalog import loadstore, systemrows
from qserv.catalog.provenance import Load
from qserv.catalog.replacing import Replaced
from qserv.catalog.store import Store
from qserv.catalog.system import CONTRIBUTIONS, LOADS


@pytest.fixture
def store(tmp_path, metadata_place):
    with closing(Store.open(tmp_path, metadata_place)) as opened:
        yield opened


def told(store, table, *names, snapshot=None):
    """Return the rows of some columns of a system table."""
    number = store.snapshot().id if snapshot is None else snapshot
    columns = [table.column(name) for name in names]
    with store.reading() as connection:
        read = systemrows.rows(connection, store.tables, table.name, columns, number)
        return [row for values in read for row in zip(*values, strict=True)]


def test_loads_are_told_in_every_state(store):
    metadata.publish(store)
    made = ("hip", "hip", "ada", "p 2", "c0ffee", ("x", "y z"), ("Object", "Source"))
    store.begin(Load("load-2", *made))
    store.abort("load-2", "Ctrl-C", ())
    kept = loadstore.Kept("load-3", "contributing", 1, "", {}, {})
    with store.writing() as connection:
        loadstore.begin(connection, store.tables, Load("load-3", *made), kept)
    states = told(store, LOADS, "load_id", "state", "reason", "snapshot")
    assert sorted(states) == [
        ("load-1", "committed", "", 1),
        ("load-2", "aborted", "Ctrl-C", None),
        ("load-3", "contributing", "", None),
    ]
    names = ("load_id", "release", "family", "who", "pipeline", "configuration")
    (_, row, _) = sorted(told(store, LOADS, *names, "input_ids", "tables", "replaced"))
    plain = ("load-2", "hip", "hip", "ada", "p 2", "c0ffee")
    assert row == (*plain, "x\ny z", "Object\nSource", "")


def test_times_are_in_utc(store):
    metadata.publish(store)
    ((begun, ended),) = told(store, LOADS, "begun", "ended")
    now = datetime.now(UTC).replace(tzinfo=None)
    assert now - timedelta(minutes=1) < begun <= ended <= now
    store.begin(Load("load-2", "hip", "hip", "me", ""))
    assert None in [ended for (ended,) in told(store, LOADS, "ended")]


def test_a_contribution_is_live_at_the_snapshots_that_have_its_rows(store):
    metadata.publish(store)
    again = metadata.files("load-2", metadata.family(), version=2)
    metadata.publish(
        store,
        "load-2",
        files=again,
        replaces=(Replaced("Object", version=1),),
    )
    names = ("number", "load_id", "snapshot", "gone", "live")
    old, new = (1, "load-1", 1, 2), (2, "load-2", 2, None)
    now, then = (told(store, CONTRIBUTIONS, *names, snapshot=n) for n in (2, 1))
    assert now == [(*old, False), (*new, True)]
    assert then == [(*old, True), (*new, False)]


def test_a_contribution_says_what_was_read(store):
    metadata.publish(store)
    names = [c.name for c in CONTRIBUTIONS.columns]
    (row,) = told(store, CONTRIBUTIONS, *names)
    assert dict(zip(names, row, strict=True)) == {
        "number": 1,
        "load_id": "load-1",
        "release": "hip",
        "table_name": "Object",
        "source": "objects.parquet",
        "sha256": "cd" * 32,
        "rows_read": 20,
        "rows_rejected": 0,
        "nulled": 1,
        "wrapped": 2,
        "snapshot": 1,
        "gone": None,
        "live": True,
    }


def test_many_rows_come_in_parts(store, monkeypatch):
    monkeypatch.setattr(systemrows, "_AT_A_TIME", 2)
    metadata.publish(store)
    for number in range(4):
        store.begin(Load(f"more-{number}", "hip", "hip", "me", ""))
    assert len(told(store, LOADS, "load_id")) == 5
