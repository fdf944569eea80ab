"""Loads replace tables, or the files of earlier loads: snapshots keep what they had."""

from contextlib import closing, contextmanager
from dataclasses import replace

import pytest
import sqlalchemy as sa
from support import metadata, recalled
from support.dump import dump

from qserv import sqltext
from qserv.catalog import history, loadhistory, publication, rebuild, replacing
from qserv.catalog.backends import SQLITE, backend
from qserv.catalog.database import Database
from qserv.catalog.gathered import Listed
from qserv.catalog.provenance import Contribution
from qserv.catalog.replacing import Replaced, resolved
from qserv.catalog.snapshot import Role
from qserv.catalog.store import Store
from qserv.catalog.tables import Column, DataType
from qserv.errors import Conflict, InvalidRequest

LAYOUT = metadata.family(replicas=2)
CONTENTS = {n: ("Object", f"{n}{n}" * 32) for n in (1, 2, 3)}
OTHER = replace(
    metadata.OBJECT, columns=(*metadata.OBJECT.columns, Column("z", DataType.INTEGER))
)


@pytest.fixture
def store(tmp_path, metadata_place):
    """Have Object in two loads of 20 rows each, the second brighter than the first."""
    with closing(Store.open(tmp_path / "czar", metadata_place)) as opened:
        publish(opened, 1, {"mag": (10, 20), "n": (0, 5)})
        publish(opened, 2, {"mag": (5, 12), "n": (1, 9)})
        yield opened


def publish(store, number, bounds, replaces=(), rows=10, load="", **changes):
    """Publish one more load of Object, of the content of a number."""
    load = load or f"load-{number}"
    version = store.snapshot().id + 1
    made = metadata.files(load, LAYOUT, version, rows)
    brought = (Contribution("Object", f"{number}.csv", CONTENTS[number][1], 20, 0, 0),)
    values = {
        "layout": LAYOUT,
        "tables": (metadata.OBJECT,),
        "files": tuple(file for file in made if file.table == "Object"),
        "contributions": brought,
        "bounds": {"Object": bounds},
        "replaces": tuple(replaces),
    }
    return metadata.publish(store, load, **values | changes)


def going(store, *loads, kept=()):
    """Return what goes of Object, as it is now."""
    with store.reading() as connection:
        asked = Replaced("object", loads, kept)
        return resolved(connection, store.tables, "HIP", asked)


def live(store):
    """Return the numbers of the contributions that are live, as their contents tell."""
    with store.reading() as connection:
        found = loadhistory.origins(
            connection, store.tables, "hip", list(CONTENTS.values())
        )
    return sorted((origin.number, origin.held) for origin in found.values())


def gone(store, number):
    with store.reading() as connection:
        load = f"load-{number}"
        found = loadhistory.contributions(connection, store.tables, load)
    return [one.gone for one in found]


def paths(store):
    return {file.entry.path for file in store.files("hip", "Object")}


def is_told_right(store, snapshot, rows, bounds):
    """Check what is answered without reading a file."""
    found = store.snapshot(snapshot).table("hip", "Object")
    assert found.rows == rows == int(found.statistics.rows.sum())
    assert found.bounds == bounds


def test_a_table_is_replaced_whole_and_may_become_another(store):
    all_of_it = going(store)
    assert (all_of_it.version, all_of_it.rows, all_of_it.files) == (2, 40, 8)
    fresh = publish(store, 3, {"mag": (7, 8)}, [all_of_it], 4, tables=(OTHER,))
    assert fresh.table("hip", "Object").table == OTHER
    assert {path[:6] for path in paths(store)} == {"load-3"}
    assert [shard.shard for shard in fresh.table("hip", "Object").index] == [2]
    is_told_right(store, 3, 8, {"mag": (7, 8)})
    is_told_right(store, 2, 40, {"mag": (5, 20), "n": (0, 9)})
    assert store.snapshot(2).table("hip", "Object").table == metadata.OBJECT
    assert live(store) == [(3, 3)]
    assert [gone(store, number) for number in (1, 2, 3)] == [[3], [3], [0]]


def test_only_the_files_of_some_loads_go(store):
    """Bounds follow: what is left is as narrow as its loads knew it."""
    some = going(store, "load-1")
    assert (some.rows, some.files, some.shards) == (20, 4, (0,))
    fresh = publish(store, 3, {"mag": (6, 7), "n": (2, 3)}, [some], 5)
    assert {path[:6] for path in paths(store)} == {"load-2", "load-3"}
    assert [shard.shard for shard in fresh.table("hip", "Object").index] == [1, 2]
    is_told_right(store, 3, 30, {"mag": (5, 12), "n": (1, 9)})
    is_told_right(store, 2, 40, {"mag": (5, 20), "n": (0, 9)})
    assert live(store) == [(2, 2), (3, 3)]


def test_bounds_that_no_load_told_are_forgotten(store):
    versions = store.tables["table_version"]
    with store.writing() as connection:
        # As an earlier qserv wrote them.
        connection.execute(sa.update(versions).values(own_bounds=None))
    publish(store, 3, {"mag": (6, 7)}, [going(store, "load-1")])
    is_told_right(store, 3, 40, {})


def overlaps(store):
    """Return the overlap of Object in each snapshot that there is."""
    newest = store.snapshot().id
    known = (store.snapshot(number + 1) for number in range(newest))
    return [snapshot.table("hip", "Object").overlap for snapshot in known]


def test_an_overlap_is_a_fact_of_a_snapshot(store, tmp_path):
    """Rebuilt metadata know it, too, and so does a czar that reads only what is new."""
    wider = {"Object": 2 * LAYOUT.overlap}
    again = going(store, kept=(1, 2))
    publish(store, 3, {}, [again], contributions=(), radii=wider)
    publish(store, 3, {}, load="load-4", radii=wider)
    known = [LAYOUT.overlap] * 2 + [2 * LAYOUT.overlap] * 2
    assert overlaps(store) == known
    assert store.snapshot().families["hip"].overlap == LAYOUT.overlap
    with closing(backend(tmp_path / "again", SQLITE)) as target:
        rebuild.rebuild(recalled.helds(store), target)
    with closing(Store(Database(backend(tmp_path / "again", SQLITE)))) as rebuilt:
        assert overlaps(rebuilt) == known


def test_a_table_that_becomes_empty_has_no_bounds_left(store):
    nothing = {"files": (), "contributions": ()}
    publish(store, 3, {}, [going(store, "load-1", "load-2")], **nothing)
    is_told_right(store, 3, 0, {})
    publish(store, 3, {"mag": (1, 2)}, load="load-4")
    is_told_right(store, 4, 20, {"mag": (1, 2)})


def test_with_the_bounds_of_all_its_versions_a_minimum_would_be_stale(
    store, monkeypatch
):
    monkeypatch.setattr(publication.replacing, "named", lambda _: {})
    publish(store, 3, {"mag": (6, 7), "n": (2, 3)}, [going(store, "load-1")])
    assert store.snapshot().table("hip", "Object").bounds["mag"] == (5, 20)


@pytest.mark.parametrize("loads", [(), ("load-1",)])
def test_rows_that_come_again_stay_live(store, loads):
    """A column is added: the files are others, the rows and their origin are not."""
    again = going(store, *loads, kept=(1,) * 20_000)  # said in several batches
    assert again.complete == bool(loads)
    publish(store, 3, {"mag": (5, 6)}, [again])
    there = [(1, 3), (2, 2), (3, 3)] if loads else [(1, 3), (3, 3)]
    assert live(store) == there
    # What is told of the files that hold its rows now leads to them again.
    third = going(store, "load-3")
    assert (third.versions, third.rows) == ((3,), 20)
    publish(store, 3, {"mag": (5, 6)}, [third], load="load-4", contributions=())
    assert live(store) == [one for one in there if one[1] == 2]
    assert gone(store, 1) == [4]


def test_what_is_not_there_is_not_replaced(store):
    for loads, kept, why in (
        (("load-7",), (), "Object has nothing live of load load-7"),
        (("load-1",), (2,), "contribution 2 of table Object brought no rows that are"),
    ):
        with pytest.raises(InvalidRequest, match=why):
            going(store, *loads, kept=kept)
    with store.reading() as connection:
        new = resolved(connection, store.tables, "hip", Replaced("Novel"))
        assert (new.version, new.rows) == (0, 0)
        with pytest.raises(InvalidRequest, match=r"there is no table hip\.Novel"):
            resolved(connection, store.tables, "hip", Replaced("Novel", kept=(1,)))


@pytest.mark.parametrize("loads", [(), ("load-1",)])
def test_a_table_that_changed_meanwhile_is_not_replaced(store, loads):
    before = going(store, *loads)
    publish(store, 3, {})
    with pytest.raises(Conflict, match=r"hip\.Object changed while a load ran"):
        publish(store, 3, {}, [before], load="load-4")
    assert (store.snapshot().id, len(live(store))) == (3, 3)


def test_without_that_check_rows_would_go_that_nobody_meant(store, monkeypatch):
    before = going(store)
    publish(store, 3, {})
    monkeypatch.setattr(replacing, "_newest", lambda *_: before.version)
    publish(store, 3, {}, [before], load="load-4")
    assert store.snapshot().table("hip", "Object").rows == 20


def test_rebuilt_metadata_have_the_table_after_its_replacement(store, tmp_path):
    publish(store, 3, {"mag": (6, 7)}, [going(store, "load-1")])
    publish(store, 3, {}, [going(store)], load="load-4", tables=(OTHER,))
    with closing(backend(tmp_path / "again", SQLITE)) as target:
        report = rebuild.rebuild(recalled.helds(store), target)
    assert report.lost == []
    with closing(Store(Database(backend(tmp_path / "again", SQLITE)))) as again:
        assert dump(again, ("manifest_entry", "replica")) == dump(
            store, ("manifest_entry", "replica")
        )
        ignored = {"ignored": ("id",)}
        assert (
            dump(again, **ignored)["manifest_entry"]
            == dump(store, **ignored)["manifest_entry"]
        )
        assert again.snapshot().table("hip", "Object").table == OTHER
        assert {file.entry.path[:6] for file in again.files("hip", "Object")} == {
            "load-4"
        }


@pytest.mark.parametrize("kept", [(), (1,)])
def test_a_table_that_goes_back_has_its_origins_again(store, tmp_path, kept):
    """Where the files of the newest version are lost, and that is accepted."""
    before = live(store)
    publish(store, 3, {}, [going(store, "load-1", kept=kept)])
    with without(store, tmp_path, "load-3") as (again, lost):
        assert "it goes back to snapshot 2" in lost[0]
        assert again.snapshot().table("hip", "Object").rows == 40
        assert live(again) == before
        # What was lost may be loaded again.
        assert [gone(again, number) for number in (1, 2, 3)] == [[0], [0], [3]]


def test_rows_that_were_read_again_often_are_where_they_were_then(store, tmp_path):
    for before, load in (("load-1", "load-3"), ("load-3", "load-4")):
        read_again(store, before, load)
    assert live(store) == [(1, 4), (2, 2)]
    with store.reading() as connection:
        told = loadhistory.loads(connection, store.tables)
    assert [(load.rows, load.again) for load in told] == [(0, 20)] * 2 + [(0, 0)] * 2
    with without(store, tmp_path, "load-4") as (found, _):
        assert live(found) == [(1, 3), (2, 2)]
        assert going(found, "load-3", kept=(1,)).complete
        # It has forgotten what came later, and may be read again.
        read_again(found, "load-3", "load-5")
        assert live(found) == [(1, found.snapshot().id), (2, 2)]


@pytest.mark.parametrize("others", [("load-3",), ("load-3", "load-4")])
def test_a_table_that_never_became_another_has_its_origins_as_it_ended(
    store, tmp_path, others
):
    """Nor did the other become a third."""
    for load in others:
        again = {"contributions": (), "tables": (OTHER,), "load": load}
        publish(store, 3, {}, [going(store, kept=(1, 2))], **again)
    with without(store, tmp_path, others) as (found, lost):
        assert ["it is left out" in line for line in lost] == [True] * len(others)
        assert live(found) == []
        # Older snapshots have the rows in the table that was.
        assert [gone(found, number) for number in (1, 2)] == [[3], [3]]
        assert held(found) == [(1, 1), (1, 2)]
        # The next of its name is what its own load says.
        assert going(found).version == 0
        fresh = publish(found, 3, {}, load="load-5")
        assert fresh.table("hip", "Object").table == metadata.OBJECT


def held(store):
    """Return the tables and versions whose files hold the rows of contributions."""
    brought = store.tables["contribution"].c
    with store.reading() as connection:
        rows = sa.select(brought.table_id, brought.held_since).order_by(brought.id)
        return [tuple(row) for row in connection.execute(rows)]


def test_older_snapshots_that_lost_files_do_not_show_the_rest(store, tmp_path):
    publish(store, 3, {"mag": (6, 7)}, [going(store, "load-1")])
    with without(store, tmp_path, "load-1") as (again, lost):
        shown = [line.split(" there ")[0] for line in lost]
        assert shown == [f"of hip.Object at snapshot {number}" for number in (1, 2)]
        for number in (1, 2):
            assert again.snapshot(number).release("hip").tables == {}
        is_told_right(again, 3, 40, {"mag": (5, 12)})
        # It was accepted, and is told once.
        with closing(backend(tmp_path / "third", SQLITE)) as target:
            assert rebuild.rebuild(recalled.helds(again), target).lost == []


def read_again(store, before, load):
    """Have a load make the files of another anew."""
    replaces = [going(store, before, kept=(1,))]
    publish(store, 1, {}, replaces, load=load, contributions=())


@contextmanager
def without(store, tmp_path, load):
    """Rebuild metadata from workers that lost the files of a load."""

    def there(listed):
        entries = tuple(e for e in listed.entries if not e.path.startswith(load))
        return replace(listed, entries=entries)

    helds = [
        replace(held, lists=lambda each=held: map(there, each.lists()))
        for held in recalled.helds(store)
    ]
    with closing(backend(tmp_path / "again", SQLITE)) as target:
        report = rebuild.rebuild(helds, target, allow_loss=True)
    with closing(Store(Database(backend(tmp_path / "again", SQLITE)))) as again:
        yield again, report.lost


def test_a_replacement_that_was_not_published_never_was(store, tmp_path):
    """Workers installed it, and the metadata were lost."""
    held, *others = recalled.helds(store)
    entry = metadata.entry("load-9/o4", 4, version=9)
    in_vain = Listed("hip", "Object", 9, "load-9", (entry,))
    helds = [replace(held, lists=lambda: [*held.lists(), in_vain]), *others]
    with closing(backend(tmp_path / "again", SQLITE)) as target:
        report = rebuild.rebuild(helds, target)
    assert (report.aborted, report.lost) == (("load-9",), [])
    with closing(Store(Database(backend(tmp_path / "again", SQLITE)))) as again:
        is_told_right(again, 2, 40, {"mag": (5, 20), "n": (0, 9)})
        assert paths(again) == paths(store)


def test_files_that_went_are_of_no_version_after(store):
    """Repair, scrub and readers ask the versions in which a file is live."""
    publish(store, 3, {}, [going(store, "load-1")])
    entries = store.tables["manifest_entry"]
    with store.reading() as connection:
        rows = connection.execute(sa.select(entries).where(entries.c.table_id == 1))
        ends = {(e.path[:6], e.validity) for e in map(history.entry, rows)}
    assert ends == {("load-1", (1, 3)), ("load-2", (2, None)), ("load-3", (3, None))}
    base = [f for f in store.files("hip", "Object") if f.entry.role is Role.BASE]
    assert sorted(file.entry.chunk for file in base) == [4, 4, 5, 5]


OLD = """
INSERT INTO load (id, release_name, family_name, state, who, pipeline, begun, reason)
    VALUES ('a', 'F', 'f', 'committed', '', '', '', '');
INSERT INTO snapshot (id, load_id, created) VALUES (4, 'a', ''), (5, NULL, '');
INSERT INTO family (name, overlap, leaf_rows, leaf_bytes, replicas)
    VALUES ('f', 0.5, 1, 1, 1);
INSERT INTO catalog_release (id, name, folded, state, family_name, created)
    VALUES (1, 'F', 'f', 'published', 'f', '');
INSERT INTO catalog_table
    (id, release_id, name, folded, kind, description, valid_from, valid_to)
    VALUES (1, 1, 'T', 't#1', 'replicated', '', 4, 5),
           (2, 1, 'U', 'u', 'director', '', 4, NULL);
INSERT INTO table_version (table_id, version, tree_version, live_rows)
    VALUES (1, 4, 1, 1), (2, 4, 1, 1);
INSERT INTO contribution
    (id, load_id, table_id, source, sha256, total_rows, nulled, wrapped)
    VALUES (1, 'a', 1, 't', '', 1, 0, 0), (2, 'a', 2, 'u', '', 1, 0, 0)
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def migrated(request, tmp_path):
    """Open metadata that had been filled before any table could be replaced."""
    first = 12
    on_server = request.param == "postgresql"
    place = request.getfixturevalue("postgres").database() if on_server else SQLITE
    scripts = [one for one in sqltext.migrations() if one[0] < first]
    with (
        closing(
            Database(backend(tmp_path / "old", place), migrations=lambda: scripts)
        ) as database,
        database.opening() as connection,
    ):
        for statement in OLD.split(";\n"):
            connection.exec_driver_sql(statement)
    with closing(Database(backend(tmp_path / "old", place))) as database:
        yield database


def test_older_metadata_know_what_is_live_and_how_far_overlap_reaches(migrated):
    brought, versions = (
        migrated.tables["contribution"],
        migrated.tables["table_version"],
    )
    with migrated.reading() as connection:
        rows = connection.execute(sa.select(brought).order_by(brought.c.id))
        found = [(row.held_since, row.valid_to) for row in rows]
        by_table = sa.select(versions).order_by(versions.c.table_id)
        reach = [row.overlap for row in connection.execute(by_table)]
    assert found == [(4, 5), (4, None)]
    assert reach == [0, 0.5]
