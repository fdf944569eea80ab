"""Views in the metadata: each snapshot keeps those that it had."""

from contextlib import closing
from dataclasses import replace

import pytest
import sqlalchemy as sa
from support import metadata

from qserv.catalog.store import Store
from qserv.catalog.views import View
from qserv.errors import Conflict

BRIGHT = View("Bright", "SELECT objectId FROM Object WHERE mag < 15", "The bright.")
OTHER = replace(BRIGHT, name="BRIGHT", text="SELECT ra FROM hip.Object")


@pytest.fixture
def store(tmp_path, metadata_place):
    with closing(Store.open(tmp_path, metadata_place)) as opened:
        metadata.publish(opened)
        yield opened


def views(snapshot):
    return snapshot.release("hip").views


def since(number, view):
    return {view.name.lower(): replace(view, since=number)}


def test_views_come_change_and_go_with_snapshots(store, tmp_path):
    made = store.create_view("HIP", BRIGHT)
    changed = store.create_view("hip", OTHER)
    gone = store.drop_view("hip", "bright")

    assert [made.id, changed.id, gone.id] == [2, 3, 4]
    assert views(made) == since(2, BRIGHT)
    assert made.view("hip", "BRIGHT").text == BRIGHT.text
    store.close()
    with closing(Store.open(tmp_path)) as again:
        then = [views(again.snapshot(number)) for number in range(1, 5)]
        assert then == [{}, since(2, BRIGHT), since(3, OTHER), {}]
        assert again.snapshot().id == 4
        assert again.snapshot().table("hip", "Object").rows == 20
        assert views(again.create_view("hip", BRIGHT)) == since(5, BRIGHT)


def test_loads_after_it_leave_a_view_as_it_is(store):
    store.create_view("hip", BRIGHT)
    files = metadata.files("load-2", metadata.family(), version=3)
    loaded = metadata.publish(store, "load-2", files=files)
    assert (loaded.id, loaded.table("hip", "Object").rows) == (3, 40)
    assert views(loaded) == since(2, BRIGHT)


def test_a_view_never_takes_the_name_of_a_table(store):
    with pytest.raises(Conflict, match=r"hip\.OBJECT is a table"):
        store.create_view("hip", replace(BRIGHT, name="OBJECT"))
    assert (store.snapshot().id, views(store.snapshot())) == (1, {})


def test_a_table_never_takes_the_name_of_a_view(store):
    store.create_view("hip", BRIGHT)
    named = replace(metadata.FILTER, name="bright")
    alone = {"tables": (named,), "files": (), "contributions": ()}
    with pytest.raises(Conflict, match="bright is a view of this release: drop it"):
        metadata.publish(store, "load-2", **alone)
    assert store.snapshot().id == 2
    other = metadata.family(name="other")
    metadata.publish(store, "load-3", release="other", layout=other, **alone)
    assert store.snapshot().table("other", "Bright").table == named


def test_the_database_itself_keeps_one_view_of_a_name(store):
    store.create_view("hip", BRIGHT)
    views = store.tables["catalog_view"]
    row = {"id": 9, "release_id": 1, "name": "b", "folded": "bright"}
    row |= {"definition": "", "description": "", "valid_from": 2}
    with pytest.raises(sa.exc.IntegrityError), store.writing() as connection:
        connection.execute(sa.insert(views).values(row))
