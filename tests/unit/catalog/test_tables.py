"""Tables go and come again in the metadata: each snapshot keeps those that it had."""

from contextlib import closing
from dataclasses import replace

import pytest
import sqlalchemy as sa
from support import metadata, recalled
from support.dump import dump

from qserv import sqltext
from qserv.catalog import history, loadhistory, rebuild, tablestore
from qserv.catalog.backends import SQLITE, backend
from qserv.catalog.database import Database
from qserv.catalog.provenance import Contribution
from qserv.catalog.store import Store
from qserv.catalog.tables import Column, DataType
from qserv.errors import UnknownName

LAYOUT = metadata.family(replicas=2)
CONTENT = "Source", "ef" * 32
BROUGHT = (Contribution(CONTENT[0], "sources.parquet", CONTENT[1], 50, 0, 0),)
OTHER = replace(
    metadata.SOURCE,
    columns=(*metadata.SOURCE.columns[:2], Column("z", DataType.INTEGER)),
)


@pytest.fixture
def store(tmp_path, metadata_place):
    with closing(Store.open(tmp_path / "czar", metadata_place)) as opened:
        metadata.publish(opened, layout=LAYOUT, contributions=BROUGHT)
        yield opened


def make_again(store):
    """Publish Source, and only it, with other columns."""
    files = metadata.files("load-2", LAYOUT, store.snapshot().id + 1, rows=7)
    return metadata.publish(
        store,
        "load-2",
        layout=LAYOUT,
        tables=(OTHER,),
        files=tuple(file for file in files if file.table == "Source"),
        contributions=(),
    )


def live_contents(store):
    with store.reading() as connection:
        return loadhistory.origins(connection, store.tables, "hip", [CONTENT])


def test_a_dropped_table_is_gone_from_then_on_and_there_before(store):
    before = store.snapshot()
    gone = store.drop_tables("HIP", ["SOURCE"])
    assert (before.id, gone.id) == (1, 2)
    with pytest.raises(UnknownName, match="has no table Source"):
        gone.table("hip", "Source")
    assert store.files("hip", "Source") == ()
    assert len(store.files("hip", "Object")) == 4
    assert gone.table("hip", "Object") is before.table("hip", "Object")

    made = make_again(store)
    assert (made.id, made.table("hip", "Source").table) == (3, OTHER)
    assert made.table("hip", "Source").rows == 35
    assert [file.entry.path for file in store.files("hip", "Source")] == ["load-2/s4"]
    for number, rows in ((1, 50), (3, 35)):
        assert store.snapshot(number).table("hip", "source").rows == rows
    assert store.snapshot(1).table("hip", "Source").table == metadata.SOURCE
    assert store.snapshot(1).table("hip", "Source").manifest_version == 1
    assert "source" not in store.snapshot(2).release("hip").tables
    again = store.drop_tables("hip", ["Source"])
    assert "source" not in again.release("hip").tables
    assert store.snapshot(3).table("hip", "Source").rows == 35


def test_the_content_of_a_dropped_table_may_come_again(store):
    assert set(live_contents(store)) == {CONTENT}
    store.drop_tables("hip", ["Source"])
    assert live_contents(store) == {}
    make_again(store)
    assert live_contents(store) == {}
    with store.reading() as connection:
        found = loadhistory.contributions(connection, store.tables, "load-1")
    assert [(one.table, one.source) for one in found] == [("Source", "sources.parquet")]


def test_without_the_end_of_its_life_it_would_be_there(store, monkeypatch):
    monkeypatch.setattr(tablestore, "end", lambda *_: None)
    gone = store.drop_tables("hip", ["Source"])
    assert gone.table("hip", "Source").rows == 50
    assert set(live_contents(store)) == {CONTENT}


def test_without_its_beginning_old_snapshots_would_lose_the_older_one(
    store, monkeypatch
):
    store.drop_tables("hip", ["Source"])
    make_again(store)

    def until(rows, number):
        return sa.or_(rows.c.valid_to.is_(None), rows.c.valid_to > number)

    monkeypatch.setattr(history, "live", until)
    assert "source" not in store.snapshot(1).release("hip").tables


def test_a_release_without_tables_keeps_its_family_and_its_tree(store):
    gone = store.drop_tables("hip", ["Object", "Source", "Filter"])
    assert gone.release("hip").tables == {}
    assert gone.release("hip").family == "hip"
    assert gone.families["hip"].cut
    assert store.snapshot(1).table("hip", "Object").rows == 20
    assert store.snapshot(1).families["hip"].tree == metadata.TREE
    with pytest.raises(UnknownName):
        store.snapshot(0).release("hip")


def test_only_a_table_that_is_cut_makes_a_tree_stay(tmp_path, metadata_place):
    with closing(Store.open(tmp_path / "other", metadata_place)) as store:
        alone = {"tables": (metadata.FILTER,), "files": (), "contributions": ()}
        assert not metadata.publish(store, **alone).families["hip"].cut


def test_rebuilt_metadata_have_both_tables_of_a_name(store, tmp_path):
    store.drop_tables("hip", ["Source"])
    make_again(store)
    store.drop_tables("hip", ["Filter"])
    with closing(backend(tmp_path / "again", SQLITE)) as target:
        report = rebuild.rebuild(recalled.helds(store), target)
    assert (report.tables, report.lost) == (4, [])
    with closing(Store(Database(backend(tmp_path / "again", SQLITE)))) as again:
        without = ("manifest_entry", "replica")
        assert dump(again, without) == dump(store, without)
        ignored = {"ignored": ("id",)}
        assert (
            dump(again, **ignored)["manifest_entry"]
            == dump(store, **ignored)["manifest_entry"]
        )
        assert set(again.snapshot().release("hip").tables) == {"object", "source"}
        rows = [again.snapshot(n).table("hip", "Source").rows for n in (1, 3)]
        assert rows == [50, 35]


NUMBER = 7
"""Of the migration that gives tables a validity."""
OLD = """
INSERT INTO snapshot (id, created) VALUES (4, ''), (5, '');
INSERT INTO family (name, overlap, leaf_rows, leaf_bytes, replicas)
    VALUES ('f', 0, 1, 1, 1);
INSERT INTO catalog_release (id, name, folded, state, family_name, created)
    VALUES (1, 'F', 'f', 'published', 'f', '');
INSERT INTO catalog_table (id, release_id, name, folded, kind, description)
    VALUES (1, 1, 'T', 't', 'replicated', ''), (2, 1, 'U', 'u', 'replicated', '');
INSERT INTO table_version (table_id, version, tree_version, live_rows)
    VALUES (1, 4, 1, 0), (1, 5, 1, 0)
"""


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_tables_of_older_metadata_begin_with_their_first_version(
    kind, tmp_path, request
):
    server = request.getfixturevalue("postgres") if kind == "postgresql" else None
    place = server.database() if server else SQLITE
    scripts = [one for one in sqltext.migrations() if one[0] != NUMBER]
    old = backend(tmp_path / "old", place)
    with (
        closing(Database(old, migrations=lambda: scripts)) as database,
        database.opening() as connection,
    ):
        for statement in OLD.split(";\n"):
            connection.exec_driver_sql(statement)
    new = backend(tmp_path / "old", place)
    with closing(Database(new)) as database, database.reading() as connection:
        rows = sa.select(database.tables["catalog_table"]).order_by(sa.text("id"))
        found = [(r.valid_from, r.valid_to) for r in connection.execute(rows)]
    assert found == [(4, None), (0, None)]
