"""Leaf tasks: runs become the Parquet files of leaves, which go to their workers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qserv.catalog.bounds import Bounds
from qserv.catalog.snapshot import EVERYWHERE, Role
from qserv.catalog.tables import CHUNK, HEALPIX, Table, TableKind
from qserv.ingest import partition
from qserv.ingest.bulk import runs
from qserv.ingest.bulk.keys import KEY, KeyShard, codes
from qserv.ingest.bulk.runs import INPUT, NUMBER, ORDER, SECOND, Run, Share
from qserv.ingest.bulk.scratch import Scratch
from qserv.ingest.extremes import extremes
from qserv.ingest.ordering import runs_of
from qserv.ingest.parcels import Parcel
from qserv.ingest.partition import Located, Slice
from qserv.ingest.staging import Delivery, Stager, Staging
from qserv.ingest.stored import index_schema
from qserv.sky.chunking import ChunkTree
from qserv.storage.shard import INDEX_KEY
from qserv.wire.v1 import czar_pb2

Integers = npt.NDArray[np.int64]
Workers = tuple[czar_pb2.WorkerLocation, ...]

TREE = "tree.npy"
SOURCES = "sources.npy"


@dataclass(frozen=True, slots=True)
class LeafTask:
    """The rows of one table in a share of its leaves.

    Parameters
    ----------
    name
        Unique within the load.
    scratch
        Where overlap goes; holds the tree and the numbers of the input files.
    table
        The table.
    role
        `Role.BASE` to make own rows of runs, `Role.OVERLAP` to make overlap of what
        base tasks left for it.
    runs
        Sorted by home, or for overlap by the position of the host among the leaves.
    share
        Which part of them.
    dropped
        A file with the rows to leave out, as `codes` gives them; None: none.
    radius
        Overlap radius in degrees; None for a table that has no overlap.
    workers
        Chunk -> who shall hold it; of other chunks no file is made.
    staging
        How files get there.
    """

    name: str
    scratch: Scratch
    table: Table
    role: Role
    runs: tuple[Run, ...]
    share: Share
    dropped: Path | None
    radius: float | None
    workers: Mapping[int, Workers]
    staging: Staging


@dataclass(slots=True)
class Leaves:
    """What a leaf task made.

    Parameters
    ----------
    delivery
        The files, and who has them.
    overlap
        Rows that must lie beside other leaves, sorted by the position of those; None
        if there are none.
    hosts, counts
        Positions of those leaves, and how many rows each gets.
    rows
        Rows made.
    bounds
        Least and greatest of the columns.
    """

    delivery: Delivery
    overlap: Run | None = None
    hosts: Integers = field(default_factory=lambda: np.zeros(0, np.int64))
    counts: Integers = field(default_factory=lambda: np.zeros(0, np.int64))
    rows: int = 0
    bounds: Bounds | None = None


def make(task: LeafTask) -> Leaves:
    """Write and send the files of a share."""
    stager = Stager(task.staging)
    if task.role is Role.OVERLAP:
        return Leaves(stager.deliver(_beside(task)))
    found = runs.cut(task.runs, task.share.low, task.share.high)
    if found is None:
        return Leaves(stager.deliver(iter(())))
    rows = found if task.dropped is None else _kept(task.dropped, found)
    if task.table.kind is TableKind.REPLICATED:
        return _copies(task, stager, rows)
    located = _located(task, rows)
    made = Leaves(stager.deliver(_own(task, located)), rows=rows.num_rows)
    made.bounds = extremes(task.table, located.data) if rows.num_rows else None
    if task.radius is not None:
        _keep_overlap(task, located, made)
    return made


def _copies(task: LeafTask, stager: Stager, rows: pa.Table) -> Leaves:
    data = _data(task.table, rows)
    parts = (
        Parcel(task.table, Role.BASE, each, task.workers[EVERYWHERE], task.share.part)
        for each in partition.copies(task.table, data, _sources(task, rows))
    )
    made = Leaves(stager.deliver(parts), rows=rows.num_rows)
    made.bounds = extremes(task.table, data)
    return made


def _own(task: LeafTask, located: Located) -> Iterator[Parcel]:
    for each in partition.own(located, _tree(task.scratch)):
        if each.chunk in task.workers:
            workers = task.workers[each.chunk]
            yield Parcel(task.table, Role.BASE, each, workers, task.share.part)


def _keep_overlap(task: LeafTask, located: Located, made: Leaves) -> None:
    assert task.radius is not None
    tree = _tree(task.scratch)
    near = list(partition.overlap(located, tree, task.radius))
    if not near:
        return
    made.hosts = tree.positions(np.array([each.chunk for each in near], np.int64))
    made.counts = np.array([each.rows.num_rows for each in near], np.int64)
    rows = pa.concat_tables(each.rows for each in near)
    rows = rows.add_column(0, ORDER, pa.array(np.repeat(made.hosts, made.counts)))
    made.overlap = runs.write(task.scratch, f"{task.name}-overlap", rows)


def _beside(task: LeafTask) -> Iterator[Parcel]:
    """Sort what base tasks left for some leaves, and cut it by leaf."""
    found = runs.cut(task.runs, task.share.low, task.share.high)
    if found is None:
        return
    key = task.table.column(task.table.key or "").name
    order = partition.sorted_by(
        partition.as_keys(found.column(key)),
        runs.numbers(found, HEALPIX),
        runs.numbers(found, ORDER),
    )
    rows = found.drop_columns([ORDER]).take(pa.array(order))
    for start, stop in runs_of(runs.numbers(rows, CHUNK)):
        chunk = rows.column(CHUNK)[start].as_py()
        if chunk in task.workers:
            part, at = Slice(chunk, rows.slice(start, stop - start), None), task.share
            workers = task.workers[chunk]
            yield Parcel(task.table, Role.OVERLAP, part, workers, at.part)


def _located(task: LeafTask, rows: pa.Table) -> Located:
    data = _data(task.table, rows)
    lon = lat = None
    if task.table.position is not None:
        lon, lat = (
            data.column(task.table.column(name).name).cast(pa.float64()).to_numpy()
            for name in task.table.position
        )
    key = task.table.column(task.table.key or "").name
    return Located(
        task.table,
        data,
        runs.numbers(rows, ORDER),
        partition.as_keys(data.column(key)),
        lon,
        lat,
        seconds=runs.numbers(rows, SECOND) if SECOND in rows.column_names else None,
        sources=_sources(task, rows),
    )


def _data(table: Table, rows: pa.Table) -> pa.Table:
    return rows.select([column.name for column in table.columns])


def _sources(task: LeafTask, rows: pa.Table) -> npt.NDArray[np.int32]:
    numbers = _array(task.scratch.file(SOURCES))
    inputs = rows.column(INPUT).to_numpy()
    found: npt.NDArray[np.int32] = numbers[inputs].astype(np.int32)
    return found


def _kept(dropped: Path, rows: pa.Table) -> pa.Table:
    row = codes(rows.column(INPUT).to_numpy(), runs.numbers(rows, NUMBER))
    return rows.filter(pa.array(~np.isin(row, _array(dropped))))


@dataclass(frozen=True, slots=True)
class IndexTask:
    """A shard of an index that is to be sent.

    Parameters
    ----------
    name
        Unique within the load.
    table
        The table.
    shard
        What it holds.
    number
        Of the shard.
    workers
        Who shall hold it.
    staging
        How it gets there.
    """

    name: str
    table: Table
    shard: KeyShard
    number: int
    workers: Workers
    staging: Staging


def make_index(task: IndexTask) -> Leaves:
    """Write and send a shard of an index."""
    table = task.table
    assert table.indexed is not None
    batch = runs.map_batch(task.shard.path)
    rows = pa.Table.from_arrays(
        [batch.column(KEY), batch.column(ORDER)],
        schema=index_schema(table.column(table.indexed)),
    )
    assert rows.column_names == [INDEX_KEY, HEALPIX]
    part = Parcel(table, Role.INDEX, Slice(task.number, rows, None), task.workers)
    return Leaves(Stager(task.staging).deliver(iter([part])))


def leaf_ranges(tree: ChunkTree) -> Integers:
    """Return the positions of a tree's leaves as ranges, for shares of overlap."""
    at = np.arange(len(tree), dtype=np.int64)
    return np.column_stack((at, at + 1))


def _tree(scratch: Scratch) -> ChunkTree:
    return _cached_tree(scratch.file(TREE))


@lru_cache(4)
def _cached_tree(path: Path) -> ChunkTree:
    return ChunkTree(np.load(path))


@lru_cache(16)
def _array(path: Path) -> Integers:
    found: Integers = np.load(path)
    return found


__all__ = [
    "SOURCES",
    "TREE",
    "IndexTask",
    "LeafTask",
    "Leaves",
    "leaf_ranges",
    "make",
    "make_index",
]
