"""Keys into homes: by an index of several files, groups and shards."""

import grpc
import numpy as np
import pyarrow as pa
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from support import worker as w

from qserv.catalog.snapshot import ManifestEntry, Role
from qserv.catalog.tables import HEALPIX, Column, DataType
from qserv.errors import ChunkMissing, CorruptData, InvalidRequest
from qserv.ingest.stored import index_schema
from qserv.storage import shard
from qserv.storage.inventory import Inventory
from qserv.storage.manifest import Holding, Manifest
from qserv.worker.lookup import NOWHERE, KeyIndex

one_worker = pytest.mark.asyncio(loop_scope="module")

COUNT = 30_000
EVEN = np.arange(0, 2 * COUNT, 2) - 1000


def shard_of(keys, homes, datatype=DataType.BIGINT):
    schema = index_schema(Column("objectId", datatype))
    return pa.table({shard.INDEX_KEY: keys, HEALPIX: homes}, schema=schema)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worker(tmp_path_factory):
    async with w.serving(tmp_path_factory.mktemp("worker")) as worker:
        await worker.load(index={1: shard_of(EVEN, EVEN * 10 + 10_000)})
        low, high = ["a", "b", "é"], ["z", "zz"]
        await worker.load(
            "Named",
            index={
                1: shard_of(low, [1, 2, 3], DataType.VARCHAR),
                2: shard_of(high, [4, 5], DataType.VARCHAR),
            },
        )
        yield worker


async def refuses(worker, kind, match, *args, **more):
    with pytest.raises(grpc.RpcError) as told:
        await worker.lookup(*args, **more)
    error = w.from_rpc(told.value, "the worker")
    assert type(error) is kind
    assert match in error.text


@one_worker
async def test_every_key_has_its_home_and_no_other_has_one(worker):
    keys = [*range(-1010, -980), *range(16_380, 16_390), *range(58_990, 59_010)]
    keys += [-(2**63), 2**63 - 1]
    known = set(EVEN.tolist())
    wanted = [key * 10 + 10_000 if key in known else NOWHERE for key in keys]
    assert await worker.lookup(keys, [1]) == wanted
    assert await worker.lookup(keys[::-1], [1]) == wanted[::-1]
    assert await worker.lookup([], [1]) == []


@one_worker
async def test_texts_are_keys_and_shards_are_searched_as_asked(worker):
    keys = ["zz", "é", "", "aa", "a", "\U0001f52d"]
    assert await worker.lookup(keys, [1, 2], "Named") == [5, 3, -1, -1, 1, -1]
    assert await worker.lookup(keys, [1], "Named") == [-1, 3, -1, -1, 1, -1]


@one_worker
async def test_a_range_of_keys_has_the_homes_of_its_keys(worker):
    least, most = int(EVEN[0]), int(EVEN[-1])
    for low, high in (
        (least, least),
        (-3, 3),
        (1, 1),
        (most, most),
        (most + 1, 2**63 - 1),
        (-(2**63), least - 1),
        (16_000, 34_000),
        (-(2**63), 2**63 - 1),
        (5, -5),
    ):
        keys = EVEN[(low <= EVEN) & (high >= EVEN)]
        wanted = (keys * 10 + 10_000).tolist()
        assert await worker.lookup([], [1], low=low, high=high) == wanted
        coarse = sorted({home >> 12 << 12 for home in wanted})
        assert await worker.lookup([], [1], low=low, high=high, order=23) == coarse


@one_worker
async def test_a_range_is_refused_where_it_has_no_meaning(worker):
    between = {"low": 1, "high": 2}
    await refuses(worker, InvalidRequest, "no ranges", [], [1], "Named", **between)
    await refuses(worker, ChunkMissing, "shards 7", [], [7], **between)
    await refuses(worker, InvalidRequest, "orders", [], [1], order=30, **between)


@one_worker
async def test_what_is_not_held_is_refused(worker):
    await refuses(worker, ChunkMissing, "shards 7, 9 of dr1.Object", [1], [1, 7, 9])
    await refuses(worker, ChunkMissing, "dr1.Nothing at version", [1], [1], "Nothing")
    await refuses(worker, InvalidRequest, "has numbers as keys", ["x"], [1])
    await refuses(worker, InvalidRequest, "has texts as keys", [1], [1], "Named")


def index_over(directory, files):
    entries = []
    for number, rows in enumerate(files):
        path = f"index/{number}.parquet"
        (directory / "index").mkdir(exist_ok=True)
        entry, content = shard.made(
            rows, role=Role.INDEX, chunk=1, path=path, bounded=()
        )
        (directory / path).write_bytes(content)
        entries.append(entry)
    manifest = Manifest("dr1", "Object", 1, 1, "t1", (), tuple(entries))
    index = KeyIndex(data=directory, inventory=Inventory(directory))
    return index, Holding.of(manifest)


@given(st.lists(st.sets(st.integers(-50, 50), min_size=1), min_size=1, max_size=3))
def test_later_files_of_a_shard_are_searched_too(tmp_path_factory, sets):
    """Files of several loads: keys are unique, ranges overlap."""
    sets = [keys - set().union(*sets[:i]) for i, keys in enumerate(sets)]
    homes = {key: 100 + key for keys in sets for key in keys}
    files = [shard_of(sorted(k), [homes[x] for x in sorted(k)]) for k in sets if k]
    index, holding = index_over(tmp_path_factory.mktemp("index"), files)
    asked = list(range(-60, 60))
    found = index.homes(holding, [1], asked).tolist()
    assert found == [homes.get(key, NOWHERE) for key in asked]


def test_an_index_file_that_changed_is_noticed(tmp_path):
    index, holding = index_over(tmp_path, [shard_of([1, 2], [10, 20])])
    assert index.homes(holding, [1], [2]).tolist() == [20]
    (entry,) = holding.index[1]
    assert isinstance(entry, ManifestEntry)
    path = tmp_path / entry.path
    data = path.read_bytes()
    path.write_bytes(data.replace((20).to_bytes(8, "little"), bytes(8), 1))
    with pytest.raises(CorruptData, match="does not match its checksum"):
        index.homes(holding, [1], [2])


def test_an_index_file_that_is_not_sorted_is_refused(tmp_path):
    keys = np.arange(COUNT)[::-1]
    index, holding = index_over(tmp_path, [shard_of(keys, keys)])
    with pytest.raises(CorruptData, match="is not sorted"):
        index.homes(holding, [1], [2])
