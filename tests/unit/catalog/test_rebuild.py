"""Lost metadata is made again of what workers have: all that was acknowledged."""

from contextlib import closing
from dataclasses import replace

import pytest
import sqlalchemy as sa
from support import metadata, recalled
from support.dump import dump

from qserv.catalog import rebuild
from qserv.catalog.backends import SQLITE, backend
from qserv.catalog.database import Database
from qserv.catalog.gathered import Listed
from qserv.catalog.provenance import Load
from qserv.catalog.store import Store
from qserv.catalog.views import View
from qserv.errors import Conflict, CorruptData, InvalidRequest

WITHOUT = ("manifest_entry", "replica")
LAYOUT = metadata.family(replicas=2)


@pytest.fixture
def store(tmp_path, metadata_place):
    with closing(Store.open(tmp_path / "czar", metadata_place)) as opened:
        metadata.publish(opened, layout=LAYOUT)
        opened.create_view("hip", View("Bright", "SELECT ra FROM Object", ""))
        files = metadata.files("load-2", LAYOUT, 3)
        metadata.publish(opened, "load-2", layout=LAYOUT, files=files)
        yield opened


@pytest.fixture
def made(tmp_path):
    """Rebuild into an empty SQLite, and open it; gives the store and the report."""
    opened = []

    def make(helds, **how):
        with closing(backend(tmp_path / "again", SQLITE)) as target:
            report = rebuild.rebuild(helds, target, **how)
        opened.append(Store(Database(backend(tmp_path / "again", SQLITE))))
        return opened[-1], report

    yield make
    for each in opened:
        each.close()


def entries(store):
    return dump(store, ignored=("id",))["manifest_entry"]


def test_what_is_rebuilt_is_what_was_lost(store, made):
    again, report = made(recalled.helds(store))
    assert dump(again, WITHOUT) == dump(store, WITHOUT)
    assert entries(again) == entries(store)
    assert recalled.copies(again) == recalled.copies(store)
    assert again.cluster_id == store.cluster_id
    assert again.epoch > store.epoch
    assert (report.tables, report.files) == (3, 12)
    assert (report.missing, report.aborted, report.lost) == ((), (), [])
    assert again.snapshot(1).table("hip", "Object").rows == 20
    newest = again.snapshot().table("hip", "Object")
    assert newest.bounds == store.snapshot().table("hip", "Object").bounds
    assert newest.index == store.snapshot().table("hip", "Object").index
    files = metadata.files("load-3", LAYOUT, 9)
    assert metadata.publish(again, "load-3", layout=LAYOUT, files=files).id > 3


@pytest.mark.parametrize("lost", ["w1", "w2", "w3"])
def test_with_two_copies_any_worker_may_be_missing(lost, store, made):
    rest = {"w1", "w2", "w3"} - {lost}
    again, report = made(recalled.helds(store, sorted(rest)))
    assert dump(again, WITHOUT) == dump(store, WITHOUT)
    assert entries(again) == entries(store)
    before = recalled.copies(store)
    assert recalled.copies(again) == {p: w - {lost} for p, w in before.items()}
    assert report.missing == (lost,)


def single(tmp_path):
    """One copy of each file, in two loads; chunks 4 and 5 on two workers."""
    layout = metadata.family()
    store = Store.open(tmp_path / "single")
    metadata.publish(store, layout=layout)
    files = [f for f in metadata.files("load-2", layout, 2) if f.entry.chunk == 4]
    metadata.publish(store, "load-2", layout=layout, files=tuple(files))
    return store, layout


def test_missing_files_are_never_a_smaller_table(tmp_path, made):
    store, layout = single(tmp_path)
    (holder,) = layout.replicas[4]
    rest = sorted({"w1", "w2", "w3"} - {holder})
    with closing(store):
        helds = recalled.helds(store, rest)
        with pytest.raises(
            CorruptData, match=f"of hip.Object .* workers {holder}, too"
        ):
            made(helds)
        again, report = made(helds, allow_loss=True)
    assert set(again.snapshot().release("hip").tables) == {"filter"}
    assert [line.partition(" at")[0] for line in report.lost] == [
        "of hip.Object",
        "of hip.Source",
    ]


def test_a_table_goes_back_to_its_newest_whole_version(store, made):
    helds = recalled.helds(store)

    def without(held, path):
        def lists():
            for one in held.lists():
                kept = tuple(e for e in one.entries if e.path != path)
                yield replace(one, entries=kept)

        return replace(held, lists=lists)

    damaged = [without(held, "load-2/v4") for held in helds]
    with pytest.raises(CorruptData, match=r"of hip\.Object at snapshot 3 there are 7"):
        made(damaged)
    again, _ = made(damaged, allow_loss=True)
    assert again.snapshot().table("hip", "Object").rows == 20
    assert again.snapshot().table("hip", "Source").rows == 100
    assert again.snapshot().table("hip", "Object").manifest_version == 1


def test_without_the_count_a_table_would_lose_rows(tmp_path, made, monkeypatch):
    store, layout = single(tmp_path)
    (holder,) = layout.replicas[4]
    rest = sorted({"w1", "w2", "w3"} - {holder})
    monkeypatch.setattr(rebuild.GatheredTable, "whole", lambda self: tuple(self.wanted))
    with closing(store):
        again, _ = made(recalled.helds(store, rest))
    found = again.snapshot().table("hip", "Object")
    assert found.rows > sum(found.statistics.rows)


def test_a_load_between_install_and_publish_is_aborted(store, made):
    store.begin(Load("load-3", "hip", "hip", "me", ""))
    checkpoint = recalled.remembered(store)
    store.begin(Load("load-4", "hip", "hip", "me", ""))
    helds = recalled.helds(store, checkpoint=checkpoint)
    entry = metadata.entry("hip/Object/load-4", 4, version=5)

    def installed(held):
        fresh = Listed("hip", "Object", 5, "load-4", (entry,))
        return replace(held, lists=lambda: [*held.lists(), fresh])

    again, report = made([installed(held) for held in helds])
    assert report.aborted == ("load-3", "load-4")
    assert again.discards("w1") == ("load-3", "load-4")
    assert again.snapshot().id == 3
    assert entries(again) == entries(store)
    assert again.allocate() > 5, "its number is never given again"


def test_unless_workers_remember_it_an_acknowledged_load_would_be_lost(store, made):
    before = recalled.remembered(store)
    files = metadata.files("load-3", LAYOUT, 4)
    metadata.publish(store, "load-3", layout=LAYOUT, files=files)
    again, report = made(recalled.helds(store, checkpoint=before))
    assert report.aborted == ("load-3",)
    assert again.snapshot().table("hip", "Object").rows == 40
    again.close()
    again, report = made(recalled.helds(store), force=True)
    assert report.aborted == ()
    assert again.snapshot().table("hip", "Object").rows == 60


def test_what_may_have_been_acknowledged_is_not_given_up_silently(store, made):
    helds = recalled.helds(store, ["w1"])
    fresh = Listed("hip", "Object", 5, "load-4", ())
    alone = [replace(h, lists=lambda h=h: [*h.lists(), fresh]) for h in helds]
    with pytest.raises(CorruptData, match="load-4 are on workers and may have been"):
        made(alone)


def ended(store, path, version):
    """End the life of a file, as a load does that takes its place."""
    entries = store.tables["manifest_entry"]
    versions = store.tables["table_version"].c
    with store.writing() as connection:
        connection.execute(
            sa.update(entries).where(entries.c.path == path).values(valid_to=version)
        )
        connection.execute(
            sa.update(store.tables["table_version"])
            .where(versions.version == version, versions.table_id == 1)
            .values(files=versions.files - 1, live_rows=versions.live_rows - 10)
        )


def test_files_that_ended_stay_ended(store, made):
    ended(store, "load-1/o4", 3)
    again, _ = made(recalled.helds(store))
    assert entries(again) == entries(store)
    assert again.snapshot(1).table("hip", "Object").rows == 20
    assert again.snapshot().table("hip", "Object").rows == 30


def test_a_worker_that_was_away_ends_no_file(store, made):
    old = recalled.helds(store, ["w1"])[0]
    away = replace(old, lists=lambda: [x for x in old.lists() if x.version < 3])
    again, _ = made([away, *recalled.helds(store, ["w2", "w3"])])
    assert entries(again) == entries(store)


def test_a_damaged_part_is_read_from_another_worker(store, made):
    first, *others = recalled.helds(store)

    def damaged(name):
        raise CorruptData("damaged")

    again, _ = made([replace(first, read=damaged), *others])
    assert dump(again, WITHOUT) == dump(store, WITHOUT)


def test_the_newest_of_what_workers_remember_counts(store, made):
    old = recalled.helds(store)[:2]
    store.drop_view("hip", "bright")
    again, _ = made([*old, recalled.helds(store)[2]])
    assert again.snapshot().id == 4
    assert again.snapshot().view("hip", "bright") is None


def test_workers_of_two_clusters_are_refused(store, made):
    one, two, _ = recalled.helds(store)
    with pytest.raises(Conflict, match="of different clusters"):
        made([one, replace(two, cluster="other")])


def test_workers_that_remember_nothing_are_refused(store, made):
    helds = [replace(held, checkpoint=None) for held in recalled.helds(store)]
    with pytest.raises(InvalidRequest, match="no worker remembers a catalog"):
        made(helds)


def test_metadata_that_are_there_stay(store, made):
    made(recalled.helds(store))[0].close()
    with pytest.raises(Conflict, match="holds metadata already"):
        made(recalled.helds(store))
    made(recalled.helds(store), force=True)


def test_it_may_be_rebuilt_in_postgresql(store, postgres, tmp_path):
    place = postgres.database()
    with closing(backend(tmp_path / "pg", place)) as target:
        rebuild.rebuild(recalled.helds(store), target)
    with closing(Store.open(tmp_path / "pg", place)) as again:
        assert entries(again) == entries(store)
