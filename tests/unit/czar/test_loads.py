"""Loads: visible whole or not at all, one a family, forgotten where they fail."""

import asyncio
from dataclasses import replace

import pytest
from support import metadata
from support.czarloads import ROWS, asked, begin, commit, staged

from qserv.catalog.provenance import Contribution
from qserv.catalog.snapshot import EVERYWHERE
from qserv.catalog.tables import TableKind
from qserv.czar.expiry import Expiry
from qserv.czar.openload import Progress
from qserv.errors import (
    Conflict,
    InvalidRequest,
    TaskFailed,
    UnknownName,
    WorkerUnavailable,
)
from qserv.ingest.events import StagedFile
from qserv.sky.chunking import ChunkTree


async def test_a_commit_installs_everywhere_and_shows_everything(loads, store, workers):
    number, placed = await staged(loads)
    assert store.snapshot().releases == {}
    assert loads.open == (number,)

    assert await commit(loads, number) == 1

    snapshot = store.snapshot()
    assert {t: snapshot.table("hip", t).rows for t in ROWS} == ROWS
    assert snapshot.family("hip").replicas == placed.family.replicas
    assert loads.open == ()
    for name, worker in workers.items():
        (request,) = worker.installed
        manifests = {manifest.table: manifest for manifest in request.manifests}
        assert {m.version for m in manifests.values()} == {1}
        mine = [c for c, held in placed.family.replicas.items() if name in held and c]
        assert list(manifests["Object"].chunks) == mine
        assert list(manifests["Source"].chunks) == mine
        assert list(manifests["Filter"].chunks) == [EVERYWHERE]
        assert [entry.chunk for entry in manifests["Filter"].entries] == [EVERYWHERE]
    kept = [
        entry.path.split("/")[1]
        for worker in workers.values()
        for entry in worker.installed[0].manifests[0].entries
    ]
    assert sorted(kept) == ["i0", "o4", "o5", "v4"]
    # The loader may not have heard of it.
    assert await commit(loads, number) == 1


async def test_a_second_load_joins_the_first(loads, store, workers):
    first, placed = await staged(loads)
    await commit(loads, first)
    # Names are matched in any case, what the family has need not be said again.
    second, again = await staged(loads, release="HIP", leaf_rows=None)
    assert again.first_shard == 1
    assert again.family == placed.family

    assert await commit(loads, second) == 2

    assert store.snapshot().table("hip", "Object").rows == 40
    assert store.snapshot(1).table("hip", "Object").rows == 20
    # A worker is told what is new; whole again, for these do not know what it is of.
    new = [e for w in workers.values() for e in w.changes[0].manifests[0].entries]
    assert {e.valid_from for e in new} == {2}
    assert {m.base for w in workers.values() for m in w.changes[0].manifests} == {1}
    entries = [
        entry
        for worker in workers.values()
        for entry in worker.installed[1].manifests[0].entries
    ]
    assert sorted((e.path.split("/")[1], e.valid_from) for e in entries) == [
        *(("i0", 1), ("i0", 2), ("o4", 1), ("o4", 2)),
        *(("o5", 1), ("o5", 2), ("v4", 1), ("v4", 2)),
    ]


async def test_a_worker_that_cannot_install_leaves_everything_as_it_was(
    loads, store, workers
):
    number, _ = await staged(loads)
    workers["w2"].trouble = TaskFailed("disk full")

    with pytest.raises(WorkerUnavailable, match=r"kept by 0 workers.*disk full"):
        await commit(loads, number)

    assert store.snapshot().releases == {}
    assert loads.open == (number,)
    with pytest.raises(WorkerUnavailable, match="disk full"):
        await commit(loads, number)
    workers["w2"].trouble = None
    # The numbers of failed commits are not used again.
    assert await commit(loads, number) == 3
    assert store.snapshot().table("hip", "Object").rows == 20


async def test_a_commit_that_cannot_be_written_is_discarded(
    loads, store, workers, monkeypatch
):
    def full(publication):
        raise OSError("no space left")

    monkeypatch.setattr(store, "publish", full)
    number, _ = await staged(loads)
    with pytest.raises(OSError, match="no space"):
        await commit(loads, number)
    assert all(worker.discarded == [number] for worker in workers.values())
    assert store.snapshot().releases == {}


async def test_missing_rows_are_refused_and_may_still_come(loads):
    number, _ = await staged(loads)
    with pytest.raises(InvalidRequest, match="Object has 20 contributed rows, not 21"):
        await commit(loads, number, ROWS | {"Object": 21})
    assert await commit(loads, number) == 1


async def test_a_commit_goes_on_when_its_loader_goes_away(loads, store):
    number, _ = await staged(loads)
    commit = asyncio.create_task(loads.commit(number, ROWS))
    while not loads.registry.open[number].commit:
        await asyncio.sleep(0)
    commit.cancel()
    with pytest.raises(asyncio.CancelledError):
        await commit
    await loads.close()
    assert store.snapshot().table("hip", "Object").rows == 20


async def test_an_abort_is_forgotten_everywhere_even_by_who_was_away(
    loads, store, members, workers, installation, clock
):
    number, _ = await staged(loads)
    endpoint = members.get("w3").endpoint
    members.lost("w3", WorkerUnavailable("away"))

    await loads.abort(number, "Ctrl-C")
    await loads.abort(number, "Ctrl-C")

    assert workers["w1"].discarded == [number]
    assert workers["w3"].discarded == []
    assert store.discards("w3") == (number,)
    await members.join("w3", endpoint, 1)
    await installation.forget(["w3"])
    assert workers["w3"].discarded == [number]
    assert store.discards("w3") == ()


async def test_one_load_a_family_until_its_loader_falls_silent(loads, clock):
    number, _ = await staged(loads)
    with pytest.raises(Conflict, match=number):
        await loads.begin(asked(release="other", family="HIP"))
    clock.now += 61
    other, _ = await begin(loads)
    assert loads.open == (other,)
    with pytest.raises(Conflict, match="was silent for 61 s"):
        await loads.contribute(number, [], [])


async def test_replicated_tables_alone_leave_the_tree_to_a_later_load(loads, store):
    number, target = await begin(loads, tables=(metadata.FILTER,))
    placed = await loads.place(number, metadata.TREE.chunks.tolist(), 0)
    entry = metadata.entry(f"{number}/f", EVERYWHERE, 6)
    copies = [
        StagedFile("Filter", entry, frozenset(placed.family.replicas[EVERYWHERE]))
    ]
    await loads.contribute(number, [], copies)
    await commit(loads, number, {"Filter": 6})

    finer = ChunkTree.uniform(1).chunks.tolist()
    number, target = await begin(loads, leaf_rows=7, replicas=2)
    assert (target.layout.cut, target.layout.leaf_rows) == (False, 7)
    placed = await loads.place(number, finer, 1)
    assert placed.family.replicas[EVERYWHERE] == ("w1", "w2", "w3")
    chunk = finer[5]
    holders = frozenset(placed.family.replicas[chunk])
    rows = StagedFile("Object", metadata.entry(f"{number}/o", chunk, 10), holders)
    await loads.contribute(number, [], [rows])
    await commit(loads, number, {"Object": 10})

    family = store.snapshot().family("hip")
    assert family == placed.family
    assert (family.tree.chunks.tolist(), family.leaf_rows) == (finer, 7)
    assert {len(family.replicas[c]) for c in finer} == {2}
    assert store.snapshot(1).family("hip").tree == metadata.TREE
    with pytest.raises(InvalidRequest, match="leaf_rows 7 since its first load"):
        await loads.begin(asked())


async def test_a_new_release_is_made_in_one_family(loads):
    number, _ = await staged(loads)
    with pytest.raises(Conflict, match=number):
        await loads.begin(asked(release="HIP", family="other"))


async def test_a_load_sees_what_was_committed_while_it_made_way(
    loads, store, workers, installation, clock, monkeypatch
):
    await staged(loads)
    clock.now += 61
    forget = installation.forget

    async def meanwhile(holders):
        monkeypatch.setattr(installation, "forget", forget)
        other, _ = await staged(loads)
        await commit(loads, other)
        await forget(holders)

    monkeypatch.setattr(installation, "forget", meanwhile)
    _, target = await begin(loads)
    assert target.layout.existing == store.snapshot().family("hip")
    assert {t.table.name for t in target.existing} == set(ROWS)


async def test_a_new_family_needs_as_many_workers_as_replicas(loads, members, store):
    number, _ = await begin(loads, replicas=4)
    with pytest.raises(WorkerUnavailable, match="4 replicas"):
        await loads.place(number, metadata.TREE.chunks.tolist(), 1)
    await loads.abort(number, "too few")

    number, placed = await staged(loads, replicas=2)
    await commit(loads, number)
    assert {len(w) for c, w in placed.family.replicas.items() if c} == {2}
    assert placed.family.replicas[EVERYWHERE] == ("w1", "w2", "w3")
    number, _ = await begin(loads, replicas=0)
    members.lost("w2", WorkerUnavailable("away"))
    members.lost("w3", WorkerUnavailable("away"))
    with pytest.raises(WorkerUnavailable, match=r"worker w. and worker w., not alive"):
        await loads.place(number, (), 1)


PAIRS = replace(
    metadata.SOURCE,
    name="Pairs",
    kind=TableKind.REF_MATCH,
    second_key="sourceId",
    second_director="Filter",
)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"release": "no spaces"}, "release 'no spaces'"),
        ({"tables": ()}, "at least one table"),
        ({"tables": (metadata.SOURCE,)}, "its director Object is no director"),
        ({"tables": (metadata.OBJECT, PAIRS)}, "its director Filter is no director"),
        ({"overlap": -1.0}, "overlap must be 0 to 90 degrees"),
    ],
)
async def test_what_makes_no_sense_is_refused_at_the_beginning(loads, changes, text):
    with pytest.raises(InvalidRequest, match=text):
        await loads.begin(asked(**changes))
    assert loads.open == ()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"family": "other"}, "release hip belongs to family hip, not other"),
        ({"overlap": 0.5}, r"hip\.Object has an overlap of 60 arcsec, not 1800: leave"),
        ({"replicas": 2}, "has replicas 1 since"),
        (
            {"tables": (replace(metadata.OBJECT, key="ra"),)},
            "hip.Object exists with key objectid, not ra",
        ),
        (
            {"tables": (replace(metadata.SOURCE, id="sourceId"),)},
            "hip.Source exists with id .none., not sourceid",
        ),
        (
            {
                "tables": (
                    replace(metadata.SOURCE, position=("flux", "flux"), orphans=True),
                )
            },
            "hip.Source exists with orphans refused, not kept",
        ),
        (
            {"tables": (replace(metadata.FILTER, columns=()),)},
            "hip.Filter exists with 1 columns, not 0",
        ),
    ],
)
async def test_a_later_load_fits_what_there_is(loads, changes, text):
    number, _ = await staged(loads)
    await commit(loads, number)
    with pytest.raises(InvalidRequest, match=text):
        await loads.begin(asked(**changes))


async def test_a_tree_that_is_none_or_another_is_refused(loads):
    number, _ = await begin(loads)
    with pytest.raises(InvalidRequest, match="not a tree"):
        await loads.place(number, [4, 5], 1)
    deep = [4 * 4**11 + pixel for pixel in range(4)]
    with pytest.raises(InvalidRequest):
        await loads.place(number, deep, 1)
    await loads.abort(number, "no tree")

    number, _ = await staged(loads)
    await commit(loads, number)
    number, _ = await begin(loads)
    with pytest.raises(InvalidRequest, match="the loader sent another"):
        await loads.place(number, [4, 5], 1)


def read(source, content="ab", rows=6):
    return Contribution("filter", source, content * 32, rows, 0, 0)


async def test_a_content_comes_once(loads, store):
    first, _ = await staged(loads)
    await loads.contribute(first, [read("f.csv"), read("empty.csv", "00", 0)], [])
    with pytest.raises(Conflict, match=r"g.csv: this load brings .* as f.csv already"):
        await loads.contribute(first, [read("g.csv")], [])
    await commit(loads, first)

    number, _ = await staged(loads, release="HIP")
    with pytest.raises(Conflict) as refusal:
        await loads.contribute(number, [read("g.csv")], [])
    for part in ("g.csv: table hip.Filter", f"load {first} (snapshot 1)", "as f.csv"):
        assert part in str(refusal.value)
    # Other content, another table, and no rows at all double nothing.
    other = replace(read("f.csv"), table="Object")
    fine = [read("f.csv", "ef"), other, read("e.csv", "00", 0), read("d.csv", "00", 0)]
    await loads.contribute(number, fine, [])
    assert await commit(loads, number) == 2


async def test_what_was_given_up_may_come_again(loads):
    first, _ = await staged(loads)
    await loads.contribute(first, [read("f.csv")], [])
    await loads.abort(first, "Ctrl-C")
    second, _ = await staged(loads)
    await loads.contribute(second, [read("f.csv")], [])


async def test_nobody_knows_a_load_that_never_was(loads, store):
    with pytest.raises(Conflict, match="there is no load x"):
        await loads.contribute("x", [], [])
    with pytest.raises(UnknownName):
        store.snapshot().table("hip", "Object")


async def test_a_load_that_nobody_comes_back_for_is_given_up(loads, clock, workers):
    number, _ = await staged(loads)
    expiry = Expiry(loads=loads)
    loads.registry.expiry = 3600.0
    clock.now += 3599
    await expiry.sweep()
    assert loads.open == (number,)
    await loads.keep(number, Progress())
    clock.now += 3599
    await expiry.sweep()
    assert loads.open == (number,)
    clock.now += 2
    await expiry.sweep()
    assert loads.open == ()
    (past,) = await loads.history(load=number)
    assert past.reason == "its loader was silent for 1.0 hours"
    assert [w.discarded for w in workers.values()] == [[number]] * len(workers)
