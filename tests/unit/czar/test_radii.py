"""Which overlap radius the tables of a load get: one for all files of a version."""

from dataclasses import replace

import pytest
from support import metadata
from support.czarloads import begin, commit, place, staged

from qserv.catalog.replacing import Replaced
from qserv.catalog.tables import TableKind
from qserv.czar import committing
from qserv.czar.beginning import target
from qserv.czar.installation import Installation
from qserv.czar.loads import Loads
from qserv.czar.radii import check_fits, radii
from qserv.errors import Conflict, InvalidRequest
from qserv.ingest.events import StagedFile
from qserv.sky.chunking import ChunkTree, widest_overlap

ARCSEC = 1 / 3600
NEW = replace(metadata.OBJECT, name="Novel")
PAIRS = replace(
    metadata.SOURCE,
    name="Pairs",
    kind=TableKind.REF_MATCH,
    second_key="sourceId",
    second_director="Object",
)
TABLES = (metadata.OBJECT, PAIRS, NEW, metadata.SOURCE, metadata.FILTER)


@pytest.fixture
async def loads(store, members, workers, clock):
    """Have a family whose tree is fixed."""
    made = of_a_czar(store, members, clock)
    number, _ = await staged(made)
    await commit(made, number)
    yield made
    await made.close()


def of_a_czar(store, members, clock):
    return Loads(
        store=store,
        members=members,
        installation=Installation(store=store, members=members),
        replicas=1,
        clock=clock,
    )


@pytest.fixture
def known(store, loads):
    """Return Object with an overlap of 120 arcsec, Pairs that are 60 arcsec apart."""
    made = store.snapshot().table("hip", "Object")
    return {
        "object": replace(made, overlap=120 * ARCSEC),
        "pairs": replace(made, table=PAIRS, overlap=60 * ARCSEC),
    }


def found(known, *replaces, asked=None, tables=TABLES):
    wish = None if asked is None else asked * ARCSEC
    told = radii(tables, known, replaces, asked=wish, new=60 * ARCSEC)
    return {table: round(radius / ARCSEC) for table, radius in told.items()}


def test_a_table_that_stays_keeps_its_radius(known):
    assert found(known) == {"Object": 120, "Pairs": 60, "Novel": 60}
    assert found(known, tables=(metadata.OBJECT, NEW), asked=120) == {
        "Object": 120,
        "Novel": 120,
    }
    for part in (), (Replaced("object", loads=("load-1",)),):
        with pytest.raises(
            InvalidRequest, match=r"hip\.Object has an overlap of 120 arcsec, not 30: "
        ):
            found(known, *part, asked=30)


def test_a_table_that_comes_anew_may_get_another(known):
    again = Replaced("object", kept=(1,))
    assert found(known, again, tables=(metadata.OBJECT,)) == {"Object": 120}
    assert found(known, again, tables=(metadata.OBJECT,), asked=30) == {"Object": 30}
    child = replace(metadata.SOURCE, name="Object")
    other = {"object": replace(known["object"], table=child, overlap=0.0)}
    assert found(other, Replaced("object")) == {"Object": 60, "Pairs": 60, "Novel": 60}


def test_pairs_that_stay_are_no_farther_apart_than_is_said(known):
    again = Replaced("pairs", kept=(1,))
    assert found(known, again, tables=(PAIRS,), asked=90) == {"Pairs": 90}
    with pytest.raises(InvalidRequest, match="pairs 60 arcsec apart, which an overlap"):
        found(known, again, tables=(PAIRS,), asked=30)
    assert found(known, Replaced("pairs"), tables=(PAIRS,), asked=30) == {"Pairs": 30}


def test_a_radius_has_to_fit_the_leaves():
    tree = ChunkTree.uniform(3)
    widest = widest_overlap(3)
    check_fits({"Object": widest}, tree)
    with pytest.raises(
        InvalidRequest, match=r"Object cannot .* of order 3, which allow 8,879 at most"
    ):
        check_fits({"Object": widest + ARCSEC}, tree)


async def novel(loads, **changes):
    """Take a load of a new director to where it may commit."""
    number, goal = await begin(loads, tables=(NEW,), **changes)
    placed = await place(loads, number, goal, 0)
    held = frozenset(placed.at[4])
    entry = metadata.entry(f"{number}/n", 4, 6, offset=0.0)
    await loads.contribute(number, [], [StagedFile("Novel", entry, held)])
    return number


async def test_one_table_made_twice_has_one_radius(loads, store):
    one, two = await novel(loads, overlap=0.1), await novel(loads)
    three = await novel(loads, overlap=0.1)
    await commit(loads, one, {"Novel": 6})
    with pytest.raises(Conflict, match=r"of hip\.Novel it made one of another overlap"):
        await commit(loads, two, {"Novel": 6}, checked={"Novel": 2})
    await commit(loads, three, {"Novel": 6}, checked={"Novel": 2})
    assert store.snapshot().table("hip", "Novel").overlap == 0.1
    with pytest.raises(InvalidRequest, match=r"overlap must be 0 to 90 degrees"):
        await begin(loads, tables=(NEW,), overlap=float("inf"))


async def test_a_czar_that_restarts_knows_what_radius_a_loader_was_told(
    loads, store, members, clock
):
    one, two = await novel(loads, overlap=0.1), await novel(loads)
    await commit(loads, one, {"Novel": 6})
    await loads.close()
    again = of_a_czar(store, members, clock)
    await again.recover()
    with pytest.raises(Conflict, match=r"of hip\.Novel it made one of another overlap"):
        await commit(again, two, {"Novel": 6}, checked={"Novel": 2})
    await again.close()


async def test_without_that_check_a_snapshot_would_promise_too_much(
    loads, store, monkeypatch
):
    """The guarantee, switched off: files of 60 arcsec would stand as if of 360."""

    def unchecked(load, snapshot):
        now = target(load.asked, snapshot, replicas=load.asked.replicas)
        load.target = replace(load.target, radii=now.radii)
        return now

    one, two = await novel(loads, overlap=0.1), await novel(loads)
    monkeypatch.setattr(committing, "_as_begun", unchecked)
    await commit(loads, one, {"Novel": 6})
    await commit(loads, two, {"Novel": 6}, checked={"Novel": 2})
    assert store.snapshot().table("hip", "Novel").overlap == 0.1
