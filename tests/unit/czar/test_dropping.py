"""Tables are dropped only where nothing that stays needs them."""

import asyncio
from dataclasses import replace

import pytest
from support import metadata
from support.czarloads import asked, begin, commit, staged

from qserv.catalog.views import View
from qserv.czar.dropping import Dropping
from qserv.czar.loads import Loads
from qserv.errors import Conflict, InvalidRequest, UnknownName


@pytest.fixture
def loads(store, loads):
    metadata.publish(store)
    return loads


@pytest.fixture
def dropping(store, loads, views, installation):
    return Dropping(store=store, loads=loads, views=views, installation=installation)


def tables(store):
    return set(store.snapshot().release("hip").tables)


async def test_a_table_goes_and_workers_remember_it_first(
    dropping, store, installation
):
    seen = []

    async def remember():
        seen.append(tables(store))

    installation.remember = remember
    gone = await dropping.drop("HIP", "source")
    assert (gone.snapshot, gone.names) == (2, ("Source",))
    assert seen == [{"object", "filter"}]
    with pytest.raises(UnknownName, match="has no table source"):
        await dropping.drop("hip", "source")


async def test_a_director_goes_with_its_children_or_not_at_all(dropping, store):
    with pytest.raises(Conflict, match=r"hip\.Object is the director of hip\.Source"):
        await dropping.drop("hip", "Object")
    assert store.snapshot().id == 1
    gone = await dropping.drop("hip", "Object", with_children=True)
    assert (gone.snapshot, gone.names) == (2, ("Object", "Source"))
    assert tables(store) == {"filter"}


async def test_what_views_read_stays(dropping, views, store):
    await views.create("hip", View("A", "SELECT x FROM Source"))
    await views.create("hip", View("B", "SELECT x FROM A"))
    await views.create("hip", View("C", "SELECT x FROM Filter"))
    with pytest.raises(Conflict, match=r"read by the views hip\.A, hip\.B: drop"):
        await dropping.drop("hip", "Object", with_children=True)
    assert (store.snapshot().id, len(tables(store))) == (4, 3)
    with pytest.raises(UnknownName, match=r"hip\.A is a view"):
        await dropping.drop("hip", "A")
    await views.drop("hip", "B")
    await views.drop("hip", "A")
    assert (await dropping.drop("hip", "Source")).snapshot == 7


async def test_what_a_load_goes_into_stays_until_it_has_ended(dropping, loads):
    number, _ = await begin(loads, tables=(metadata.SOURCE,))
    for name in ("Source", "Object"):
        with pytest.raises(Conflict, match=f"load {number} goes into hip"):
            await dropping.drop("hip", name, with_children=True)
    await dropping.drop("hip", "Filter")
    await loads.abort(number, "no more")
    await dropping.drop("hip", "Object", with_children=True)


async def test_without_asking_for_loads_one_would_lose_its_director(
    dropping, loads, store, monkeypatch
):
    number, _ = await begin(loads, tables=(metadata.SOURCE,))
    monkeypatch.setattr(Loads, "making", lambda *_: None)
    await dropping.drop("hip", "Object", with_children=True)
    assert number in loads.open
    assert tables(store) == {"filter"}


async def test_a_load_may_make_it_again_in_the_tree_that_there_was(
    dropping, loads, store
):
    await dropping.drop("hip", "Object", with_children=True)
    await dropping.drop("hip", "Filter")
    assert tables(store) == set()
    with pytest.raises(InvalidRequest, match=r"has leaf_rows .* since its first load"):
        await loads.begin(asked(leaf_rows=5))
    wider = replace(metadata.FILTER, name="FILTER", description="Bands.")
    all_tables = (metadata.OBJECT, metadata.SOURCE, wider)
    number, placed = await staged(loads, tables=all_tables)
    assert not placed.made
    snapshot = store.snapshot(await commit(loads, number))
    assert snapshot.table("hip", "Filter").table == wider
    assert snapshot.families["hip"].tree_version == 1
    assert snapshot.family("hip").replicas == metadata.family().replicas


async def test_a_drop_ends_even_if_nobody_waits(dropping, loads, views, store):
    async with loads.one_commit:
        asking = asyncio.create_task(dropping.drop("hip", "Source"))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert tables(store) == {"object", "source", "filter"}
    await views.close()
    assert tables(store) == {"object", "filter"}
