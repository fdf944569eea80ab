"""Loads at the same time: each whole, none twice, whatever order they end in."""

import asyncio
from dataclasses import replace

import pytest
from support import metadata
from support.czarloads import (
    ROWS,
    asked,
    begin,
    commit,
    files,
    place,
    read,
    source,
    staged,
)

from qserv.catalog.snapshot import EVERYWHERE
from qserv.czar import contents
from qserv.czar.versions import Version
from qserv.errors import Conflict, InvalidRequest, TaskFailed, WorkerUnavailable
from qserv.ingest.events import StagedFile

KEYLESS = (metadata.FILTER,)


@pytest.fixture
def copies():
    return 1


@pytest.fixture
async def cut(loads):
    """Have a family whose tree is fixed."""
    number, _ = await staged(loads)
    await commit(loads, number)


async def copy_of(loads, release="hip"):
    """Take a load of a table without keys to where it may commit."""
    number, target = await begin(loads, release=release, tables=KEYLESS)
    placed = await place(loads, number, target, 0)
    held = frozenset(placed.at[EVERYWHERE])
    file = StagedFile("Filter", metadata.entry(f"{number}/f", EVERYWHERE, 6), held)
    await loads.contribute(number, [], [file])
    return number


async def test_loads_of_one_table_are_all_kept(loads, store, workers, cut):
    numbers = [await copy_of(loads) for _ in range(3)]
    assert len(loads.open) == 3

    wanted = [commit(loads, number, {"Filter": 6}) for number in reversed(numbers)]
    assert sorted(await asyncio.gather(*wanted)) == [2, 3, 4]

    assert store.snapshot().table("hip", "Filter").rows == 24
    for worker in workers.values():
        (manifest,) = worker.installed[-1].manifests
        assert {e.path for e in manifest.entries} >= {f"{n}/f" for n in numbers}
        assert manifest.version == 4


async def test_an_untouched_table_keeps_its_version(loads, store, cut):
    number, target = await begin(loads)
    placed = await place(loads, number, target)
    source_file = [f for f in files(number, placed) if f.table == "SOURCE"]
    await loads.contribute(number, [], source_file)
    await commit(loads, number, {"Source": 50})
    versions = {t: store.snapshot().table("hip", t).manifest_version for t in ROWS}
    assert versions == {"Object": 1, "Source": 2, "Filter": 1}


async def test_keys_that_came_meanwhile_are_compared_again(loads, store, cut):
    first, _ = await staged(loads)
    second, _ = await staged(loads)
    await commit(loads, first)
    done = await loads.commit(second, ROWS)
    assert (done.snapshot, [t.table.name for t in done.newer]) == (0, ["Object"])
    assert done.newer[0].manifest_version == 2
    assert len(done.newer[0].index) == 2
    # It may say what it compared with, and has to say the newest.
    done = await loads.commit(second, ROWS, checked={"object": 1})
    assert done.newer
    assert store.snapshot().id == 2
    assert await commit(loads, second, checked={"OBJECT": 2}) == 3


async def test_a_commit_in_the_queue_is_compared_again_in_its_turn(loads, store, cut):
    first, _ = await staged(loads)
    second, _ = await staged(loads)
    one, two = await asyncio.gather(
        loads.commit(first, ROWS), loads.commit(second, ROWS)
    )
    assert (one.snapshot, two.snapshot, len(two.newer)) == (2, 0, 1)
    assert loads.open == (second,)
    assert await commit(loads, second, checked={"Object": 2}) == 3


async def test_without_the_comparison_a_key_could_come_twice(
    loads, store, cut, monkeypatch
):
    """The guarantee: two loads that saw the same keys live would both be shown."""
    first, _ = await staged(loads)
    second, _ = await staged(loads)
    for module in ("ending", "committing"):
        monkeypatch.setattr(f"qserv.czar.{module}.newer", lambda *_: ())
    await commit(loads, first)
    await commit(loads, second)
    assert store.snapshot().table("hip", "Object").rows == 60


async def test_index_shards_of_two_loads_have_numbers_of_their_own(loads, cut):
    _, one = await staged(loads)
    _, two = await staged(loads)
    assert one.shards.keys().isdisjoint(two.shards.keys())


async def test_a_second_load_waits_for_the_tree_of_the_first(loads, clock):
    number, _ = await begin(loads, who="ann")
    clock.now += 10
    with pytest.raises(Conflict) as refusal:
        await begin(loads, release="other", family="hip")
    for part in (number, "by ann", "10 s ago", "how the family's sky is cut", "abort"):
        assert part in str(refusal.value)


async def test_one_table_made_twice_has_to_be_one_table(loads, store, cut):
    new = replace(metadata.FILTER, name="Visit")
    other = replace(new, columns=(*new.columns, *metadata.SOURCE.columns))
    one = await visits(loads, new)
    two = await visits(loads, other)
    three = await visits(loads, new)
    await commit(loads, one, {"Visit": 6})
    with pytest.raises(Conflict, match=r"another load came first: .* with 1 columns"):
        await commit(loads, two, {"Visit": 6})
    assert await commit(loads, three, {"Visit": 6}) == 3
    assert store.snapshot().table("hip", "Visit").rows == 12


@pytest.mark.parametrize("difference", ["spelling", "nullable"])
async def test_one_table_made_twice_is_as_each_loader_has_it(
    loads, store, cut, difference
):
    """Its files bear its name, and without NULLs it is planned for otherwise."""
    new = replace(metadata.FILTER, name="Visit")
    strict = tuple(replace(column, nullable=False) for column in new.columns)
    others = {
        "spelling": replace(new, name="VISIT"),
        "nullable": replace(new, columns=strict),
    }
    one, two = await visits(loads, others[difference]), await visits(loads, new)
    await commit(loads, one, {"Visit": 6})
    with pytest.raises(Conflict, match=r"another load came first: of .* otherwise"):
        await commit(loads, two, {"Visit": 6})
    assert store.snapshot().table("hip", "Visit").rows == 6


async def visits(loads, table):
    number, target = await begin(loads, tables=(table,))
    placed = await place(loads, number, target, 0)
    held = frozenset(placed.at[EVERYWHERE])
    file = StagedFile(table.name, metadata.entry(f"{number}/v", EVERYWHERE, 6), held)
    await loads.contribute(number, [], [file])
    return number


async def test_files_are_numbered_and_known_again(loads, store):
    inputs = (source("a.parquet", "aa"), source("b.parquet", "bb"))
    first = await loads.begin(asked(inputs=inputs))
    assert [(k.number, k.snapshot) for k in first.inputs] == [(1, 0), (2, 0)]
    number = first.transaction
    placed = await place(loads, number, first.target)
    mine = [
        replace(read(number), source=s.name, sha256=s.sha256, number=k.number)
        for s, k in zip(inputs, first.inputs, strict=True)
    ]
    await loads.contribute(number, mine, files(number, placed))
    with pytest.raises(InvalidRequest, match="no file number 7"):
        await loads.contribute(number, [replace(mine[0], number=7)], [])
    await commit(loads, number)

    again = await loads.begin(asked(inputs=inputs))
    assert (again.transaction, again.snapshot, loads.open) == ("", 1, ())
    assert [(k.number, k.load) for k in again.inputs] == [(1, number), (2, number)]
    more = await loads.begin(asked(inputs=(*inputs, source("c.parquet", "cc"))))
    assert [(k.number, k.snapshot) for k in more.inputs] == [(1, 1), (2, 1), (3, 0)]
    rehearsed = await loads.begin(asked(inputs=inputs, dry_run=True))
    assert (rehearsed.transaction, len(loads.open)) == ("", 1)


async def test_a_file_is_read_by_one_load_at_a_time(loads, clock, cut):
    inputs = (source("a.parquet", "aa"),)
    first = await loads.begin(asked(inputs=inputs))
    with pytest.raises(Conflict, match="reads some of the same files"):
        await loads.begin(asked(inputs=inputs))
    clock.now += 31
    await loads.begin(asked(inputs=inputs))
    assert first.transaction not in loads.open


async def test_a_content_that_came_meanwhile_is_not_doubled(loads, store, cut):
    one, two = await copy_of(loads), await copy_of(loads)
    for number in (one, two):
        same = replace(read(number, 6), table="Filter", sha256="ab" * 32)
        await loads.contribute(number, [same], [])
    await commit(loads, one, {"Filter": 6})
    with pytest.raises(Conflict, match=f"load {one} .* brought the same content"):
        await commit(loads, two, {"Filter": 6})
    assert store.snapshot().table("hip", "Filter").rows == 12
    assert loads.open == ()


async def test_without_that_check_rows_would_count_twice(
    loads, store, cut, monkeypatch
):
    """The guarantee, switched off."""
    monkeypatch.setattr(contents, "admit", lambda *_, **__: {})
    one, two = await copy_of(loads), await copy_of(loads)
    for number in (one, two):
        same = replace(read(number, 6), table="Filter", sha256="ab" * 32)
        await loads.contribute(number, [same], [])
        await commit(loads, number, {"Filter": 6})
    assert store.snapshot().table("hip", "Filter").rows == 18


async def test_a_worker_that_takes_no_files_is_fatal_with_one_copy(loads, cut):
    number, target = await begin(loads)
    placed = await place(loads, number, target)
    chunk = next(c for c, w in placed.family.replicas.items() if w == ("w2",))
    with pytest.raises(WorkerUnavailable, match=f"chunk {chunk} .* worker w2"):
        await place(loads, number, target, avoid=["w2"])


async def test_a_new_family_of_one_copy_is_placed_elsewhere(loads, store):
    number, target = await begin(loads)
    first = await place(loads, number, target)
    again = await place(loads, number, target, avoid=["w2"])
    kept = [c for c, w in first.at.items() if c and w != ("w2",)]
    assert all(again.at[c] == first.at[c] for c in kept)
    assert again.shards.keys() == first.shards.keys()
    await loads.contribute(number, [read(number)], files(number, again))
    await commit(loads, number)
    replicas = store.snapshot().family("hip").replicas
    assert {w for c, held in replicas.items() if c for w in held} == {"w1", "w3"}


class TestTwoCopies:
    """Files of a load need two copies; one worker of three may be lost on the way."""

    @pytest.fixture
    def copies(self):
        return 2

    async def lost(self, loads, members, before=2):
        """Lose w2 in the middle of a load; return it with its first placement."""
        number, target = await begin(loads)
        first = await place(loads, number, target)
        await loads.contribute(number, [read(number)], files(number, first)[:before])
        members.lost("w2", WorkerUnavailable("gone"))
        return number, target, first

    async def test_a_worker_that_dies_is_replaced(self, loads, store, members, workers):
        number, target, first = await self.lost(loads, members)
        again = await place(loads, number, target, avoid=["w2"])
        assert all("w2" not in w for w in (*again.at.values(), *again.shards.values()))
        await loads.contribute(number, [], files(number, again))
        assert await commit(loads, number) == 1

        snapshot = store.snapshot()
        assert snapshot.family("hip").replicas == first.family.replicas
        for table in ROWS:
            for file in store.files("hip", table):
                assert file.workers == {"w1", "w3"}

    async def test_what_a_dead_worker_acknowledged_does_not_count(
        self, loads, store, members, workers
    ):
        number, target, _ = await self.lost(loads, members)
        await place(loads, number, target, avoid=["w2"])
        with pytest.raises(InvalidRequest, match="not acknowledged"):
            await commit(loads, number)

    async def test_a_worker_that_dies_in_the_commit_catches_up_later(
        self, loads, store, members, workers
    ):
        number, target = await begin(loads)
        placed = await place(loads, number, target)
        three = [
            replace(f, workers=frozenset(metadata.WORKERS))
            if f.table == "FILTER"
            else f
            for f in files(number, placed)
        ]
        await loads.contribute(number, [read(number)], three)
        workers["w2"].trouble = TaskFailed("disk full")
        with pytest.raises(WorkerUnavailable, match=r"by 1 workers of 2.*disk full"):
            await commit(loads, number)
        again = await place(loads, number, target, avoid=["w2"])
        await loads.contribute(number, [], files(number, again))
        assert await commit(loads, number) == 2
        assert all(
            "w2" not in file.workers for t in ROWS for file in store.files("hip", t)
        )

    async def test_half_a_chunk_is_not_named_by_a_worker(
        self, loads, store, members, workers
    ):
        """A worker that is back, but has not caught up, refuses what it lacks."""
        number, target, first = await self.lost(loads, members, before=0)
        again = await place(loads, number, target, avoid=["w2"])
        await loads.contribute(number, [], files(number, again))
        await members.join("w2", members.all["w2"].endpoint, 1, (-1, -1))
        await commit(loads, number)
        (request,) = workers["w2"].installed
        named = {m.table: set(m.chunks) for m in request.manifests}
        lacking = {c for c, w in first.family.replicas.items() if "w2" in w} & {4, 5}
        assert lacking
        assert named["Object"].isdisjoint(lacking)
        assert named["Filter"] == set()

    async def test_without_the_count_of_copies_one_disk_could_lose_rows(
        self, loads, store, members, workers, monkeypatch
    ):
        """The guarantee: a worker that fails in a commit would leave single copies."""
        number, _ = await staged(loads)
        workers["w2"].trouble = TaskFailed("disk full")
        monkeypatch.setattr("qserv.czar.installation.check_copies", lambda *_: None)
        monkeypatch.setattr("qserv.ingest.transaction.Transaction.lacking", None)
        await commit(loads, number)
        files_now = [file for t in ROWS for file in store.files("hip", t)]
        assert min(len(file.workers) for file in files_now) == 1

    async def test_without_the_list_of_chunks_half_a_chunk_would_answer(
        self, loads, store, members, workers, monkeypatch
    ):
        """The guarantee: a worker that named what it lacks would lose rows."""
        number, target, _ = await self.lost(loads, members, before=0)
        again = await place(loads, number, target, avoid=["w2"])
        await loads.contribute(number, [], files(number, again))
        await members.join("w2", members.all["w2"].endpoint, 1, (-1, -1))
        lists = Version.lists

        def careless(version, files):
            everywhere = frozenset(metadata.WORKERS)
            claimed = [file._replace(workers=everywhere) for file in files]
            return lists(version, claimed)

        monkeypatch.setattr(Version, "lists", careless)
        await commit(loads, number)
        (request,) = workers["w2"].installed
        named = {m.table: set(m.chunks) for m in request.manifests}
        assert named["Filter"] == {EVERYWHERE}


async def test_a_load_begins_anew_whose_tables_were_changed_meanwhile(
    loads, clock, cut
):
    """What its first try compared with them holds no more."""
    mine = asked(fingerprint="f", inputs=(source("objects.parquet", "ab"),))
    first = await loads.begin(mine)
    await place(loads, first.transaction, first.target)
    other, _ = await staged(loads)
    clock.now += 31
    assert (await loads.begin(mine)).transaction == first.transaction
    await commit(loads, other)
    clock.now += 31
    anew = await loads.begin(mine)
    assert anew.transaction not in {"", first.transaction}
    assert not anew.resumed
    assert anew.target.existing[0].manifest_version == 2
