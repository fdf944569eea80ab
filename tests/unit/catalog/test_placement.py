"""Placement: even, distinct, and as stable as rendezvous hashing is."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qserv.catalog.placement import place
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
