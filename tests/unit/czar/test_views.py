"""Views: only what can be read is made, and stays readable."""

import asyncio
from dataclasses import replace

import pytest
from support import metadata

from qserv.catalog.views import View
from qserv.czar.beginning import Beginning
from qserv.errors import Conflict, InvalidRequest, UnknownName


@pytest.fixture
def loads(store, loads):
    metadata.publish(store)
    return loads


@pytest.fixture
def create(views):
    async def make(name, text, **how):
        release, name = name.split(".")
        return await views.create(release, View(name, text), **how)

    return make


async def test_a_view_is_made_listed_and_dropped(views, create, store):
    made = await create("HIP.Bright", "SELECT x FROM Object")
    assert (made.release, made.view.name, made.trouble) == ("hip", "Bright", "")
    assert [column.name for column in made.columns] == ["x"]
    assert made.view.since == store.snapshot().id == 2
    assert await views.describe() == (made,)
    assert await views.describe(release="hip") == (made,)

    assert await views.drop("hip", "BRIGHT") == 3
    assert await views.describe() == ()
    assert await views.describe(2) == (made,)
    assert await views.describe(1) == ()


REFUSED = {
    "an unknown name": (
        "hip.V",
        "SELECT x FROM hip.None",
        UnknownName,
        "no table None",
    ),
    "itself": ("hip.V", "SELECT x FROM Object V", InvalidRequest, "would read itself"),
    "the name of a table": (
        "hip.OBJECT",
        "SELECT x FROM Filter",
        Conflict,
        "is a table",
    ),
    "a view that exists": ("hip.bright", "SELECT x FROM Object", Conflict, "--replace"),
    "no release": ("hop.V", "SELECT x FROM hip.Object", UnknownName, "no release hop"),
    "a bad name": ("hip.V-1", "SELECT x FROM Object", InvalidRequest, "a letter, then"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_cannot_be_read_is_refused(create, store, case):
    await create("hip.Bright", "SELECT x FROM Object")
    name, text, error, says = REFUSED[case]
    with pytest.raises(error, match=says):
        await create(name, text)
    assert store.snapshot().id == 2


async def test_no_view_reads_itself_around_others(create, store):
    await create("hip.A", "SELECT x FROM Object")
    await create("hip.B", "SELECT x FROM A")
    await create("hip.C", "SELECT x FROM hip.B Filter")
    with pytest.raises(InvalidRequest, match=r"hip\.A would read itself"):
        await create("hip.A", "SELECT x FROM C", replaces=True)
    assert store.snapshot().id == 4
    await create("hip.a", "SELECT z FROM Filter", replaces=True)
    assert store.snapshot().view("hip", "A").text == "SELECT z FROM Filter"


async def test_what_others_read_stays(views, create, store):
    await create("hip.A", "SELECT x FROM Object")
    await create("hip.B", "SELECT x FROM A")
    with pytest.raises(Conflict, match=r"view hip\.B reads hip\.A: drop or replace"):
        await views.drop("hip", "A")
    await views.drop("hip", "B")
    await views.drop("hip", "A")
    assert await views.describe() == ()


async def test_what_others_read_is_replaced_by_what_they_can_read(
    views, create, store, monkeypatch
):
    await create("hip.A", "SELECT x FROM Object")
    await create("hip.B", "SELECT x FROM A")
    plan = views._planning.plan

    def strict(text, snapshot, **how):
        if text == "SELECT x FROM A" and "SELECT y" in snapshot.view("hip", "A").text:
            raise UnknownName("there is no column x")
        return plan(text, snapshot, **how)

    monkeypatch.setattr(views._planning, "plan", strict, raising=False)
    with pytest.raises(
        Conflict, match=r"hip\.B reads hip\.A .* in view hip\.B: .* x; drop"
    ):
        await create("hip.A", "SELECT y FROM Object", replaces=True)
    # What is in trouble already holds nobody up.
    store.create_view("hip", View("A", "SELECT y FROM Object"))
    await create("hip.A", "SELECT y z FROM Object", replaces=True)
    troubles = {d.view.name: d.trouble for d in await views.describe()}
    assert troubles == {"A": "", "B": "there is no column x"}


async def test_only_views_are_dropped(views):
    with pytest.raises(UnknownName, match=r"hip\.Object is a table, not a view"):
        await views.drop("hip", "Object")
    with pytest.raises(UnknownName, match="no view V; it has: none"):
        await views.drop("hip", "V")


async def test_a_table_and_a_view_never_share_a_name(create, loads):
    named = replace(metadata.FILTER, name="Band")
    number = (await loads.begin(Beginning("hip", (named,)))).transaction
    with pytest.raises(Conflict, match=f"load {number} is making the table hip.band"):
        await create("hip.band", "SELECT x FROM Object")
    await loads.abort(number, "enough")
    await create("hip.band", "SELECT x FROM Object")
    with pytest.raises(Conflict, match=r"hip\.Band is a view: drop it"):
        await loads.begin(Beginning("hip", (named,)))


async def test_a_view_waits_for_a_commit_and_goes_on_alone(views, create, loads, store):
    await loads.one_commit.acquire()
    asked = asyncio.create_task(create("hip.A", "SELECT x FROM Object"))
    while not views._changes:
        await asyncio.sleep(0)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert store.snapshot().id == 1
    loads.one_commit.release()
    await views.close()
    assert store.snapshot().view("hip", "A") is not None
