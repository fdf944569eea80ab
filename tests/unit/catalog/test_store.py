"""The metadata: whole or not at all, for ever, and never of two czars."""

import re
import threading
from contextlib import closing
from dataclasses import replace

import pytest
import sqlalchemy as sa
from support import metadata

from qserv import sqltext
from qserv.catalog import backends, loadstore
from qserv.catalog.database import Database
from qserv.catalog.provenance import Load
from qserv.catalog.snapshot import IndexShard
from qserv.catalog.store import Store
from qserv.catalog.tables import TableKind
from qserv.errors import (
    Conflict,
    InvalidRequest,
    MetadataDamaged,
    MetadataUnavailable,
    UnknownName,
)


@pytest.fixture
def store(tmp_path, metadata_place):
    with closing(Store.open(tmp_path, metadata_place)) as opened:
        yield opened


def opened(directory, place, scripts):
    return Database(backends.backend(directory, place), migrations=lambda: scripts)


def rows(store, query):
    with store.reading() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query)]


def test_a_publication_shows_in_the_next_snapshot_whole(store):
    assert store.snapshot().releases == {}

    snapshot = metadata.publish(store)

    assert snapshot is store.snapshot()
    layout = metadata.family()
    family = snapshot.family("HIP")
    assert (family.tree, family.replicas) == (layout.tree, layout.replicas)
    assert (family.overlap, family.leaf_rows) == (layout.overlap, layout.leaf_rows)
    version = snapshot.table("hip", "object")
    assert version.table == metadata.OBJECT
    assert version.rows == 20
    assert version.offset == 0.5
    assert metadata.chunks_of(version.statistics) == {4: [10, 1300], 5: [10, 1000]}
    assert version.index == (IndexShard(0, 1, 1000, layout.replicas[4]),)
    source = snapshot.table("hip", "Source")
    assert (source.table, source.rows, source.offset) == (metadata.SOURCE, 50, None)
    copied = snapshot.table("hip", "Filter").statistics
    assert metadata.chunks_of(copied) == {0: [6, 600]}


def test_links_and_ids_of_tables_survive_a_restart(store, tmp_path):
    pairs = replace(
        metadata.SOURCE,
        name="Pairs",
        kind=TableKind.REF_MATCH,
        second_key="sourceId",
        second_director="Object",
    )
    named = replace(metadata.SOURCE, id="sourceId")
    tables = (metadata.OBJECT, metadata.FILTER, named, pairs)
    metadata.publish(store, tables=tables)
    store.close()

    with closing(Store.open(tmp_path)) as again:
        release = again.snapshot().release("hip").tables
    assert {version.table for version in release.values()} == set(tables)


def test_all_of_it_survives_a_restart(store, tmp_path):
    before = metadata.publish(store)
    store.close()

    with closing(Store.open(tmp_path)) as again:
        assert again.cluster_id == store.cluster_id
        assert again.epoch == store.epoch + 1
        after = again.snapshot()
    assert after.id == before.id
    assert after.families == before.families
    assert after.table("hip", "Object").table == metadata.OBJECT


def test_an_older_snapshot_stays_as_it_was(store):
    first = metadata.publish(store)
    layout = metadata.family()
    second = metadata.publish(
        store, "load-2", files=metadata.files("load-2", layout, version=2)
    )

    assert (first.id, second.id) == (1, 2)
    assert second.table("hip", "Object").rows == 40
    assert [shard.shard for shard in second.table("hip", "Object").index] == [0, 1]
    then = store.snapshot(1)
    assert then.table("hip", "Object").rows == 20
    assert then.table("hip", "Object").manifest_version == 1
    assert store.snapshot(0).releases == {}
    with pytest.raises(UnknownName, match="no snapshot 3; the newest is 2"):
        store.snapshot(3)


def test_bounds_are_those_of_all_loads_or_unknown(store):
    def ends(snapshot, table):
        return snapshot.table("hip", table).bounds

    bounds = {"Object": {"ra": (1.0, 2.0), "dec": None}, "Source": {"flux": (3, 4)}}
    first = metadata.publish(store, bounds=bounds)
    assert ends(first, "Object") == {"ra": (1.0, 2.0), "dec": None}
    second = metadata.publish(store, "load-2", bounds={"Object": {"ra": (0.5, 1.5)}})
    assert ends(second, "Object") == {"ra": (0.5, 2.0)}
    assert ends(second, "Source") == {}, "one of its loads did not say"
    third = metadata.publish(store, "load-3", files=(), bounds={})
    assert ends(third, "Object") == {"ra": (0.5, 2.0)}, "no rows were added"
    assert ends(store.snapshot(first.id), "Object") == bounds["Object"]


def test_a_publication_that_fails_half_way_leaves_nothing(store, tmp_path):
    metadata.publish(store)

    with pytest.raises(sa.exc.IntegrityError):
        # Its paths exist already, which is noticed after releases and trees.
        metadata.publish(
            store,
            "load-2",
            release="other",
            layout=replace(metadata.family(), name="other"),
            files=metadata.files("load-1", metadata.family(), version=2),
        )

    assert set(store.snapshot().releases) == {"hip"}
    assert rows(store, "SELECT name FROM family") == [("hip",)]
    assert rows(store, "SELECT MAX(id) FROM snapshot") == [(1,)]
    # Its number is spent: a worker may have installed it.
    assert store.allocate() == 3


def test_without_the_transaction_half_a_publication_would_show(store):
    metadata.publish(store)
    engine = store._database._backend.engine
    if engine.name == "sqlite":
        sa.event.remove(engine, "begin", backends._on_begin)
    else:
        engine.update_execution_options(isolation_level="AUTOCOMMIT")

    with pytest.raises(sa.exc.IntegrityError):
        metadata.publish(
            store,
            "load-2",
            release="other",
            layout=replace(metadata.family(), name="other"),
            files=metadata.files("load-1", metadata.family(), version=2),
        )

    assert rows(store, "SELECT name FROM family") == [("hip",), ("other",)]


def test_a_load_left_unfinished_is_there_at_the_next_start(store, tmp_path):
    store.join("w1", "127.0.0.1:1")
    store.begin(Load("load-1", "hip", "hip", "me", ""))
    store.close()

    with closing(Store.open(tmp_path)) as again:
        with again.reading() as connection:
            assert loadstore.abandoned(connection, again.tables) == ("load-1",)
        again.abort("load-1", "nobody can go on", ["w1"])
        assert again.discards("w1") == ("load-1",)
        again.discarded("load-1", "w1")
        assert again.discards("w1") == ()


def test_two_czars_never_share_metadata(store, tmp_path, monkeypatch):
    monkeypatch.setattr("qserv.patience.OWNER", 0.0)
    where = re.escape(str(store._database._backend))
    with pytest.raises(Conflict, match=f"another czar is running on {where}"):
        Store.open(tmp_path)
    store.close()
    Store.open(tmp_path).close()


def test_metadata_of_a_newer_qserv_is_refused(tmp_path, metadata_place):
    newer = [*sqltext.migrations(), (1000, "CREATE TABLE more (id BIGINT);\n")]
    Store(opened(tmp_path, metadata_place, newer)).close()

    with pytest.raises(InvalidRequest, match=r"format 1000, but this qserv knows \d+ "):
        Store.open(tmp_path, metadata_place)
    # The refusal gave the lock back.
    opened(tmp_path, metadata_place, newer).close()


def test_a_migration_that_fails_leaves_the_format_as_it_was(
    store, tmp_path, metadata_place
):
    store.close()
    broken = "CREATE TABLE more (id BIGINT);\nCREATE TABLE more (id BIGINT);\n"
    scripts = [*sqltext.migrations(), (1000, broken)]
    with pytest.raises((MetadataUnavailable, sa.exc.ProgrammingError)):
        opened(tmp_path, metadata_place, scripts)
    Store.open(tmp_path).close()


def test_what_did_not_change_is_not_read_again(store):
    first = metadata.publish(store)
    only = tuple(
        f for f in metadata.files("load-2", metadata.family(), 2) if f.table == "Source"
    )
    second = metadata.publish(store, "load-2", tables=(metadata.SOURCE,), files=only)

    def table(snapshot, name):
        return snapshot.table("hip", name)

    assert table(second, "Object") is table(first, "Object")
    assert table(second, "Source").rows == 2 * table(first, "Source").rows
    assert second.families["hip"] is first.families["hip"]
    again = store.refreshed()
    assert again.families == second.families
    for name in ("Object", "Source", "Filter"):
        one, two = table(again, name), table(second, name)
        assert metadata.chunks_of(one.statistics) == metadata.chunks_of(two.statistics)
        assert (one.rows, one.offset, one.index) == (two.rows, two.offset, two.index)


@pytest.mark.parametrize(("start", "end"), [(0, 100), (4096, 90_000)])
def test_metadata_that_cannot_be_read_say_what_helps(tmp_path, start, end):
    with closing(Store.open(tmp_path)) as store:
        metadata.publish(store)
    file = tmp_path / "metadata.sqlite"
    data = bytearray(file.read_bytes())
    data[start:end] = b"\xff" * len(data[start:end])
    file.write_bytes(data)
    with (
        pytest.raises(MetadataDamaged, match="qserv metadata restore BACKUP, or") as it,
        closing(Store.open(tmp_path)) as store,
    ):
        store.snapshot()
    assert str(tmp_path) in it.value.text


def test_nobody_writes_between_a_change_and_its_being_shown(store, monkeypatch):
    """Else an older view would take the place of one that tells where chunks went."""
    free = []

    def show(store, newest):
        other = threading.Thread(
            target=lambda: free.append(store._write.acquire(blocking=False))
        )
        other.start()
        other.join()
        vars(store)["shown"] = newest

    monkeypatch.setattr(Store, "_newest", property(lambda s: s.shown, show), False)
    store.shown = vars(store).pop("_newest")
    metadata.publish(store)
    store.refreshed()
    assert free == [False, False]
