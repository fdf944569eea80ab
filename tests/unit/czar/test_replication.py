"""What is copied, who is asked, what is dropped: the decision, without any worker."""

from dataclasses import replace

import pytest

from qserv.catalog.placement import place
from qserv.catalog.snapshot import EVERYWHERE
from qserv.catalog.workerstore import WorkerState
from qserv.czar import replication
from qserv.czar.holdings import File, Group, State, Unit, Version

WORKERS = ("a", "b", "c")
CHUNKS = tuple(range(16, 28))
VERSION = Version(1, "dr1", "Object", "dr1", True, 1, 1, "t1")


def file(number, chunk, *, table=1, shard=False, first=1, end=None):
    unit = Unit("dr1", table if shard else 0, chunk)
    return File(number, table, unit, f"dr1/Object/{number}.parquet", 100, first, end)


def made(workers=WORKERS, copies=2, alive=None, **more):
    """Make a family whose chunks have a file each, on the workers placed."""
    placement = place(CHUNKS, workers, copies) | {EVERYWHERE: workers}
    files = {n: file(n, chunk) for n, chunk in enumerate((*CHUNKS, EVERYWHERE), 1)}
    held = {n: frozenset(placement[f.unit.chunk]) for n, f in files.items()}
    groups = {"dr1": Group(copies, placement)}
    everybody = frozenset(workers if alive is None else alive)
    return State(groups, files, held, alive=everybody, **more)


def aimed(state):
    """Write the goals down, as repair does."""
    groups = {
        name: replace(
            state.groups[name],
            goal={
                chunk: workers
                for chunk, workers in aims.items()
                if set(workers) != set(state.groups[name].placement[chunk])
            },
        )
        for name, aims in replication.aims(state).items()
    }
    return replace(state, groups=groups)


def settled(state):
    """Do what is decided until nothing is; return it, and what was copied."""
    copied = []
    for _ in range(20):
        state = aimed(state)
        for worker, copy in replication.copies(state).items():
            numbers = [f.number for f in copy.files]
            copied += [(number, worker) for number in numbers]
            state = state.with_copies(worker, numbers)
        for worker in sorted(state.alive):
            state = state.with_placement(replication.widened(state, worker))
        state = state.with_placement(replication.narrowed(state))
        held = dict(state.held)
        for number, worker in replication.surplus(state):
            held[number] -= {worker}
        state = replace(state, held=held)
    return state, copied


def is_right(state, workers):
    group = state.groups["dr1"]
    for chunk, held in group.placement.items():
        wanted = len(workers) if chunk == EVERYWHERE else group.copies
        assert len(held) == wanted
        assert set(held) <= set(workers)
        assert all(state.whole(Unit("dr1", 0, chunk), worker) for worker in held)


def test_what_is_as_it_should_be_stays():
    before = made()
    after, copied = settled(before)
    assert (after.groups, after.held, copied) == (before.groups, before.held, [])


def test_a_new_worker_gets_replicated_tables_then_its_share():
    before = made()
    more = aimed(replace(before, alive=frozenset("abcd")))
    (copy,) = replication.copies(more).values()
    assert copy.worker == "d"
    assert copy.files[0].unit.chunk == EVERYWHERE
    # Nobody is asked for a chunk with which replicated tables cannot be joined.
    some = more.with_copies("d", [f.number for f in copy.files[1:]])
    assert replication.widened(some, "d") == {}
    after, copied = settled(more)
    is_right(after, "abcd")
    assert len(copied) == 1 + len(CHUNKS) * 2 // 4
    assert {worker for _, worker in copied} == {"d"}


@pytest.mark.parametrize("state", [WorkerState.DRAINING, WorkerState.LOST])
def test_a_worker_that_goes_is_replaced_first(state):
    before = made(("a", "b", "c", "d"))
    alive = "abc" if state is WorkerState.LOST else "abcd"
    going = aimed(replace(before, states={"d": state}, alive=frozenset(alive)))
    assert replication.narrowed(going) == {}
    assert replication.surplus(going) == set()
    after, copied = settled(going)
    is_right(after, "abc")
    mine = sum("d" in held for c, held in before.groups["dr1"].placement.items() if c)
    assert len(copied) == mine
    assert not any("d" in held for held in after.held.values())


def test_nothing_is_taken_from_where_it_is_while_its_new_holder_is_silent():
    going = aimed(
        replace(made(("a", "b", "c", "d")), states={"d": WorkerState.DRAINING})
    )
    for worker, copy in replication.copies(going).items():
        going = going.with_copies(worker, [f.number for f in copy.files])
        going = going.with_placement(replication.widened(going, worker))
    assert replication.narrowed(going)
    silent = replace(going, alive=frozenset("d"))
    assert replication.narrowed(silent) == {}


def test_nothing_is_taken_away_while_a_load_is_under_way():
    before = made(("a", "b", "c", "d"))
    going = replace(before, states={"d": WorkerState.DRAINING}, busy=frozenset(["dr1"]))
    after, copied = settled(going)
    assert copied, "copies are made all the same"
    assert all(
        set(held) <= set(after.groups["dr1"].placement[chunk])
        for chunk, held in before.groups["dr1"].placement.items()
    )
    is_right(settled(replace(after, busy=frozenset()))[0], "abc")


def test_a_worker_that_is_only_silent_is_waited_for():
    silent = replace(made(), alive=frozenset("ab"))
    after, copied = settled(silent)
    assert copied == []
    assert after.groups == silent.groups


def test_a_worker_that_comes_back_gets_what_it_missed():
    before = made()
    placed = before.groups["dr1"].placement[16]
    new = {100: file(100, 16, first=2)}
    missed = replace(
        before,
        files={**before.files, **new},
        held={**before.held, 100: frozenset({placed[0], "x"})},
        alive=frozenset({*WORKERS, "x"}),
        states={"x": WorkerState.DRAINING},
    )
    late = placed[1]
    assert (16 in replication.listed(missed, VERSION, late).chunks) is True
    second = replace(VERSION, version=2)
    assert 16 not in replication.listed(missed, second, late).chunks
    after, copied = settled(missed)
    assert copied == [(100, late)]
    assert 16 in replication.listed(after, second, late).chunks
    # The worker that took its place for that load drops it again.
    assert after.held[100] == frozenset(placed)


def test_a_bad_copy_is_made_again_from_a_good_one():
    before = made()
    first, second = before.groups["dr1"].placement[16]
    number = next(n for n, f in before.files.items() if f.unit.chunk == 16)
    bad = replace(
        before,
        held={**before.held, number: frozenset([second])},
        bad={number: frozenset([first])},
    )
    copy = replication.copies(bad)[first]
    assert copy.sources == {number: (second,)}
    after, _ = settled(bad)
    assert after.held == before.held
    nobody = replace(bad, held={**before.held, number: frozenset()})
    assert replication.copies(nobody) == {}


def test_an_index_shard_has_as_many_copies_as_a_chunk():
    before = made()
    shard = {200: file(200, 0, shard=True)}
    lacking = replace(
        before,
        files={**before.files, **shard},
        held={**before.held, 200: frozenset(["a"])},
    )
    after, _ = settled(lacking)
    assert len(after.held[200]) == 2
    drained, _ = settled(replace(after, states={"a": WorkerState.DRAINING}))
    assert drained.held[200] == frozenset("bc")


def test_another_number_of_copies():
    before = made()
    one = replace(before, groups={"dr1": replace(before.groups["dr1"], copies=1)})
    after, copied = settled(one)
    is_right(after, "abc")
    assert copied == []
    again = replace(after, groups={"dr1": replace(after.groups["dr1"], copies=3)})
    is_right(settled(again)[0], "abc")


def test_the_only_copies_are_known():
    before = made(copies=1)
    mine = {f.unit.chunk for f in replication.only_copies(before, "a")}
    placed = before.groups["dr1"].placement
    assert mine == {c for c, held in placed.items() if held == ("a",)}
    assert replication.only_copies(made(), "a") == []
    lost = replace(made(), states={"b": WorkerState.LOST, "c": WorkerState.LOST})
    assert {f.unit.chunk for f in replication.only_copies(lost, "a")} > {EVERYWHERE}


def test_what_failed_waits_and_large_orders_are_cut():
    more = aimed(replace(made(), alive=frozenset("abcd")))
    (copy,) = replication.copies(more, most={"d": 3}).values()
    assert len(copy.files) == 3
    skip = {(f.number, "d") for f in copy.files}
    (rest,) = replication.copies(more, skip=skip).values()
    assert {f.number for f in rest.files}.isdisjoint(n for n, _ in skip)
    assert replication.copies(replace(more, full=frozenset("d"))) == {}


def test_old_versions_list_what_they_listed():
    before = made()
    old = {300: file(300, 16, first=1, end=2)}
    held = before.groups["dr1"].placement[16]
    both = replace(
        before,
        files={**before.files, **old},
        held={**before.held, 300: frozenset(held)},
    )
    assert 300 in replication.listed(both, VERSION, held[0]).files
    assert (
        300 not in replication.listed(both, replace(VERSION, version=2), held[0]).files
    )
    absent = replication.listed(both, VERSION, held[0], absent={300})
    assert 300 not in absent.files
    assert 16 not in absent.chunks


def test_one_walk_lists_for_all_workers():
    before = made()
    shard = file(200, 0, shard=True)
    lacking = replace(
        before,
        files={**before.files, 200: shard, 201: file(201, 17, first=2)},
        held={**before.held, 1: frozenset("x"), 200: frozenset("ab")},
        bad={3: frozenset("a")},
    )
    for version in (VERSION, replace(VERSION, version=2)):
        for worker, found in replication.listings(lacking, version).items():
            alone = replication.listed(lacking, version, worker)
            assert set(found.chunks) == set(alone.chunks)
            assert set(found.files) == set(alone.files)
        assert set(replication.listings(lacking, version)) == {"a", "b", "c", "x"}


def test_without_the_wait_for_whole_copies_a_chunk_would_be_lost(monkeypatch):
    monkeypatch.setattr(replication, "_stands", lambda *_: True)
    going = replace(made(copies=1), states={"c": WorkerState.DRAINING})
    state = aimed(going)
    # Everybody of the goal is placed though nothing was copied.
    state = state.with_placement(
        {
            "dr1": {
                c: (*held, *state.groups["dr1"].goal.get(c, ()))
                for c, held in state.groups["dr1"].placement.items()
            }
        }
    )
    state = state.with_placement(replication.narrowed(state))
    with pytest.raises(AssertionError):
        is_right(state, "ab")
