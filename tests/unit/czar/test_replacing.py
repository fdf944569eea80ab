"""Tables are replaced where what stays is right, and what was known still holds."""

from dataclasses import replace

import pytest
from support import metadata
from support.czarloads import asked, commit, files, place, read, source

from qserv.catalog.provenance import Contribution
from qserv.catalog.replacing import Replaced
from qserv.catalog.snapshot import EVERYWHERE
from qserv.catalog.tables import Column, DataType
from qserv.catalog.views import View
from qserv.czar import replacing
from qserv.czar.installation import Installation
from qserv.czar.loads import Loads
from qserv.czar.views import Views
from qserv.errors import Conflict, InvalidRequest
from qserv.plan import planner

SOURCE = (metadata.OBJECT, metadata.SOURCE)
BOTH = (Replaced("object"), Replaced("source"))
OTHER = replace(
    metadata.SOURCE,
    columns=(*metadata.SOURCE.columns[:2], Column("z", DataType.INTEGER)),
)
CONTENT = "cd"
"""Of the file that is live."""


class Planning:
    """What a view needs of a planner: it knows the columns of tables."""

    def plan(self, text, snapshot, *, language, default_release, frugal):
        return planner.plan(
            text, snapshot, language=language, default_release=default_release
        )


def czar(store, members, clock):
    installation = Installation(store=store, members=members)
    return Loads(
        store=store,
        members=members,
        installation=installation,
        replicas=1,
        clock=clock,
    )


@pytest.fixture
async def loads(store, members, workers, clock):
    metadata.publish(store)
    made = czar(store, members, clock)
    yield made
    await made.close()


@pytest.fixture
async def views(store, loads):
    made = Views(store=store, planning=Planning(), loads=loads)
    loads.replacing.broken = made.broken
    yield made
    await made.close()


async def begin(loads, *replaces, tables=SOURCE, **more):
    return await loads.begin(asked(tables=tables, replaces=replaces, **more))


async def contributed(loads, begun, names=("SOURCE",)):
    """Take a load to where it may commit; return the paths of its files."""
    number = begun.transaction
    placed = await place(loads, number, begun.target)
    found = [file for file in files(number, placed) if file.table in names]
    await loads.contribute(number, [], found)
    return {file.entry.path for file in found}


def live(store, table="Source"):
    return {file.entry.path for file in store.files("hip", table)}


async def test_a_child_is_replaced_beside_its_director(loads, store, workers):
    begun = await begin(loads, Replaced("source"))
    (gone,) = begun.target.replaces
    assert (gone.table, gone.version, gone.rows, gone.files) == ("Source", 1, 50, 1)
    # Its loader compares with what stays: the director alone.
    assert [v.table.name for v in begun.target.existing] == ["Object"]

    paths = await contributed(loads, begun)
    assert await commit(loads, begun.transaction, {"Source": 50}) == 2

    assert live(store) == paths
    assert len(live(store, "Object")) == 4
    for worker in workers.values():
        (manifest,) = worker.installed[-1].manifests
        assert {entry.path for entry in manifest.entries} <= paths
    (past,) = await loads.history(load=begun.transaction)
    assert past.replaced == ("Source",)


async def test_a_director_goes_with_its_children_or_not_at_all(loads, store):
    with pytest.raises(Conflict, match=r"Object is the director of hip\.Source, whose"):
        await begin(loads, Replaced("Object"))
    # New rows of the child do not replace those that are there.
    with pytest.raises(Conflict, match="replace them by the same load"):
        await begin(loads, Replaced("Object"), Replaced("Source", ("load-1",)))
    assert loads.open == ()
    begun = await begin(loads, *BOTH)
    assert begun.target.existing == ()
    paths = await contributed(loads, begun, ("OBJECT", "SOURCE"))
    await commit(loads, begun.transaction, {"Object": 20, "Source": 50})
    assert live(store) | live(store, "Object") == paths


async def test_without_that_rule_children_would_name_what_is_gone(
    loads, store, monkeypatch
):
    monkeypatch.setattr(replacing, "check_children", lambda *_: None)
    begun = await begin(loads, Replaced("Object"))
    await contributed(loads, begun, ("OBJECT",))
    await commit(loads, begun.transaction, {"Object": 20})
    assert store.snapshot().table("hip", "Source").manifest_version == 1


async def test_a_director_may_be_made_anew_of_all_its_rows(loads, store):
    """As where a column is added: its keys stay where they are."""
    with pytest.raises(Conflict, match="is the director of"):
        await begin(loads, Replaced("Object", kept=()))
    for rows in (10, 20):
        begun = await begin(loads, Replaced("Object", ("load-1",), (1,)))
        number, target = begun.transaction, begun.target
        assert target.existing[0].index == ()
        placed = await place(loads, number, target)
        found = [
            file
            for file in files(number, placed)
            if file.table == "OBJECT"
            and (rows == 20 or not file.entry.path.endswith("o5"))
        ]
        await loads.contribute(number, [], found)
        if rows == 10:
            with pytest.raises(Conflict, match=r"is the director of hip\.Source"):
                await commit(loads, number, {"Object": rows})
    await commit(loads, number, {"Object": 20})
    assert store.snapshot().table("hip", "Object").rows == 20
    found = await loads.registry.origins("hip", [("Object", CONTENT * 32)])
    assert [origin.held for origin in found.values()] == [store.snapshot().id]


async def test_the_same_content_is_loaded_again(loads, store):
    same = source("objects.parquet", CONTENT)
    assert (await begin(loads, inputs=(same,))).snapshot == 1
    begun = await begin(loads, *BOTH, inputs=(same,))
    (known,) = begun.inputs
    assert (known.snapshot, known.number > 0) == (0, True)
    placed = await place(loads, begun.transaction, begun.target)
    mine = replace(read("x"), sha256=CONTENT * 32, number=known.number)
    made = [f for f in files(begun.transaction, placed) if f.table == "OBJECT"]
    await loads.contribute(begun.transaction, [mine], made)
    await commit(loads, begun.transaction, {"Object": 20})
    assert (await begin(loads, inputs=(same,))).snapshot == 2


async def test_a_table_that_changed_is_not_replaced(loads, store):
    """Nobody begins beside such a load; should the table change all the same..."""
    begun = await begin(loads, Replaced("source"))
    await contributed(loads, begun)
    metadata.publish(store, "load-9", contributions=())
    with pytest.raises(Conflict, match=r"hip\.Source changed while a load ran"):
        await commit(loads, begun.transaction, {"Source": 50})
    assert store.snapshot().id == 2
    await loads.abort(begun.transaction, "it cannot be committed")
    assert "load-9/s4" in live(store)


@pytest.mark.parametrize("first", [True, False])
async def test_nobody_loads_into_what_is_replaced(loads, clock, first):
    one = await begin(loads, *([Replaced("source")] if first else []))
    with pytest.raises(Conflict, match="one of the two replaces the table"):
        await begin(loads, *([] if first else [Replaced("source")]))
    # Who appends to the director takes nothing away from the child.
    other = await begin(loads, tables=(metadata.OBJECT,))
    assert len(loads.open) == 2
    assert {one.transaction, other.transaction} == set(loads.open)
    # A loader that fell silent gives way, as ever.
    clock.now += 31
    last = await begin(loads, Replaced("source"))
    assert one.transaction not in loads.open
    assert last.transaction in loads.open


async def test_another_czar_goes_on_with_what_was_written(loads, store, members, clock):
    begun = await begin(loads, *BOTH, fingerprint="f")
    await contributed(loads, begun, ("OBJECT", "SOURCE"))
    again = czar(store, members, clock)
    await again.recover()
    (load,) = again.registry.open.values()
    assert load.target.replaces == begun.target.replaces
    assert load.target.existing == ()
    assert await commit(again, load.id, {"Object": 20, "Source": 50}) == 2
    assert all(path.startswith(load.id) for path in live(store))
    await again.close()


async def test_views_must_still_be_readable(loads, views, store):
    await views.create("hip", View("bright", "SELECT sourceId, flux FROM Source"))
    tables = (metadata.OBJECT, OTHER)
    with pytest.raises(Conflict, match=r"(?s)hip\.Source cannot be replaced.*bright"):
        await begin(loads, Replaced("source"), tables=tables)
    # The same columns are fine, whatever their rows.
    begun = await begin(loads, Replaced("source"))
    await loads.abort(begun.transaction, "enough")
    await views.drop("hip", "bright")
    begun = await begin(loads, Replaced("source"), tables=tables)
    assert begun.target.tables == tables
    await contributed(loads, begun)
    # One that came meanwhile is seen by the commit.
    await views.create("hip", View("bright", "SELECT sourceId, flux FROM Source"))
    with pytest.raises(Conflict, match="bright"):
        await commit(loads, begun.transaction, {"Source": 50})
    assert store.snapshot().table("hip", "Source").table == metadata.SOURCE


async def test_a_table_of_no_load_cannot_be_replaced(loads):
    with pytest.raises(InvalidRequest, match="replaces filter, which is not among its"):
        await begin(loads, Replaced("Filter"))
    begun = await begin(
        loads, Replaced("Novel"), tables=(replace(metadata.FILTER, name="Novel"),)
    )
    assert begun.target.replaces[0].version == 0


async def test_a_table_is_replaced_by_nothing(loads, store):
    begun = await begin(loads, Replaced("filter"), tables=(metadata.FILTER,))
    number = begun.transaction
    placed = await place(loads, number, begun.target, 0)
    assert placed.at[EVERYWHERE]
    empty = Contribution("Filter", "empty.csv", "", 0, 0, 0)
    await loads.contribute(number, [empty], [])
    await commit(loads, number, {})
    assert (store.snapshot().table("hip", "Filter").rows, live(store, "Filter")) == (
        0,
        set(),
    )


async def test_a_dry_run_tells_what_would_go_and_what_would_not(loads):
    begun = await begin(loads, *BOTH, dry_run=True)
    assert [each.rows for each in begun.target.replaces] == [20, 50]
    with pytest.raises(Conflict, match="is the director of"):
        await begin(loads, Replaced("Object"), dry_run=True)
    assert loads.open == ()
