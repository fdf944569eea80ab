"""Which files a load makes, and who shall hold each."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from qserv.catalog.snapshot import EVERYWHERE, Role
from qserv.catalog.tables import Table
from qserv.ingest.partition import Slice
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
    part
        Tells files of one leaf apart.
    """

    table: Table
    role: Role
    slice: Slice
    workers: Workers
    part: int = 0


@dataclass(frozen=True, slots=True)
class Placement:
    """Who holds what of a load.

    Parameters
    ----------
    workers
        All of them.
    chunks
        Chunk, or `EVERYWHERE` -> who holds it.
    shards
        Number of each new index shard, and who holds it.
    """

    workers: Workers
    chunks: Mapping[int, Workers]
    shards: tuple[tuple[int, Workers], ...]

    @staticmethod
    def told(reply: pb.PlaceReply) -> "Placement":
        """Return what the czar decided."""

        def named(positions: Iterable[int]) -> Workers:
            return tuple(reply.workers[position] for position in positions)

        chunks = {p.chunk: named(p.workers) for p in reply.chunks}
        chunks[EVERYWHERE] = named(reply.replicated)
        shards = tuple((p.chunk, named(p.workers)) for p in reply.index_shards)
        return Placement(tuple(reply.workers), chunks, shards)

    @staticmethod
    def nobody(chunks: Iterable[int], shards: int) -> "Placement":
        """Return the placement of a dry run."""
        empty: Workers = ()
        return Placement(
            (),
            dict.fromkeys((*chunks, EVERYWHERE), empty),
            tuple((number, empty) for number in range(shards)),
        )

    def of(self, chunk: int) -> Workers:
        """Return the workers of a chunk."""
        return self.chunks[chunk]
