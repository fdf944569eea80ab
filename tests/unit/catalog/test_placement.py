"""Placement: even, distinct, and as stable as rendezvous hashing is."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qserv.catalog.placement import adjust, place, preferred
from qserv.errors import WorkerUnavailable

WORKERS = st.sets(st.text("abc123", min_size=1, max_size=6), min_size=1, max_size=7)


@given(
    chunks=st.sets(st.integers(0, 2**40), max_size=60),
    workers=WORKERS,
    data=st.data(),
)
def test_every_chunk_has_its_replicas_on_workers_of_their_own(chunks, workers, data):
    replicas = data.draw(st.integers(1, len(workers)))
    placed = place(sorted(chunks), sorted(workers), replicas)
    assert placed.keys() == chunks
    for holders in placed.values():
        assert len(set(holders)) == replicas
        assert set(holders) <= workers
    assert placed == place(sorted(chunks), sorted(workers, reverse=True), replicas)


def test_no_worker_has_more_than_its_share():
    placed = place(range(1000), [f"w{i}" for i in range(7)], 1)
    loads = Counter(worker for holders in placed.values() for worker in holders)
    assert max(loads.values()) <= 143
    assert len(loads) == 7


def test_few_chunks_move_when_a_worker_leaves():
    workers = [f"w{i}" for i in range(8)]
    before, after = place(range(1000), workers, 1), place(range(1000), workers[1:], 1)
    moved = sum(before[chunk] != after[chunk] for chunk in before)
    assert moved < 250


def test_too_few_workers_are_an_error_that_says_so():
    with pytest.raises(WorkerUnavailable, match=r"2 replicas .* 1 are alive \(w1\)"):
        place([4], ["w1"], 2)
    with pytest.raises(WorkerUnavailable, match="none"):
        place([4], [], 1)


def loads_of(placed):
    return Counter(worker for holders in placed.values() for worker in holders)


def copies_moved(before, after):
    return sum(len(set(after[chunk]) - set(before[chunk])) for chunk in before)


@pytest.mark.parametrize("replicas", [1, 2, 3])
@pytest.mark.parametrize("n", [3, 5, 10])
def test_a_new_worker_takes_its_share_and_nothing_else_moves(n, replicas):
    workers = [f"w{i}" for i in range(n)]
    before = place(range(1000), workers, replicas)
    after = adjust(before, [*workers, "new"], replicas)
    for chunk, held in after.items():
        assert set(held) - set(before[chunk]) <= {"new"}
    # 1/(n + 1) of all copies, and no more.
    assert copies_moved(before, after) == 1000 * replicas // (n + 1)
    assert max(loads_of(after).values()) - min(loads_of(after).values()) <= 2


@pytest.mark.parametrize("replicas", [1, 2, 3])
@pytest.mark.parametrize("n", [4, 6, 11])
def test_only_the_copies_of_a_worker_that_goes_are_placed_again(n, replicas):
    workers = [f"w{i}" for i in range(n)]
    before = place(range(1000), workers, replicas)
    after = adjust(before, workers[1:], replicas)
    for chunk, held in before.items():
        assert set(held) - {"w0"} <= set(after[chunk])
        assert len(after[chunk]) == replicas
    assert copies_moved(before, after) == loads_of(before)["w0"]


@given(
    chunks=st.sets(st.integers(0, 2**40), max_size=40),
    history=st.lists(st.tuples(WORKERS, st.integers(1, 3)), min_size=1, max_size=4),
)
def test_what_fits_stays_after_any_history(chunks, history):
    placed = dict.fromkeys(sorted(chunks), ())
    for workers, replicas in history:
        placed = adjust(placed, workers, replicas)
        copies = min(replicas, len(workers))
        assert all(len(set(held)) == len(held) == copies for held in placed.values())
        assert set(loads_of(placed)) <= workers
        assert adjust(placed, workers, replicas) == placed


def test_who_cannot_take_more_keeps_what_it_has():
    before = place(range(100), ["a", "b", "c"], 2)
    after = adjust(before, ["a", "b", "c", "d"], 2, able=["a", "b", "c"])
    assert after == before
    after = adjust(before, ["a", "b", "d"], 2, able=["a", "d"])
    assert all("b" not in set(after[c]) - set(before[c]) for c in before)


def test_other_numbers_of_copies_keep_what_is_there():
    two = place(range(300), ["a", "b", "c"], 2)
    three = adjust(two, ["a", "b", "c"], 3)
    assert all(set(two[c]) < set(three[c]) for c in two)
    one = adjust(two, ["a", "b", "c"], 1)
    assert all(set(one[c]) < set(two[c]) for c in two)
    assert set(loads_of(one).values()) == {100}


def test_the_order_of_preference_depends_on_nothing_else():
    order = preferred(77, ["a", "b", "c", "d"])
    assert [w for w in order if w != "b"] == list(preferred(77, ["d", "c", "a"]))
