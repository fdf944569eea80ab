"""Which files a load makes, and who shall hold each."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from qserv.catalog.snapshot import Role
from qserv.catalog.tables import Table, TableKind
from qserv.ingest import index, partition
from qserv.ingest.partition import Located, Slice
from qserv.sky.chunking import ChunkTree
from qserv.wire.v1 import czar_pb2 as pb

Workers = tuple[pb.WorkerLocation, ...]


@dataclass(frozen=True, slots=True)
class Parcel:
    """A file to write and to send.

    Parameters
    ----------
    table
        Its table.
    role
        What it is for.
    slice
        Its rows.
    workers
        Who shall hold it.
    """

    table: Table
    role: Role
    slice: Slice
    workers: Workers


class Placement:
    """Who holds what, as the czar decided.

    Parameters
    ----------
    reply
        Its answer.
    """

    def __init__(self, reply: pb.PlaceReply) -> None:
        def named(positions: Iterable[int]) -> Workers:
            return tuple(reply.workers[position] for position in positions)

        self._chunks = {p.chunk: named(p.workers) for p in reply.chunks}
        self._shards = [(p.chunk, named(p.workers)) for p in reply.index_shards]
        self._used = 0
        self.replicated = named(reply.replicated)

    def chunk(self, chunk: int) -> Workers:
        """Return the workers of a chunk."""
        return self._chunks[chunk]

    def take_shards(self, number: int) -> Sequence[tuple[int, Workers]]:
        """Return the next index shards that nobody has taken: number and workers."""
        start, self._used = self._used, self._used + number
        return self._shards[start : self._used]


def shards_wanted(tables: Iterable[Located]) -> int:
    """Return how many index shards the tables of a load make."""
    return sum(
        index.shard_count(len(located.homes))
        for located in tables
        if located.ids is not None
    )


def of_copies(table: Table, data: pa.Table, placement: Placement) -> Iterator[Parcel]:
    """Give the file of a replicated table."""
    for slice_ in partition.copies(data):
        yield Parcel(table, Role.BASE, slice_, placement.replicated)


def of_chunks(
    located: Located, tree: ChunkTree, overlap: float, placement: Placement
) -> Iterator[Parcel]:
    """Give the files of a partitioned table: own rows, overlap and index.

    Parameters
    ----------
    located
        The table's rows.
    tree
        The family's tree.
    overlap
        Overlap radius in degrees; only director and ref-match tables have an overlap.
    placement
        Who holds what.
    """
    table = located.table
    for slice_ in partition.own(located, tree):
        yield Parcel(table, Role.BASE, slice_, placement.chunk(slice_.chunk))
    if table.kind in {TableKind.DIRECTOR, TableKind.REF_MATCH}:
        for slice_ in partition.overlap(located, tree, overlap):
            yield Parcel(table, Role.OVERLAP, slice_, placement.chunk(slice_.chunk))
    if located.ids is None:
        return
    shards = dict(placement.take_shards(index.shard_count(len(located.homes))))
    for slice_ in index.shards(table, located.ids, located.homes, list(shards)):
        yield Parcel(table, Role.INDEX, slice_, shards[slice_.chunk])
