"""Rows around a chunk, from this worker's files and from peers: each row once."""

import asyncio
import contextlib
import dataclasses
import itertools
from contextlib import AsyncExitStack
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
import pytest_asyncio
from support import worker as w

from qserv.catalog.tables import CHUNK, HEALPIX, Column, DataType
from qserv.errors import (
    ChunkMissing,
    CorruptData,
    InvalidRequest,
    LimitExceeded,
    TaskFailed,
)
from qserv.plan.plan import MARK, ScanClass
from qserv.sky import healpix
from qserv.sky.chunking import ChunkTree, pixel_of, pixel_range
from qserv.wire import frames_in
from qserv.wire.codec import arrow_schema
from qserv.wire.v1 import worker_pb2
from qserv.worker import peers, pull
from qserv.worker.halos import Halo
from qserv.worker.pool import Pool

ORDER, FINE = 2, 6
TREE = ChunkTree.uniform(ORDER)
ALL = TREE.chunks.tolist()
ID = Column("objectId", DataType.BIGINT)
HOME = Column(HEALPIX, DataType.BIGINT)
COUNT = Column("n", DataType.BIGINT)
SOURCE = f"{MARK}0{MARK}"
IDS = f'SELECT "objectId" FROM {SOURCE}'
REACH = 3.0

together = pytest.mark.asyncio(loop_scope="module")


def rows_in(chunk):
    """Return rows of a chunk, one in each of its pixels of a finer order."""
    low, high = pixel_range(chunk)
    homes = np.arange(low, high, 4 ** (29 - FINE)) + 5
    return pa.table(
        {
            HEALPIX: homes,
            "objectId": homes >> 2 * (29 - FINE),
            "mag": np.zeros(len(homes)),
            "name": [f"star {home}" for home in homes],
            CHUNK: np.full(len(homes), chunk),
        },
        schema=arrow_schema(w.COLUMNS),
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def workers(tmp_path_factory):
    """Three workers; each holds every third chunk."""
    directory = tmp_path_factory.mktemp("workers")
    async with AsyncExitStack() as stack:
        yield [await one_of_three(stack, directory, n) for n in range(3)]


async def one_of_three(stack, directory, number, **settings):
    serving = w.serving(directory / str(number), **settings)
    worker = await stack.enter_async_context(serving)
    own = {chunk: rows_in(chunk) for chunk in ALL[number::3] if chunk % 5}
    await worker.load(own=own, chunks=ALL[number::3])
    return worker


def halo_of(workers, chunks=ALL, choices=1, holders=None):
    if holders is None:
        holders = [ALL.index(chunk) % 3 for chunk in chunks]
    peers = [
        worker_pb2.Peer(worker_id=f"w{n}", endpoint=worker.endpoint)
        for n, worker in enumerate(workers)
    ]
    return worker_pb2.Halo(
        source=0, chunks=chunks, peers=peers, holders=holders, choices=choices
    )


def request(workers, sql=IDS, chunks=(), columns=(ID,), **more):
    worker = workers[0]
    source = worker.source(extent=w.HALO, reach=more.pop("reach", REACH))
    halo = more.pop("halo", None) or halo_of(workers)
    chunks = chunks or [100, 103]
    return (sql, chunks, columns, [source]), {"halos": [halo]} | more


def within(chunk, reach):
    """Return ids of the rows that lie surely within reach of a chunk."""
    pixels = np.arange(12 * 4**FINE)
    vectors = healpix.centers(FINE, pixels)
    inside = vectors[pixels >> 2 * (FINE - ORDER) == pixel_of(chunk)]
    nearest = np.max(vectors @ inside.T, axis=1)
    found = pixels[nearest >= np.cos(np.radians(reach))]
    hosts = (found >> 2 * (FINE - ORDER)) + 4 * 4**ORDER
    return set(found[hosts % 5 != 0].tolist())


def in_reach(chunks, reach):
    """Return the chunks that a halo is made of."""
    return {*Halo(ALL, reach, frozenset()).near(chunks).elsewhere}


def hosts_of(ids):
    return {(each >> 2 * (FINE - ORDER)) + 4 * 4**ORDER for each in ids}


@together
@pytest.mark.parametrize("at_once", [1, 64])
@pytest.mark.parametrize("reach", [0.01, 3.0, 40.0])
async def test_every_row_in_reach_is_read_once(workers, at_once, reach):
    chunks = ALL[0::3][:20]
    args, more = request(workers, chunks=chunks, reach=reach, batch_chunks=at_once)
    answer = await workers[0].run(*args, **more)
    assert [chunk for end in answer.ends for chunk in end.chunks] == chunks
    begin = 0
    ids = answer.column("objectId")
    for end in answer.ends:
        found = ids[begin : begin + end.rows]
        begin += end.rows
        assert len(set(found)) == len(found)
        wanted = set().union(*(within(chunk, reach) for chunk in end.chunks))
        assert wanted <= set(found)
        assert hosts_of(found) <= in_reach(end.chunks, reach)
        if reach < 1 and at_once == 1:
            assert len(found) < 3 * 4 ** (FINE - ORDER)


@together
async def test_a_chunk_read_here_and_pulled_too_would_count_twice(workers, monkeypatch):
    """What keeps a row from being read twice, and that it is needed."""
    args, more = request(workers, chunks=ALL[0::3][:4])
    once = (await workers[0].run(*args, **more)).column("objectId")
    assert len(set(once)) == len(once)
    near = Halo.near

    def careless(self, chunks):
        found = near(self, chunks)
        elsewhere = (*found.elsewhere, *found.whole)
        return dataclasses.replace(found, elsewhere=elsewhere)

    monkeypatch.setattr(Halo, "near", careless)
    twice = (await workers[0].run(*args, **more)).column("objectId")
    assert set(twice) == set(once)
    assert len(twice) > len(once)


@together
async def test_rows_of_a_pull_that_broke_off_are_not_read(workers, monkeypatch):
    """The first holder dies after its first rows: the next one gives them again."""
    holders = [n for chunk in ALL for n in [ALL.index(chunk) % 3] * 2]
    halo = halo_of(workers, choices=2, holders=holders)
    args, more = request(workers, halo=halo)
    right = sorted((await workers[0].run(*args, **more)).column("objectId"))
    checked, calls = peers.checked_frames, itertools.count()

    async def breaking(call, **given):
        breaks = next(calls) < 2
        async with contextlib.aclosing(checked(call, **given)) as frames:
            async for frame in frames:
                yield frame
                if breaks:
                    raise TaskFailed("it died")

    monkeypatch.setattr(peers, "checked_frames", breaking)
    found = (await workers[0].run(*args, **more)).column("objectId")
    assert sorted(found) == right
    assert next(calls) == 4


@together
async def test_values_and_types_come_from_afar_as_from_here(workers):
    sql = f'SELECT "objectId", "{HEALPIX}", "mag", "name" FROM {SOURCE}'
    columns = [ID, HOME, *w.COLUMNS[2:4]]
    args, more = request(workers, sql, columns=columns)
    answer = await workers[0].run(*args, **more)
    rows = pa.Table.from_batches(answer.rows)
    hosts = {int(host) for host in TREE.locate(rows[HEALPIX].to_numpy())}
    assert {ALL.index(host) % 3 for host in hosts} == {0, 1, 2}
    told = [f"star {home}" for home in rows[HEALPIX].to_pylist()]
    assert rows["name"].to_pylist() == told


@together
async def test_rows_can_be_counted_without_reading_a_column(workers):
    (sql, chunks, _, (source,)), more = request(
        workers, f"SELECT count(*) AS n FROM {SOURCE}"
    )
    all_of_it, _ = request(workers)
    wanted = len((await workers[0].run(*all_of_it, **more)).column("objectId"))
    del source.columns[:]
    answer = await workers[0].run(sql, chunks, [COUNT], [source], **more)
    assert sum(answer.column("n")) == wanted


@together
async def test_the_next_holder_is_asked_where_one_fails(workers, tmp_path):
    args, more = request(workers)
    wanted = sorted((await workers[0].run(*args, **more)).column("objectId"))
    # The first choice of every chunk is a worker that does not hold it, or nobody.
    nobody = worker_pb2.Peer(worker_id="w9", endpoint="127.0.0.1:1")
    holders = [n for c in ALL for n in ((ALL.index(c) + 1) % 4, ALL.index(c) % 3)]
    halo = halo_of(workers, choices=2, holders=holders)
    halo.peers.append(nobody)
    args, more = request(workers, halo=halo)
    answer = await workers[0].run(*args, **more)
    assert sorted(answer.column("objectId")) == wanted


@together
async def test_a_chunk_that_nobody_gives_is_an_error_of_the_cluster(workers):
    holders = [(ALL.index(chunk) + 1) % 3 for chunk in ALL]
    args, more = request(workers, halo=halo_of(workers, holders=holders))
    await workers[0].refuses(ChunkMissing, "no worker gave chunk", *args, **more)
    args, more = request(workers, halo=halo_of(workers, holders=[-1] * len(ALL)))
    await workers[0].refuses(ChunkMissing, "no worker is named", *args, **more)


@together
@pytest.mark.parametrize("scan_class", ScanClass)
async def test_peers_schedule_a_pull_as_its_query(workers, monkeypatch, scan_class):
    seen, run = [], Pool.run

    def spying(pool, job):
        seen.append(job.scan_class)
        return run(pool, job)

    monkeypatch.setattr(Pool, "run", spying)
    number = getattr(worker_pb2, f"SCAN_CLASS_{scan_class.name}")
    args, more = request(workers, scan_class=number)
    await workers[0].run(*args, **more)
    # The task's own, and those of two peers.
    assert seen == [scan_class] * 3


@together
async def test_nothing_is_left_behind(workers):
    args, more = request(workers, batch_chunks=1)
    await workers[0].run(*args, **more)
    task = workers[0].task(*args[:3], args[3], **more)
    call = workers[0].stub.RunTask(task)
    await call.read()
    call.cancel()
    await asyncio.gather(call.read(), return_exceptions=True)
    for worker in workers:
        async with asyncio.timeout(10):
            while [*(worker.directory / "spool").iterdir()]:
                await asyncio.sleep(0.005)


@together
async def test_bytes_that_change_on_the_way_are_noticed(workers, monkeypatch):
    """A wrong id, as a network gives it that says all is well."""
    args, more = request(workers)
    right = sorted((await workers[0].run(*args, **more)).column("objectId"))
    received = pull.received

    def corrupt(call, **given):
        return received(changed(call, right), **given)

    monkeypatch.setattr(pull, "received", corrupt)
    await workers[0].refuses(CorruptData, "differs from its digest", *args, **more)
    monkeypatch.setattr(frames_in, "Digest", Blind)
    wrong = sorted((await workers[0].run(*args, **more)).column("objectId"))
    assert wrong != right


class Blind:
    """A digest that finds everything right."""

    def update(self, data):
        pass

    def value(self):
        return mock.ANY


@together
async def test_chunks_that_nobody_asked_for_are_refused(workers, monkeypatch):
    """A peer that mixes up what it was asked, whose rows might be here twice."""
    args, more = request(workers)
    received = pull.received

    async def mixed_up(call, **given):
        async with contextlib.aclosing(received(call, **given)) as batches:
            async for rows in batches:
                yield dataclasses.replace(rows, chunks=(*rows.chunks, 100))

    monkeypatch.setattr(pull, "received", mixed_up)
    await workers[0].refuses(CorruptData, "others were asked for", *args, **more)


def changed(call, ids):
    """Flip a bit of an id wherever it comes along."""

    class Changed:
        async def __aiter__(self):
            async for message in call:
                for frame in message.frames:
                    if frame.HasField("data"):
                        data = bytearray(frame.data.record_batch)
                        places = [data.find(i.to_bytes(8, "little")) for i in ids]
                        data[max(places)] ^= 64
                        frame.data.record_batch = bytes(data)
                yield message

        cancel = staticmethod(call.cancel)

    return Changed()


@together
async def test_halos_that_contradict_themselves_are_refused(workers):
    for halo, text in (
        (halo_of(workers, chunks=[100, 100]), "names a chunk twice"),
        (halo_of(workers, holders=[0]), "not aligned"),
        (halo_of(workers, holders=[7] * len(ALL)), "not aligned"),
        (worker_pb2.Halo(source=3), "not aligned"),
    ):
        args, more = request(workers, halo=halo)
        await workers[0].refuses(InvalidRequest, text, *args, **more)
    args, more = request(workers)
    await workers[0].refuses(InvalidRequest, "not aligned", *args)


async def test_rows_beyond_the_quota_are_refused(tmp_path):
    async with AsyncExitStack() as stack:
        workers = [await one_of_three(stack, tmp_path, n) for n in (1, 2)]
        small = await one_of_three(stack, tmp_path, 0, spool_bytes=50_000)
        args, more = request([small, *workers], reach=60.0)
        await small.refuses(LimitExceeded, "spool_bytes", *args, **more)
        args, more = request([small, *workers], reach=0.1)
        await small.run(*args, **more)


@together
async def test_a_worker_without_the_table_pulls_all_of_it(workers, tmp_path):
    async with w.serving(tmp_path / "other") as other:
        await other.load("Mine", own={100: w.rows_of(100, 1)})
        args, more = request(workers)
        wanted = (await workers[0].run(*args, **more)).column("objectId")
        answer = await other.run(*args, **more)
        assert sorted(answer.column("objectId")) == sorted(wanted)


def test_chunks_of_another_tree_are_near_as_the_sky_says():
    """Leaves of several orders against a task of another family's chunks."""
    mixed = [*range(4 * 4, 4 * 4 + 40), *range(4 * 4**2 + 160, 4 * 4**2 + 192)]
    halo = Halo(mixed, 0.5, frozenset())
    for chunk in (4 * 4**3 + 5, 4 * 4**5 + 11_000, 17):
        near = halo.near([chunk])
        for leaf in mixed:
            low, high = pixel_range(leaf)
            bounds = near.area.bounds
            touched = np.any((bounds[:, 0] < high) & (low < bounds[:, 1]))
            assert touched == (leaf in near.elsewhere)
        assert near.whole == near.partly == ()
        held = Halo(mixed, 0.5, frozenset(mixed)).near([chunk])
        assert {*held.whole, *held.partly} == {*near.elsewhere}
        for leaf in mixed:
            low, high = pixel_range(leaf)
            inside = np.any((bounds[:, 0] <= low) & (high <= bounds[:, 1]))
            assert inside == (leaf in held.whole)


@together
async def test_who_asks_a_peer_that_is_gone_does_not_pass_for_gone(workers):
    halo = halo_of(workers)
    for peer in halo.peers:
        peer.endpoint = "127.0.0.1:1"
    args, more = request(workers, halo=halo)
    await workers[0].refuses(TaskFailed, "does not answer", *args, **more)
