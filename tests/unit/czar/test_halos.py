"""A halo: every chunk that a row in reach may lie in, once, and who holds it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import metadata
from support.fake_planning import ask, fragment, frames
from support.fake_worker import COLUMNS
from support.strategies import from_here

from qserv.catalog.snapshot import ChunkStatistics, TableVersion
from qserv.czar import halos as room
from qserv.czar.halos import Around, halo
from qserv.errors import ChunkMissing
from qserv.plan.plan import Extent, ScanSource
from qserv.sky import healpix
from qserv.sky.chunking import ChunkTree

POINTS = 1000


def tree(data):
    """Draw a tree of uneven leaves: some of order 2, some of 4."""
    base = ChunkTree.uniform(2).chunks
    split = data.draw(st.sets(st.sampled_from(base.tolist()), max_size=20))
    leaves = [
        range(16 * chunk, 16 * chunk + 16) if chunk in split else [chunk]
        for chunk in base.tolist()
    ]
    return ChunkTree(np.array([leaf for part in leaves for leaf in part]))


def source(leaves, reach, replicas=None, present=None):
    chunks = leaves.chunks if present is None else np.array(present, np.int64)
    ones = np.ones_like(chunks)
    version = TableVersion(
        "hip", metadata.OBJECT, 1, len(chunks), ChunkStatistics(chunks, ones, ones)
    )
    return Around(1, reach, version, leaves, replicas or {})


def homes_in_reach(own, other, chunks, reach, seed):
    """Return the chunks of `other` that points within reach of `chunks` lie in."""
    random = np.random.default_rng(seed)
    lon = random.uniform(0, 360, POINTS)
    lat = np.degrees(np.arcsin(random.uniform(-1, 1, POINTS)))
    inside = np.isin(own.locate(healpix.pixels(lon, lat)), chunks)
    bearing = random.uniform(0, 2 * np.pi, POINTS)[inside]
    there = from_here(lon[inside], lat[inside], bearing, np.full(inside.sum(), reach))
    return set(other.locate(healpix.pixels(*there)).tolist())


@settings(max_examples=40)
@given(data=st.data(), reach=st.floats(0.1, 20), seed=st.integers(0, 2**32 - 1))
def test_no_row_in_reach_is_left_out(data, reach, seed):
    own, other = tree(data), tree(data)
    chunks = data.draw(st.sets(st.sampled_from(own.chunks.tolist()), min_size=1))
    found = source(other, reach).chunks(sorted(chunks)).tolist()
    assert homes_in_reach(own, other, sorted(chunks), reach, seed) <= set(found)
    assert len(set(found)) == len(found)


def test_without_the_dilation_rows_would_be_left_out(monkeypatch):
    monkeypatch.setattr(room, "dilate", lambda area, reach: area)
    leaves = ChunkTree.uniform(2)
    chunks = leaves.chunks[:20].tolist()
    found = source(leaves, 5.0).chunks(chunks).tolist()
    assert not homes_in_reach(leaves, leaves, chunks, 5.0, 1) <= set(found)


def test_a_small_reach_stays_near_and_empty_chunks_are_left_out():
    leaves = ChunkTree.uniform(3)
    near = source(leaves, 1.0).chunks([256]).tolist()
    assert 256 in near
    assert len(near) <= 9
    assert source(leaves, 1.0, present=near[:2]).chunks([256]).tolist() == near[:2]


def test_whoever_runs_it_comes_first_then_the_living_in_their_order():
    leaves = ChunkTree.uniform(0)
    replicas = {4: ("w1", "w2", "w3"), 5: ("w3",), 6: ("w2", "w1")}
    endpoints = {"w1": "h:1", "w2": "h:2"}
    made = halo(source(leaves, 90, replicas, [4, 6]), [4], "w2", endpoints)
    peers = [peer.worker_id for peer in made.peers]
    holders = np.array(made.holders).reshape(len(made.chunks), made.choices).tolist()
    named = [[peers[place] for place in row] for row in holders]
    assert (made.source, list(made.chunks)) == (1, [4, 6])
    assert named == [["w2", "w1"], ["w2", "w1"]]
    assert [peer.endpoint for peer in made.peers] == ["h:2", "h:1"]

    with pytest.raises(
        ChunkMissing, match=r"chunk 5 of hip\.Object.*start the workers"
    ):
        halo(source(leaves, 90, replicas, [5]), [4], "w1", endpoints)


def test_a_chunk_with_fewer_holders_is_padded():
    replicas = {4: ("w1", "w2"), 5: ("w2",)}
    endpoints = {"w1": "h:1", "w2": "h:2"}
    made = halo(
        source(ChunkTree.uniform(0), 90, replicas, [4, 5]), [4], "w3", endpoints
    )
    assert (list(made.holders), made.choices) == ([0, 1, 1, -1], 2)


async def test_each_task_says_who_has_the_chunks_around_its_own(
    session, planning, workers, members
):
    near = ScanSource("hip", "Object", 1, Extent.HALO, COLUMNS, reach=90.0)
    planning.stages = [fragment(sources=(*fragment().sources, near))]
    await ask(session)
    replicas = metadata.family().replicas
    for worker in workers.values():
        for task in worker.tasks:
            (made,) = task.halos
            # Only these two have rows of Object.
            assert (made.source, list(made.chunks)) == (1, [4, 5])
            holders = [made.peers[place].worker_id for place in made.holders]
            assert holders == [replicas[4][0], replicas[5][0]]
            for peer in made.peers:
                assert peer.endpoint == members.get(peer.worker_id).endpoint


async def test_a_halo_that_nobody_alive_holds_ends_the_query(
    session, planning, workers, members
):
    near = ScanSource("hip", "Object", 1, Extent.HALO, COLUMNS, reach=90.0)
    planning.stages = [fragment(sources=(*fragment().sources, near))]
    (holder,) = metadata.family().replicas[5]
    planning.chunks = [
        chunk for chunk in (4, 6, 7) if metadata.family().replicas[chunk] != (holder,)
    ]
    members.lost(holder, ChunkMissing("gone"))
    with pytest.raises(ChunkMissing, match=r"no live worker holds chunk [45]"):
        await frames(session)
